"""Which connections are shown to the filter only to be counted."""

from __future__ import annotations

import pytest

from nfinspect.policy import parse_policy
from nfinspect.rules.counting import (
    EVERYBODY,
    MOST,
    Covered,
    counts_uninspected,
    covered,
    has_limits,
)
from nfinspect.rules.diversion import Diversion, application, describe
from nfinspect.rules.of_policy import diversion_of

STATIC = "static (inside,outside) 203.0.113.9 198.51.100.25 netmask 255.255.255.255 tcp 50 100\n"
PORT = "static (inside,outside) tcp 203.0.113.9 8080 198.51.100.25 {} netmask 255.255.255.255 {}\n"
ALL = (0, 65535)


def class_of(match: str, limits: str = "conn-max 5") -> str:
    return f"""
access-list web permit tcp any host 198.51.100.25 range 80 81
access-list mapped permit tcp any host 203.0.113.9 eq 80
access-list denied deny tcp any host 198.51.100.25
access-list mail permit tcp any any eq 25
access-list names permit udp any host 198.51.100.25
class-map c
 match {match}
policy-map global_policy
 class c
  set connection {limits}
"""


def found(text: str) -> dict[int, tuple[Covered, ...]]:
    return covered(parse_policy(text, "a.cfg").policy)


HOST = "198.51.100.25/32"


@pytest.mark.parametrize(
    ("text", "v4", "v6"),
    [
        ("", (), ()),
        (STATIC, (Covered(HOST, *ALL),), ()),
        (STATIC.replace("50 100", "0 0"), (), ()),
        (PORT.format(80, "5 0"), (Covered(HOST, 80, 80),), ()),
        (PORT.format(25, "5 0"), (), ()),
        (class_of("any"), (EVERYBODY,), (EVERYBODY,)),
        (class_of("any", "timeout idle 1:0:0"), (), ()),
        (class_of("port tcp eq 80"), (Covered("", 80, 80),), (Covered("", 80, 80),)),
        (class_of("port tcp eq 25"), (), ()),
        (class_of("access-list web"), (Covered(HOST, 80, 81),), ()),
        (class_of("access-list denied"), (), ()),
        (class_of("access-list mail"), (), ()),
        (class_of("access-list names"), (), ()),
        (
            STATIC.replace("50 100", "0 0") + class_of("access-list mapped"),
            (Covered("203.0.113.9/32", 80, 80), Covered(HOST, 80, 80)),
            (),
        ),
        (STATIC + class_of("any"), (EVERYBODY,), (EVERYBODY,)),
    ],
)
def test_servers_that_limits_may_cover(
    text: str, v4: tuple[Covered, ...], v6: tuple[Covered, ...]
) -> None:
    assert found(text) == {version: each for version, each in ((4, v4), (6, v6)) if each}


def test_with_too_many_servers_all_are_taken_to_be_covered() -> None:
    lines = [f"access-list many permit tcp any host 10.0.{n // 99}.{n % 99 + 1} eq 80" for n in range(MOST + 1)]  # fmt: skip
    text = "\n".join(lines) + class_of("access-list many")
    assert found(text)[4] == (EVERYBODY,)


@pytest.mark.parametrize(
    ("text", "limits", "uninspected"),
    [
        ("", False, False),
        (STATIC, True, True),
        (class_of("port tcp eq 25"), True, False),
        (class_of("port tcp eq 25") + "  no inspect esmtp\n", True, True),
        (class_of("port tcp eq 25", "timeout idle 1:0:0") + "  no inspect esmtp\n", False, False),
    ],
)
def test_who_counts(text: str, limits: bool, uninspected: bool) -> None:
    policy = parse_policy(text, "a.cfg").policy
    assert has_limits(policy) is limits
    assert counts_uninspected(policy) is uninspected


def rules_of(diversion: Diversion) -> list[str]:
    return application(diversion, "security", 4).splitlines()


def test_first_packets_are_shown_and_pass_while_no_filter_runs() -> None:
    diversion = Diversion((25,), 3, counts=True, covered={4: (Covered(HOST, 80, 81),)})
    rules = rules_of(diversion)
    queue = next(n for n, rule in enumerate(rules) if "replies from port 25" in rule)
    marked = next(n for n, rule in enumerate(rules) if '"exempt" -j ACCEPT' in rule)
    counted = f'-A NFINSPECT -d {HOST} -p tcp -m tcp --dport 80:81 -m conntrack --ctdir ORIGINAL -m comment --comment "counted" -j NFINSPECT-COUNT'
    assert marked < queue < rules.index(counted)
    assert [rule for rule in rules if rule.startswith("-A NFINSPECT-COUNT")] == [
        "-A NFINSPECT-COUNT -j CONNMARK --set-xmark 0x8000000/0x8000000",
        "-A NFINSPECT-COUNT -p tcp -m tcp --tcp-flags SYN,ACK SYN -j NFQUEUE --queue-num 32771 --queue-bypass",
        "-A NFINSPECT-COUNT -j ACCEPT",
    ]
    assert not any("ACK SYN,ACK" in rule for rule in rules)
    assert "limits may cover" in describe(diversion, "IPv4")
    assert "limits may cover" not in describe(diversion, "IPv6")
    assert "NFINSPECT-COUNT" not in application(diversion, "security", 6)


def test_with_intercept_answers_are_shown_too() -> None:
    policy = parse_policy(STATIC.replace("50 100", "0 100"), "a.cfg").policy
    rules = rules_of(diversion_of(policy))
    assert sum("ACK SYN,ACK" in rule for rule in rules) == 3
    assert any(f"-s {HOST} -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN,ACK -m conntrack --ctdir REPLY" in rule for rule in rules)  # fmt: skip


def test_exempt_connections_are_shown_if_the_policy_has_limits() -> None:
    exempt = class_of("access-list web", "timeout idle 1:0:0").replace("80 81", "25 25")
    exempt += "  no inspect esmtp\n"
    rules = rules_of(diversion_of(parse_policy(exempt, "a.cfg").policy))
    assert [rule for rule in rules if rule.startswith("-A NFINSPECT-EXEMPT")][1:] == [
        "-A NFINSPECT-EXEMPT -j ACCEPT"
    ]
    rules = rules_of(diversion_of(parse_policy(exempt + STATIC, "a.cfg").policy))
    shown = [rule for rule in rules if rule.startswith("-A NFINSPECT-EXEMPT")][1:]
    assert shown[0].endswith("-j NFQUEUE --queue-num 32768 --queue-bypass")
