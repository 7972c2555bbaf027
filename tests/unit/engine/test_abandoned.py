"""The server leaves DATA or AUTH by itself, packet by packet: the client learns why, the server
reads nothing more."""

from __future__ import annotations

import pytest

from nfinspect.actions import DropReason
from nfinspect.events import CloseCause, ConnectionTornDown, InspectionClosed, TeardownReason
from tests.model.talk import ACK, FIN, Talk

REFUSAL = b"552 #5.3.4 message header size exceeds limit\r\n"


def in_message() -> Talk:
    talk = Talk().open()
    for server, client in (
        (b"220 2\r\n", b"HELO c\r\n"),
        (b"250 s\r\n", b"MAIL FROM:<a@b>\r\n"),
        (b"250 ok\r\n", b"RCPT TO:<c@d>\r\n"),
        (b"250 ok\r\n", b"DATA\r\n"),
        (b"354 go\r\n", b"Subject: x\r\n"),
    ):
        talk.server(server)
        talk.client(client)
    return talk


def closed(talk: Talk) -> list[CloseCause]:
    return [event.cause for event in talk.emitted(InspectionClosed)]


@pytest.mark.parametrize("following", [b"EXPN all\r\n", b"STARTTLS\r\n", b"text\r\n.\r\n", b"."])
def test_client_reads_the_reply_and_the_server_nothing_more(following: bytes) -> None:
    talk = in_message()
    assert talk.server(REFUSAL) == REFUSAL
    assert closed(talk) == []
    assert talk.client(following) is DropReason.INSPECTION
    assert closed(talk) == [CloseCause.ABANDONED_BY_SERVER]
    (end,) = talk.emitted(ConnectionTornDown)
    assert end.reason is TeardownReason.CLOSED_BY_INSPECTION
    assert talk.client(following, at=talk.next["client"] - len(following)) is (
        DropReason.CLOSED_CONNECTION
    )
    talk.wait(60)
    assert talk.client(b"XCLIENT x\r\n") is DropReason.CLOSED_CONNECTION


def test_reply_lost_behind_the_filter_passes_again_until_it_is_acknowledged() -> None:
    talk = in_message()
    at, read = talk.next["server"], talk.next["client"]
    talk.server(REFUSAL)
    assert talk.client(b"more\r\n", ack=at) is DropReason.INSPECTION
    for _ in range(3):
        assert talk.server(REFUSAL, at=at, ack=read) == REFUSAL
    assert talk.client(b"", flags=ACK) == b""
    assert talk.server(REFUSAL, at=at, ack=read) is DropReason.CLOSED_CONNECTION
    assert talk.server(b"421 bye\r\n", ack=read) is DropReason.CLOSED_CONNECTION


def test_reply_in_two_packets_with_the_client_in_between_passes_whole() -> None:
    talk = in_message()
    read = talk.next["client"]
    assert talk.server(REFUSAL[:9]) == REFUSAL[:9]
    assert talk.client(b"more\r\n") is DropReason.INSPECTION
    assert talk.server(REFUSAL[9:], ack=read) == REFUSAL[9:]


def test_client_that_only_ends_the_connection_does() -> None:
    talk = in_message()
    talk.server(REFUSAL)
    assert talk.server(flags=FIN | ACK) == b""
    assert talk.client(flags=FIN | ACK) == b""
    assert talk.server(flags=ACK) == b""
    (end,) = talk.emitted(ConnectionTornDown)
    assert end.reason is TeardownReason.TCP_FINS


def test_message_bytes_beyond_a_gap_do_not_pass_when_the_gap_fills() -> None:
    talk = in_message()
    at = talk.next["client"]
    assert talk.client(b"later\r\n", at=at + 9) is None
    talk.server(REFUSAL)
    assert talk.client(b"earlier\r\n", at=at) is DropReason.INSPECTION
    assert list(talk.late.values()) == [DropReason.CLOSED_CONNECTION]


def test_refusal_behind_an_ignored_empty_line_lets_a_held_command_pass_when_it_is_repeated() -> (
    None
):
    talk = Talk().open()
    talk.server(b"220 2\r\n")
    talk.client(b"HELO c\r\n")
    talk.server(b"250 s\r\n")
    talk.client(b"\r\n")
    talk.client(b"MAIL FROM:<a@b>\r\n")
    at = talk.next["client"]
    assert talk.client(b"QUIT\r\n") is None  # it did not wait
    assert talk.server(b"451 later\r\n", ack=at) == b"451 later\r\n"
    assert talk.client(b"QUIT\r\n", at=at) == b"QUIT\r\n"
    assert talk.engine.held == 0
