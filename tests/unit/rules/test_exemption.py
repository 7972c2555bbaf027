"""Which connections the rules let pass without a filter."""

import pytest

from nfinspect.policy import parse_policy
from nfinspect.rules import exemption
from nfinspect.rules.diversion import Diversion, application
from nfinspect.rules.exemption import exempting

CLASS = ["class-map c", " match access-list l", "policy-map global_policy", " class c"]
EXEMPT = [*CLASS, "  no inspect esmtp"]
GATEWAY = "access-list l permit ip any host 10.0.0.1"


def rules(*lines: str) -> dict[int, tuple[str, ...]]:
    return exempting(parse_policy("\n".join(lines), "a.cfg").policy)


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        (GATEWAY, {4: ("-d 10.0.0.1/32 -m tcp --dport 25",)}),
        (
            "access-list l permit tcp 10.1.0.0 255.255.0.0 gt 1023 any4 eq smtp",
            {4: ("-s 10.1.0.0/16 -m tcp --sport 1024:65535 --dport 25",)},
        ),
        (
            "access-list l permit ip any 2001:db8::/32",
            {6: ("-d 2001:db8::/32 -m tcp --dport 25",)},
        ),
        ("access-list l permit ip any any", dict.fromkeys((4, 6), ("-m tcp --dport 25",))),
        ("access-list l permit tcp any host 10.0.0.1 eq 587", {}),
        ("access-list l permit udp any host 10.0.0.1", {}),
        (f"access-list l deny ip host 10.9.9.9 any\n{GATEWAY}", {}),
        (f"{GATEWAY} time-range night", {}),
    ],
)
def test_permitted_entry_of_an_exempt_class_has_a_rule(
    entry: str, wanted: dict[int, tuple[str, ...]]
) -> None:
    assert rules(entry, *EXEMPT) == wanted


def test_class_without_a_list_is_exempt_on_its_diverted_ports() -> None:
    lines = ["class-map c", " match port tcp range 20 30", *EXEMPT[2:]]
    assert rules(*lines) == dict.fromkeys((4, 6), ("-m tcp --dport 25",))


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [GATEWAY, *CLASS, "  set connection timeout idle 1:00:00"],
        [GATEWAY, *EXEMPT, "service-policy global_policy interface outside"],
    ],
)
def test_nobody_is_exempt_without_the_note_s_line_or_where_an_interface_may_decide(
    lines: list[str],
) -> None:
    assert rules(*lines) == {}


def test_class_that_would_need_too_many_rules_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exemption, "MOST_RULES", 2)
    two = [f"access-list l permit ip any host 10.0.0.{n}" for n in range(1, 3)]
    assert len(rules(*two, *EXEMPT)[4]) == 2
    assert rules(*two, "access-list l permit ip host 10.0.0.3 any", *EXEMPT) == {}


def test_first_packet_marks_the_connection_and_the_mark_decides_for_both_directions() -> None:
    text = application(Diversion((25,), exempt={4: ("-d 10.0.0.1/32 -m tcp --dport 25",)}), "t", 4)
    marking, accepting, *queueing = [x for x in text.splitlines() if x.startswith("-A NFINSPECT")]
    assert marking.startswith("-A NFINSPECT -p tcp -d 10.0.0.1/32 -m tcp --dport 25 -m conntrack"
                              " --ctstate NEW --ctdir ORIGINAL")  # fmt: skip
    assert marking.endswith("-j CONNMARK --set-xmark 0x8000000/0x8000000")
    assert "-m connmark --mark 0x8000000/0x8000000" in accepting
    assert accepting.endswith("-j ACCEPT")
    assert len(queueing) == 2
    assert "connmark" not in application(Diversion((25,), exempt={4: ("x",)}), "t", 6)
