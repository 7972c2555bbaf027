"""Which connections the rules let pass without a filter."""

from ipaddress import ip_address

import pytest

from nfinspect.policy import parse_policy
from nfinspect.policy.classify import OpeningConnection
from nfinspect.rules import exemption
from nfinspect.rules.diversion import Exemption, application, describe
from nfinspect.rules.exemption import exempting
from nfinspect.rules.of_policy import diversion_of
from tests.unit.rules.kernel import FirstPacket, passes

CLASS = ["class-map c", " match access-list l", "policy-map global_policy", " class c"]
EXEMPT = [*CLASS, "  no inspect esmtp"]
GATEWAY = "access-list l permit ip any host 10.0.0.1"
APPLIED = "service-policy global_policy global"
DEVICES = {"outside": "eth0", "inside": "eth1"}


def exemptions(*lines: str) -> dict[int, Exemption]:
    return exempting(parse_policy("\n".join(lines), "a.cfg").policy)


def rules(*lines: str) -> dict[int, tuple[str, ...]]:
    """The rules of the first class, by IP version."""
    found = exemptions(*lines)
    return {v: tuple(e.chains["NFINSPECT-C1"]) for v, e in found.items()}


def exempt(
    *lines: str,
    source: str = "192.0.2.9",
    source_port: int = 4000,
    destination: str = "10.0.0.1",
    port: int = 25,
    devices: dict[str, str] | None = None,
    way: tuple[str, str] = ("eth0", "eth1"),
    bridged: bool = False,
    with_ports: bool | None = None,
) -> bool:
    """Whether a connection is exempt by the rules of these lines."""
    policy = parse_policy("\n".join(lines), "a.cfg", devices).policy
    diversion = diversion_of(policy, bridged=bridged if with_ports is None else with_ports)
    server = ip_address(destination)
    connection = OpeningConnection(
        server.version, int(ip_address(source)), source_port, int(server), port
    )
    text = application(diversion, "security", server.version)
    found = passes(text, FirstPacket(connection, *way, bridged))
    assert found in ("NFQUEUE", "exempt")
    return found == "exempt"


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        (GATEWAY, {4: ("-d 10.0.0.1/32 -g NFINSPECT-EXEMPT",)}),
        (
            "access-list l permit tcp 10.1.0.0 255.255.0.0 gt 1023 any4 eq smtp",
            {4: ("-s 10.1.0.0/16 -p tcp -m tcp --sport 1024:65535 -g NFINSPECT-EXEMPT",)},
        ),
        (
            "access-list l permit ip any 2001:db8::/32",
            {6: ("-d 2001:db8::/32 -g NFINSPECT-EXEMPT",)},
        ),
        ("access-list l permit ip any any", dict.fromkeys((4, 6), ("-g NFINSPECT-EXEMPT",))),
        ("access-list l permit tcp any host 10.0.0.1 eq 587", {}),
        ("access-list l permit udp any host 10.0.0.1", {}),
        (
            f"access-list l deny ip host 10.9.9.9 any\n{GATEWAY}\naccess-list l deny ip any any",
            {4: ("-s 10.9.9.9/32 -j RETURN", "-d 10.0.0.1/32 -g NFINSPECT-EXEMPT")},
        ),
        (f"{GATEWAY} time-range night", {}),
        (
            f"access-list l deny ip host 10.9.9.9 any time-range night\n{GATEWAY}",
            {4: ("-s 10.9.9.9/32 -j RETURN", "-d 10.0.0.1/32 -g NFINSPECT-EXEMPT")},
        ),
    ],
)
def test_access_list_of_an_exempt_class_is_a_chain(
    entry: str, wanted: dict[int, tuple[str, ...]]
) -> None:
    assert rules(entry, *EXEMPT) == wanted


def test_class_without_a_list_is_exempt_on_its_diverted_ports() -> None:
    lines = ["class-map c", " match port tcp range 20 30", *EXEMPT[2:]]
    assert exempt(*lines)
    assert exempt(*lines, destination="2001:db8::1")
    assert len(exemptions(*lines)[4].chains) == 1


