"""TCP intercept: the SYN that it drops, and a connection whose SYN never came by."""

from __future__ import annotations

import pytest

from nfinspect.actions import DropReason
from nfinspect.engine import Engine
from nfinspect.events import ConnectionBuilt, ConnectionTornDown, LimitReached, TeardownReason
from nfinspect.packet.segment import Segment, parse
from nfinspect.policy import parse_policy
from tests.model.talk import ACK, LATE, RST, START, SYN, Talk
from tests.model.wire import FIN, SERVER, read

CLASS = """
policy-map global_policy
 class class-default
  set connection {}
"""
OFFSET = 0x9000_0001
"""What the proxy adds to the server's numbers."""
OPTIONS = b"\2\4\5\xb4\3\3\7\0"


def engine(limits: str = "embryonic-conn-max 1", *, possible: bool = True) -> Engine:
    made = Engine(parse_policy(CLASS.format(limits), "a.cfg").policy, started=0.0)
    made.interceptions.possible = possible
    return made


def talk(made: Engine, port: int = 2000, host: int = 1) -> Talk:
    return Talk(engine=made, client=(bytes([192, 0, 2, host]), port), now=LATE)


def syn(each: Talk) -> bytes | DropReason | None:
    return each.client(flags=SYN, at=-1)


def attacked(limits: str = "embryonic-conn-max 1") -> Engine:
    made = engine(limits)
    assert syn(talk(made, 1)) == b""
    assert syn(talk(made, 2)) is DropReason.INTERCEPTED
    return made


def answered(made: Engine) -> Talk:
    """A client that the proxy has just connected to the server."""
    each = talk(made)
    assert each.server(flags=SYN | ACK, at=-1, ack=0, options=OPTIONS) == b""
    return each


def established(made: Engine) -> Talk:
    each = answered(made)
    assert each.client(flags=ACK, ack=OFFSET) == b""
    return each


def probe(each: Talk) -> Segment:
    segment = parse(each.injected[-1])
    assert isinstance(segment, Segment)
    return segment


@pytest.mark.parametrize("limits", ["embryonic-conn-max 1", "per-client-embryonic-max 1"])
def test_above_the_limit_the_kernel_is_asked_where_it_can(limits: str) -> None:
    made = engine(limits)
    assert syn(talk(made, 1)) == b""
    assert not made.interceptions.active
    late = talk(made, 2)
    assert syn(late) is DropReason.INTERCEPTED
    assert late.emitted(LimitReached)
    assert not late.emitted(ConnectionBuilt)
    (target,) = made.interceptions.active
    assert target.client == (late.client_end[0] if limits.startswith("per-client") else b"")
    assert (target.server, target.port) == SERVER


def test_where_it_cannot_the_syn_passes() -> None:
    made = engine(possible=False)
    assert syn(talk(made, 1)) == b""
    assert syn(talk(made, 2)) == b""


def test_a_limit_ends_with_its_connections() -> None:
    made = engine()
    first = talk(made, 1)
    assert syn(first) == b""
    assert syn(talk(made, 2)) is DropReason.INTERCEPTED
    first.wait(40)
    assert not made.interceptions.active
    assert syn(talk(made, 3)) == b""


def test_a_syn_ack_of_nobody_is_denied_unless_the_proxy_may_have_asked_for_it() -> None:
    each = talk(engine())
    assert each.server(flags=SYN | ACK, at=-1, ack=0) is DropReason.NO_CONNECTION


def test_the_client_is_made_to_acknowledge_so_that_the_offset_is_known() -> None:
    each = answered(attacked())
    assert each.emitted(ConnectionBuilt)
    asked = probe(each)
    assert asked.flags == ACK
    assert (asked.source, asked.source_port) == SERVER
    assert asked.sequence == (START - 1) & 0xFFFF_FFFF  # the server's own numbers
    assert asked.acknowledgment == (START + 1) & 0xFFFF_FFFF


def test_a_server_that_speaks_before_that_is_heard_later() -> None:
    each = answered(attacked())
    before = len(each.injected)
    assert each.server(b"220 mail\r\n", at=0) is DropReason.NOT_ESTABLISHED
    assert len(each.injected) == before + 1
    assert each.client(flags=ACK, ack=OFFSET) == b""
    assert each.server(b"220 mail\r\n", at=0) == b"220 ****\r\n"


