"""What the limits of a configuration do not count or do, as `check` says it."""

from __future__ import annotations

import pytest

from nfinspect.policy import parse_policy

HOST = "static (inside,outside) 192.0.2.1 10.0.0.1 netmask 255.255.255.255 tcp "
PORT = "static (inside,outside) tcp 192.0.2.1 {0} 10.0.0.1 {0} netmask 255.255.255.255 "


def class_of(match: str, limits: str) -> str:
    return f"""
access-list tcp25 permit tcp any host 10.0.0.1 eq 25
access-list ip permit ip any host 10.0.0.1
class-map c
 match {match}
policy-map global_policy
 class c
  set connection {limits}
"""


def test_exempt_connections_are_not_counted() -> None:
    exempt = class_of("access-list ip", "timeout idle 1:0:0").rstrip() + "\n  no inspect esmtp\n"
    (found,) = parse_policy(exempt + PORT.format(25) + "50 0", "a.cfg").not_done
    assert "exempt connections" in found.message


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        (HOST + "50 100", True),
        (HOST + "0 100", True),
        (HOST + "100 50", True),
        (HOST + "0 0", False),
        (PORT.format(25) + "50 0", False),
        (PORT.format(587) + "50 0", True),
        (class_of("port tcp eq 25", "conn-max 5"), False),
        (class_of("port tcp eq 25", "per-client-max 5"), False),
        (class_of("port tcp eq 25", "per-client-embryonic-max 5"), False),
        (class_of("port tcp eq 587", "conn-max 5"), True),
        (class_of("any", "conn-max 5"), True),
        (class_of("access-list tcp25", "conn-max 5"), False),
        (class_of("access-list ip", "conn-max 5 embryonic-conn-max 3"), True),
    ],
)
def test_what_a_limit_does_not_cover_is_named(text: str, ports: bool) -> None:
    found = [finding.message for finding in parse_policy(text, "a.cfg").not_done]
    assert len(found) == ports
    assert ports == any("other ports and UDP" in message for message in found)