SUBMISSION = [
    "class-map s",
    " match port tcp eq 587",
    "policy-map global_policy",
    " class s",
    "  inspect esmtp",
]


def test_ports_of_an_entry_are_those_of_the_connection() -> None:
    lines = ["access-list l permit tcp any host 10.0.0.1 eq 587", *SUBMISSION, *EXEMPT]
    assert exempt(*lines, port=587)
    assert not exempt(*lines)
    ranged = ["access-list l permit tcp any host 10.0.0.1 range 20 600", *SUBMISSION, *EXEMPT]
    assert exempt(*ranged, port=587)
    assert exempt(*ranged)


def test_no_server_begins_a_connection_from_its_port() -> None:
    assert exempt(GATEWAY, *EXEMPT, source_port=26)
    assert not exempt(GATEWAY, *EXEMPT, source_port=25)


@pytest.mark.parametrize("lines", [[], [GATEWAY, *CLASS, "  set connection timeout idle 1:00:00"]])
def test_nobody_is_exempt_without_the_note_s_line(lines: list[str]) -> None:
    assert exemptions(*lines) == {}


# Interfaces.

ON_OUTSIDE = [
    GATEWAY,
    *EXEMPT,
    " class inspection_default",
    "  inspect esmtp",
    APPLIED,
    "access-list strict permit tcp host 192.0.2.66 any eq smtp",
    "class-map strict",
    " match access-list strict",
    "policy-map strict",
    " class strict",
    "  inspect esmtp",
    "service-policy strict interface outside",
]
"""The gateway is exempt, but for one client on the outside."""


@pytest.mark.parametrize("bridged", [False, True])
def test_policy_of_an_interface_is_asked_first(bridged: bool) -> None:
    def by(source: str, *way: str) -> bool:
        return exempt(*ON_OUTSIDE, source=source, devices=DEVICES, way=way, bridged=bridged)  # type: ignore[arg-type]

    assert by("192.0.2.9", "eth0", "eth1")
    assert not by("192.0.2.66", "eth0", "eth1")
    assert not by("192.0.2.66", "eth1", "eth0")
    assert by("192.0.2.66", "eth1", "eth1")


def test_policy_of_an_interface_that_exempts_holds_there_only() -> None:
    lines = [GATEWAY, *EXEMPT, "service-policy global_policy interface outside"]
    assert exempt(*lines, devices=DEVICES)
    assert exempt(*lines, devices=DEVICES, way=("eth1", "eth0"))
    assert not exempt(*lines, devices=DEVICES, way=("eth1", "eth1"))
    assert exempt(*lines, devices=DEVICES, way=("eth2", "eth0"))


def test_interface_without_a_name_has_the_global_policy_and_a_hidden_bridge_none() -> None:
    for way in (("eth2", "eth1"), ("eth0", "eth2")):
        assert exempt(*ON_OUTSIDE, devices=DEVICES, way=way)
    assert not exempt(*ON_OUTSIDE, source="192.0.2.66", devices=DEVICES, way=("eth2", "eth0"))
    # Perhaps of a bridge that the rules were not made for: its ports are not seen.
    assert not exempt(*ON_OUTSIDE, devices=DEVICES, way=("eth2", "eth3"))
    assert not exempt(*ON_OUTSIDE, devices=DEVICES, bridged=True, with_ports=False)
    assert exempt(*ON_OUTSIDE, devices=DEVICES, way=("eth2", "eth3"), bridged=True)


def test_interface_that_no_rule_can_name_is_left_to_the_filter() -> None:
    devices = {"outside": "eth+", "inside": "eth1"}
    assert not exempt(*ON_OUTSIDE, devices=devices, way=("eth+", "eth1"))
    assert not exempt(*ON_OUTSIDE, devices=devices, way=("eth2", "eth1"))
    assert exempt(*ON_OUTSIDE, devices=devices, way=("eth1", "eth1"))


def test_without_named_interfaces_clients_are_outside() -> None:
    assert exempt(*ON_OUTSIDE)
    assert not exempt(*ON_OUTSIDE, source="192.0.2.66")
    inside = [line.replace("interface outside", "interface dmz") for line in ON_OUTSIDE]
    assert exempt(*inside, source="192.0.2.66")


