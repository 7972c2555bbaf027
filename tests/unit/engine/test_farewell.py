"""``closing-reply``: the client of a connection that inspection closes reads a 554 and a FIN, and no packet is sent
again without end."""

from __future__ import annotations

import pytest

from nfinspect.actions import DropReason
from nfinspect.engine import RECORDED, EngineOptions
from nfinspect.esmtp.inspector import CLOSING_REPLY
from nfinspect.events import ClauseAction, InspectionClosed
from nfinspect.policy.criteria import Criterion
from tests.model.policy import policy_with
from tests.model.talk import ACK, FIN, PSH, RST, START, SYN, Talk
from tests.model.wire import Packet, read
from tests.unit.engine.test_reset import resets
from tests.unit.esmtp.transcript import DROP, map_with

LONG = b"NOOP 678901234567890\r\n"
SIZE = len(CLOSING_REPLY)


def greeted(action: ClauseAction = DROP, told: bool = True, **options: object) -> Talk:
    inspection_map = map_with(
        (Criterion.COMMAND_LINE_LENGTH, action, True, 15),
        (Criterion.HEADER_LINE_LENGTH, action, True, 50),
        closing_reply=told,
    )
    talk = Talk(policy_with(inspection_map), **options).open()
    talk.server(b"220 2\r\n")
    talk.client(b"EHLO c\r\n")
    talk.server(b"250 s\r\n")
    return talk


def injected(talk: Talk) -> list[Packet]:
    packets = [read(datagram) for datagram in talk.injected]
    talk.injected.clear()
    return packets


def closed(talk: Talk) -> InspectionClosed:
    (event,) = talk.emitted(InspectionClosed)
    return event


def test_client_reads_the_reply_and_the_end_and_need_not_send_again() -> None:
    talk = greeted()
    begin, answered = talk.next["client"], talk.next["server"]
    assert talk.client(LONG) is DropReason.INSPECTION
    (reply,) = injected(talk)
    assert reply.payload == CLOSING_REPLY
    assert reply.flags == ACK | PSH | FIN
    assert offset(reply.sequence) == answered
    assert offset(reply.acknowledgment) == begin + len(LONG)
    assert reply.destination == talk.client_end
    assert closed(talk).told


def offset(number: int) -> int:
    return (number - START - 1) % 2**32


def test_lost_reply_is_sent_again_when_the_client_repeats() -> None:
    talk = greeted()
    begin = talk.next["client"]
    talk.client(LONG)
    (first,) = injected(talk)
    assert talk.client(LONG, at=begin) is DropReason.CLOSED_CONNECTION
    assert injected(talk) == [first]


def test_what_the_client_still_sends_is_acknowledged_and_nobody_reads_it() -> None:
    talk = greeted()
    talk.client(LONG)
    injected(talk)
    talk.next["server"] += SIZE + 1
    assert talk.client(b"", flags=ACK) is DropReason.CLOSED_CONNECTION
    assert injected(talk) == []
    quit_at = talk.next["client"]
    assert talk.client(b"QUIT\r\n") is DropReason.CLOSED_CONNECTION
    (acknowledged,) = injected(talk)
    assert (acknowledged.payload, acknowledged.flags) == (b"", ACK)
    assert offset(acknowledged.sequence) == talk.next["server"]
    assert offset(acknowledged.acknowledgment) == quit_at + 6
    assert talk.client(b"", flags=ACK | FIN) is DropReason.CLOSED_CONNECTION
    (ended,) = injected(talk)
    assert offset(ended.acknowledgment) == quit_at + 7
    # Beyond a gap: what is missing is told.
    talk.client(b"x", at=quit_at + 100)
    (again,) = injected(talk)
    assert offset(again.acknowledgment) == quit_at + 7


def test_nothing_of_the_server_passes_any_more() -> None:
    talk = greeted()
    talk.client(LONG)
    injected(talk)
    for flags, payload in ((ACK, b"421 late\r\n"), (ACK, b""), (ACK | FIN, b""), (RST, b"")):
        assert talk.server(payload, flags=flags) is DropReason.CLOSED_CONNECTION
    assert injected(talk) == []


def test_reset_tells_the_client_and_resets_the_server() -> None:
    talk = greeted(ClauseAction.RESET)
    passed = talk.next["client"]
    talk.client(LONG)
    assert [(port, number) for port, number, flags in resets(talk) if flags == RST] == [
        (25, passed)
    ]
    assert injected(talk)[0].payload == CLOSING_REPLY
    assert talk.server(b"421 late\r\n", ack=passed) is DropReason.CLOSED_CONNECTION
    assert [each.flags for each in injected(talk)] == [RST]


def test_message_is_answered_in_its_middle() -> None:
    talk = greeted()
    for line, reply in (
        (b"MAIL FROM:<>\r\n", b"250 ok\r\n"),
        (b"RCPT TO:<a>\r\n", b"250 ok\r\n"),
        (b"DATA\r\n", b"354 go\r\n"),
    ):
        talk.client(line)
        talk.server(reply)
    talk.client(b"X-Long: " + b"x" * 60 + b"\r\n")
    (reply_,) = injected(talk)
    assert reply_.payload == CLOSING_REPLY
    talk.next["server"] += SIZE + 1
    assert talk.client(b"\r\nrest\r\n.\r\n") is DropReason.CLOSED_CONNECTION
    (acknowledged,) = injected(talk)
    assert acknowledged.flags == ACK


def test_it_stays_closed_and_is_forgotten() -> None:
    talk = greeted()
    talk.client(LONG)
    injected(talk)
    assert talk.client(b"", flags=SYN, at=5000) is DropReason.CLOSED_CONNECTION
    talk.wait(601)
    assert talk.engine.connections == 0
    assert talk.client(b"QUIT\r\n") is DropReason.NO_CONNECTION
    assert injected(talk) == []


# ---- where it is not possible


def test_not_while_another_reply_is_owed() -> None:
    talk = greeted()
    talk.client(b"NOOP\r\n")
    talk.server(b"250 ok\r\n")
    talk.client(b"MAIL FROM:<>\r\n", ack=talk.next["server"] - 8)  # not acknowledged yet
    talk.server(b"250 ok\r\n")
    unread = talk.next["server"] - 8
    assert talk.client(LONG, ack=unread) is DropReason.INSPECTION
    assert injected(talk) == []
    assert not closed(talk).told


@pytest.mark.parametrize("room", [SIZE, SIZE + 1])
def test_not_in_a_window_without_room_for_it(room: int) -> None:
    talk = greeted()
    server = talk.engine._core.table.connections()[0].server
    server.edge = server.next + room
    talk.client(LONG, window=0)
    assert bool(injected(talk)) is (room > SIZE)


def test_not_if_the_server_has_ended_nor_at_its_reply_nor_unless_the_map_says_so() -> None:
    talk = greeted()
    talk.server(b"", flags=ACK | FIN)
    talk.client(LONG)
    assert injected(talk) == []
    talk = greeted(told=False)
    talk.client(LONG)
    assert injected(talk) == []


def test_not_in_a_capture() -> None:
    talk = greeted(options=EngineOptions(permissions=RECORDED))
    talk.client(LONG)
    assert injected(talk) == []


@pytest.mark.parametrize("ack", [10**6, -(10**6)])
def test_forged_acknowledgements_are_not_answered(ack: int) -> None:
    talk = greeted()
    talk.client(LONG)
    injected(talk)
    talk.client(b"x", ack=ack % 2**32)
    packets = injected(talk)
    assert len(packets) == (ack < 0)
