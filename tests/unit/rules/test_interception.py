"""The rules of TCP intercept."""

import pytest

from nfinspect.packet.options import SynOptions
from nfinspect.policy import parse_policy
from nfinspect.rules.diversion import Diversion, application, are_others, translating, untracking
from nfinspect.rules.interception import creating, filling, intercepts, proxy_rules
from nfinspect.rules.of_policy import diversion_of

CLASS = "policy-map global_policy\n class class-default\n  set connection {}\n"
STATIC = "static (inside,outside) 192.0.2.25 198.51.100.25 netmask 255.255.255.255 tcp {}\n"
DNAT = "-A NFINSPECT-DNAT -i eth0 -d 192.0.2.25 -j DNAT --to-destination 198.51.100.25"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", False),
        (CLASS.format("conn-max 5"), False),
        (CLASS.format("embryonic-conn-max 5"), True),
        (CLASS.format("per-client-embryonic-max 5"), True),
        (STATIC.format("0 5"), True),
        (STATIC.format("50 100"), False),  # never reached
        (STATIC.format("50 0"), False),
    ],
)
def test_only_a_policy_with_an_embryonic_limit_needs_them(text: str, wanted: bool) -> None:
    policy = parse_policy(text, "a.cfg").policy
    assert intercepts(policy) is wanted
    assert diversion_of(policy).intercepts is wanted
    assert not diversion_of(policy, bridged=True).intercepts


def test_the_proxy_comes_before_everything_else() -> None:
    text = application(Diversion((25,), intercepts=True), "security", 4)
    rules = [line for line in text.splitlines() if line.startswith("-A NFINSPECT ")]
    assert rules[0].endswith("-j NFINSPECT-PROXY")
    assert "-A INPUT" not in text


def test_with_a_translation_it_answers_for_the_filter_itself() -> None:
    diversion = Diversion((25,), nat={4: (DNAT,)}, intercepts=True)
    assert "-A INPUT " in application(diversion, "security", 4)
    assert "-A INPUT " not in application(diversion, "security", 6)
    text = translating((DNAT,), intercepted=4)
    assert text.index("NFINSPECT-SERVERS4 dst,dst -j ACCEPT") < text.index(DNAT)
    assert (
        "-A NFINSPECT-ODNAT -d 192.0.2.25 -j DNAT --to-destination 198.51.100.25\n" in text
    )  # no packet comes in there


def test_only_syns_of_members_and_answers_to_them_are_not_tracked() -> None:
    text = untracking(intercepted=6)
    for chain, members in (("SYN", "dst,dst"), ("SYNACK", "src,src")):
        rule = f"-A NFINSPECT-{chain} -p tcp -m set --match-set NFINSPECT-SERVERS6 {members} -j CT"
        assert rule in text
        assert f" -j NFINSPECT-{chain}\n" in text
    assert "--match-set NFINSPECT-SERVERS6 dst,dst -j CT --notrack\n" in text
    assert "--match-set NFINSPECT-PAIRS6 dst,dst,src -j CT --notrack\n" in text
    assert "NFINSPECT-SYN" not in untracking()


def test_each_server_is_answered_for_as_it_answers() -> None:
    servers = [
        (bytes([192, 0, 2, 1]), 25, SynOptions(1400, 3, True, False)),
        (bytes([192, 0, 2, 2]), 587, None),
    ]
    first, _, second, last = proxy_rules(4, servers)
    assert first.startswith("-d 192.0.2.1 -p tcp -m tcp --dport 25 ")
    assert first.endswith("--ctstate UNTRACKED -j SYNPROXY --sack-perm --wscale 3 --mss 1400")
    assert second.endswith("-j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460")
    assert "NEW,INVALID,UNTRACKED" in last


def test_the_chain_that_the_filter_fills_makes_no_other_rules() -> None:
    diversion = Diversion((25,), intercepts=True)
    rules = list(proxy_rules(4, [(bytes([192, 0, 2, 1]), 25, None)]))
    text = application(diversion, "security", 4) + filling("security", rules)
    assert not are_others(text.splitlines(), diversion, 4)
    assert are_others(text.splitlines(), Diversion((25,)), 4)


def test_the_sets_can_be_made_by_hand() -> None:
    assert creating(6) == [
        "ipset create NFINSPECT-SERVERS6 hash:ip,port family inet6 timeout 30",
        "ipset create NFINSPECT-PAIRS6 hash:ip,port,ip family inet6 timeout 30",
    ]