def test_mail_is_inspected_between_two_sequence_spaces() -> None:
    each = established(attacked())
    assert each.server(b"220 mail\r\n") == b"220 ****\r\n"
    assert each.server(b"220 mail\r\n", at=0) == b"220 ****\r\n"
    assert each.client(b"EXPN root\r\n", ack=OFFSET + 10) == b"XXXXXXXXX\r\n"
    assert each.server(b"220 mail\r\n", at=0) == b"XXXXXXXXXX"  # acknowledged, so forgotten
    assert each.client(b"NOOP\r\n", at=11, ack=10) is DropReason.INVALID_ACK
    assert each.server(b"502 no\r\n") == b"502 no\r\n"
    assert each.client(b"QUIT\r\n", at=11, ack=OFFSET + 18) == b"QUIT\r\n"


def test_a_repeated_syn_ack_passes_before_and_after() -> None:
    each = answered(attacked())
    assert each.server(flags=SYN | ACK, at=-1, ack=0, options=OPTIONS) == b""
    assert each.client(flags=ACK, ack=OFFSET) == b""
    assert each.server(flags=SYN | ACK, at=-1, ack=0, options=OPTIONS) == b""
    assert each.server(flags=SYN | ACK, at=4, ack=0) is DropReason.BAD_SYN_ACK


def test_a_forged_acknowledgement_does_not_tell_the_offset() -> None:
    each = answered(attacked())
    assert each.client(flags=ACK, at=77, ack=5) is DropReason.OUT_OF_WINDOW
    assert each.client(flags=ACK, ack=OFFSET) == b""
    assert each.server(b"220 mail\r\n") == b"220 ****\r\n"


def test_one_that_does_not_go_on_ends_with_a_reason_of_its_own() -> None:
    each = answered(attacked())
    each.wait(60)
    assert [event.reason for event in each.emitted(ConnectionTornDown)][-1:] == [
        TeardownReason.INTERCEPTED
    ]


def test_either_side_may_reset_it_before_that() -> None:
    each = answered(attacked())
    assert each.client(flags=RST | ACK, ack=OFFSET) == b""
    assert [event.reason for event in each.emitted(ConnectionTornDown)]
    each = answered(attacked())
    assert each.server(flags=RST | ACK) == b""
    assert [event.reason for event in each.emitted(ConnectionTornDown)]


def test_a_client_that_completes_the_handshake_may_still_be_one_too_many() -> None:
    made = attacked("conn-max 2 embryonic-conn-max 1")
    established(made)
    each = talk(made, 2002)
    refused = each.server(flags=SYN | ACK, at=-1, ack=0, options=OPTIONS)
    assert refused is DropReason.CONNECTION_LIMIT
    assert each.emitted(LimitReached)


def test_a_port_that_is_used_again_is_connected_anew() -> None:
    made = attacked()
    first = established(made)
    assert first.client(flags=FIN | ACK, ack=OFFSET) == b""
    assert first.server(flags=FIN | ACK, ack=1) == b""
    assert first.client(flags=ACK, at=1, ack=OFFSET + 1) == b""
    repeated = first.server(flags=SYN | ACK, at=-1, ack=0, options=OPTIONS)
    assert repeated is DropReason.BAD_SYN
    built = len(first.emitted(ConnectionBuilt))
    assert first.server(flags=SYN | ACK, at=5_000, ack=9_000, options=OPTIONS) == b""
    assert len(first.emitted(ConnectionBuilt)) == built + 1
    assert first.client(flags=ACK, at=9_000, ack=OFFSET + 5_001) == b""
    assert first.server(b"220 mail\r\n", at=5_001, ack=9_000) == b"220 ****\r\n"


def test_every_place_is_given_back() -> None:
    made = attacked()
    each = established(made)
    each.client(flags=RST, at=0)
    each.wait(60)
    assert made._core.table.admission.counted == 0


def test_passed_packets_of_the_server_keep_its_own_numbers() -> None:
    each = established(attacked())
    each.server(b"220 mail\r\n")
    assert read(each.passed[-1].build()).sequence == (START + 1) & 0xFFFF_FFFF
