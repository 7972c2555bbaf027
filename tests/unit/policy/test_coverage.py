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


@pytest.mark.parametrize(
    ("text", "udp"),
    [
        (HOST + "50 100", False),
        (HOST + "50 100 udp 0", False),
        (HOST + "50 100 udp 5", True),
        (HOST + "0 0", False),
        (PORT.format(587) + "50 0", False),
        (class_of("port tcp eq 587", "conn-max 5"), False),
        (class_of("port tcp eq 25", "per-client-max 5"), False),
        (class_of("any", "conn-max 5"), True),
        (class_of("any", "embryonic-conn-max 5"), False),
        (class_of("any", "timeout idle 1:0:0"), False),
        (class_of("access-list tcp25", "conn-max 5"), False),
        (class_of("access-list ip", "per-client-max 5 embryonic-conn-max 3"), True),
        (class_of("access-list ip", "conn-max 5\n  no inspect esmtp"), True),
    ],
)
def test_udp_which_is_not_counted_is_named(text: str, udp: bool) -> None:
    found = [finding.message for finding in parse_policy(text, "a.cfg").not_done]
    assert len(found) == udp
    assert udp == any("UDP" in message for message in found)