# Translation.

STATIC = "static (inside,outside) 192.0.2.1 10.0.0.1 netmask 255.255.255.255"


@pytest.mark.parametrize("named", ["10.0.0.1", "192.0.2.1"])
def test_list_may_name_the_real_or_the_mapped_address(named: str) -> None:
    lines = [f"access-list l permit ip any host {named}", *EXEMPT, STATIC]
    assert exempt(*lines)
    assert not exempt(*lines, destination="10.0.0.2")
    denied = [f"access-list l deny ip any host {named}", "access-list l permit ip any any", *EXEMPT]
    assert exempt(*denied, STATIC)  # by its other address
    assert exempt(*denied) == (named != "10.0.0.1")


def test_list_may_name_the_mapped_port() -> None:
    static = "static (inside,outside) tcp 192.0.2.1 2525 10.0.0.1 smtp netmask 255.255.255.255"
    lines = ["access-list l permit tcp any host 192.0.2.1 eq 2525", *EXEMPT, static]
    assert exempt(*lines)
    assert not exempt(*lines, destination="10.0.0.2")
    assert not exempt("access-list l permit tcp any host 192.0.2.1 eq smtp", *EXEMPT, static)


def test_client_may_have_a_mapped_address_or_port_too() -> None:
    lines = ["access-list l permit ip host 192.0.2.1 any", *EXEMPT, STATIC]
    assert exempt(*lines, source="10.0.0.1", destination="10.9.9.9")
    assert not exempt(*lines, source="10.0.0.2", destination="10.9.9.9")
    port = "static (inside,outside) tcp 192.0.2.1 2525 10.0.0.1 4000 netmask 255.255.255.255"
    for named, wanted in ((2525, True), (2526, False)):
        entry = f"access-list l permit tcp host 192.0.2.1 eq {named} any"
        assert exempt(entry, *EXEMPT, port, source="10.0.0.1", destination="10.9.9.9") == wanted


# Bounds.


def test_class_that_would_need_too_many_rules_has_none_and_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exemption, "MOST_RULES", 2)
    two = [f"access-list l permit ip any host 10.0.0.{n}" for n in range(1, 3)]
    assert len(rules(*two, *EXEMPT)[4]) == 2
    more = [*two, "access-list l permit ip host 10.0.0.3 any", *EXEMPT]
    assert exemptions(*more, "class-map d", " match any", *EXEMPT[2:3], " class d",
                      "  no inspect esmtp")[4].notes == (
        "class c of policy-map global_policy would need more rules (at most 2 of all classes): its IPv4"
        " connections go to the filter, which exempts them",
    )  # fmt: skip
    assert not exempt(*more)
    diversion = diversion_of(parse_policy("\n".join(more), "a.cfg").policy)
    assert "\n# class c of policy-map global_policy would need more" in describe(diversion, "IPv4")
    assert "# class" not in describe(diversion, "IPv6")
    assert not exempt(*ON_OUTSIDE, "access-list strict permit tcp any host 10.9.9.1",
                      "access-list strict permit tcp any host 10.9.9.2", devices=DEVICES)  # fmt: skip


def test_first_packet_marks_the_connection_and_the_mark_decides_for_both_directions() -> None:
    policy = parse_policy("\n".join([GATEWAY, *EXEMPT]), "a.cfg").policy
    text = application(diversion_of(policy), "security", 4)
    marked, first, syns, *queueing = [x for x in text.splitlines() if x.startswith("-A NFINSPECT ")]
    assert "-m connmark --mark 0x8000000/0x8000000" in marked
    assert marked.endswith("-j ACCEPT")
    assert first.endswith("--dport 25 -m conntrack --ctstate NEW --ctdir ORIGINAL -j NFINSPECT-NEW")
    assert syns.endswith("--queue-num 32768")
    assert len(queueing) == 2
    assert "-A NFINSPECT-EXEMPT -j CONNMARK --set-xmark 0x8000000/0x8000000" in text
    assert "connmark" not in application(diversion_of(policy), "security", 6)
