"""``sysopt connection tcpmss`` and ``syn-cookie-mss``: what a SYN may announce."""

from __future__ import annotations

import pytest

from nfinspect.actions import DropReason
from nfinspect.engine import Engine
from nfinspect.packet.options import syn_options
from nfinspect.packet.segment import Segment, parse
from nfinspect.policy import parse_policy
from tests.model.talk import ACK, LATE, SYN, Talk

MSS = b"\2\4"
REST = b"\4\2\1\3\3\7"
LARGEST = "sysopt connection tcpmss 1380\n"
SMALLEST = "sysopt connection tcpmss minimum 600\n"


def opened(text: str, *, client: int, server: int) -> tuple[int | None, int | None]:
    """The MSS with which SYN and SYN-ACK leave. (`Talk` checks their checksums.)"""
    each = Talk(parse_policy(text, "a.cfg").policy)
    for side, flags, size in (("client", SYN, client), ("server", SYN | ACK, server)):
        options = MSS + size.to_bytes(2) + REST + b"\1\1"
        sent = each.send(side, flags=flags, at=-1, ack=0, options=options, checksum_ready=False)
        assert sent == b""
        assert each.passed[-1].options[4:] == options[4:]
    assert each.client(flags=ACK) == b""
    found = []
    for packet in each.passed[:2]:
        segment = parse(packet.build())
        assert isinstance(segment, Segment)
        found.append(syn_options(segment).mss)
    return found[0], found[1]


@pytest.mark.parametrize(
    ("text", "leaves"),
    [
        ("", (1460, 536)),
        (LARGEST, (1380, 536)),
        (SMALLEST, (1460, 600)),
        (LARGEST + SMALLEST, (1380, 600)),
        (LARGEST + "sysopt connection tcpmss 0\n", (1460, 536)),
    ],
)
def test_the_mss_of_both_sides_is_brought_within_the_bounds(
    text: str, leaves: tuple[int, int]
) -> None:
    assert opened(text, client=1460, server=536) == leaves
    assert opened(text, client=536, server=1460) == leaves[::-1]


def test_a_syn_without_it_stays_as_it_is() -> None:
    each = Talk(parse_policy(LARGEST, "a.cfg").policy)
    assert each.client(flags=SYN, at=-1, options=REST + b"\1\1") == b""
    assert each.passed[-1].options == REST + b"\1\1"


def test_a_repeated_syn_ack_is_lowered_too() -> None:
    each = Talk(parse_policy(LARGEST, "a.cfg").policy)
    assert each.client(flags=SYN, at=-1, options=MSS + b"\5\xb4") == b""
    for _ in range(2):
        assert each.server(flags=SYN | ACK, at=-1, ack=0, options=MSS + b"\5\xb4") == b""
        assert each.passed[-1].options == MSS + b"\5\x64"
    assert each.client(flags=ACK) == b""
    assert each.server(flags=SYN | ACK, at=-1, ack=0, options=MSS + b"\5\xb4") == b""
    assert each.passed[-1].options == MSS + b"\5\x64"


CLASS = "policy-map global_policy\n class class-default\n  set connection embryonic-conn-max 1 {}\n"


@pytest.mark.parametrize(
    ("text", "largest"),
    [
        (CLASS.format(""), 0),
        (CLASS.format("syn-cookie-mss 1200"), 1200),
        (LARGEST + CLASS.format(""), 1380),
        (LARGEST + CLASS.format("syn-cookie-mss 1200"), 1200),
        (LARGEST + CLASS.format("syn-cookie-mss 1400"), 1380),
    ],
)
def test_tcp_intercept_announces_no_more(text: str, largest: int) -> None:
    made = Engine(parse_policy(text, "a.cfg").policy, started=0.0)
    made.interceptions.possible = True
    for host in (1, 2):
        each = Talk(engine=made, client=(bytes([192, 0, 2, host]), 2000), now=LATE)
        said = each.client(flags=SYN, at=-1)
    assert said is DropReason.INTERCEPTED
    (known,) = made.interceptions.active.values()
    assert known.largest_mss == largest
