"""Bytes that an inspection keeps of an unfinished header field are in the ledger, and leave it with
the field, the inspection or the connection."""

from __future__ import annotations

from typing import Any

import pytest

from nfinspect.actions import DropReason
from nfinspect.engine import EngineOptions
from nfinspect.events import InspectionClosed, Uninspected
from nfinspect.flow.permissions import Permissions
from nfinspect.policy.model import UnseenDataAction
from nfinspect.tcp.limits import Limits
from tests.model.talk import ACK, FIN, RST, Talk

FIELD = b"Content-Type: a/b;\r\n c=" + b"d" * 100
"""Kept until the first byte of the next line."""


class Mail(Talk):
    """A client that has sent DATA and ``header``."""

    def __init__(self, header: bytes = FIELD, **options: Any) -> None:
        super().__init__(**options)
        self.open()
        self.server(b"220 x\r\n")
        for says, answer in (
            (b"EHLO x\r\n", b"250 x\r\n"),
            (b"MAIL FROM:<a@b>\r\n", b"250 x\r\n"),
            (b"RCPT TO:<a@b>\r\n", b"250 x\r\n"),
            (b"DATA\r\n", b"354 x\r\n"),
        ):
            assert self.client(says) == says
            self.server(answer)
        if header:
            self.client(header)

    @property
    def kept(self) -> int:
        return self.engine.ledger.kept_bytes


def test_unfinished_field_is_in_the_ledger_until_it_ends() -> None:
    talk = Mail()
    assert talk.kept == len(FIELD)
    talk.client(b"\r\n")
    assert talk.kept == len(FIELD) + 2
    talk.client(b"X: y\r\n")
    assert talk.kept == 0


def test_field_at_the_end_of_a_mail_leaves_nothing() -> None:
    talk = Mail()
    talk.client(b"\r\n.\r\n")
    assert talk.kept == 0


def test_field_whose_server_has_answered_early_stays_until_the_connection_ends() -> None:
    talk = Mail()
    talk.server(b"552 too large\r\n")
    assert talk.kept == len(FIELD)
    talk.client(b"x")
    assert talk.emitted(InspectionClosed)
    assert talk.kept == 0


def test_closing_by_a_clause_frees_it() -> None:
    talk = Mail()
    assert talk.client(b"y" * 1000) is DropReason.INSPECTION
    assert talk.kept == 0


def test_closing_by_a_reply_frees_it() -> None:
    talk = Mail()
    talk.server(b"354 again\r\n")
    assert talk.emitted(InspectionClosed)
    assert talk.kept == 0


def test_end_of_inspection_within_a_message_frees_it() -> None:
    talk = Mail(options=EngineOptions(Permissions(unseen_data=UnseenDataAction.UNINSPECTED)))
    assert talk.kept == len(FIELD)
    talk.client(ack=talk.next["server"] + 9)
    assert talk.emitted(Uninspected)
    assert talk.kept == 0


@pytest.mark.parametrize("flags", [RST | ACK, FIN | ACK])
def test_end_of_the_connection_frees_it(flags: int) -> None:
    talk = Mail()
    talk.client(flags=flags)
    if flags & FIN:
        assert talk.kept == len(FIELD)
        talk.server(flags=FIN | ACK)
        talk.client(flags=ACK)
    assert not talk.engine.connections
    assert talk.kept == 0


def test_connection_that_times_out_frees_it() -> None:
    talk = Mail()
    talk.wait(4000)
    assert not talk.engine.connections
    assert talk.kept == 0


def test_stream_of_which_bytes_are_kept_goes_on_at_the_bound() -> None:
    """Or the field would never end, and its bytes never be free."""
    talk = Mail(options=EngineOptions(limits=Limits(memory_bytes=2000)))
    part = b"e" * 400
    for _ in range(8):
        assert talk.client(b"\r\n " + part) == b"\r\n " + part
        talk.server()
    assert talk.kept > 2000
    assert talk.client(b"\r\nA: b\r\n") == b"\r\nA: b\r\n"
    assert talk.kept < 2000


LONG = b"\r\n " + b"e" * 900
SCARCE = EngineOptions(limits=Limits(kept_bytes_total=len(FIELD) + 3000))


def test_field_of_any_length_is_kept_while_there_is_room() -> None:
    talk = Mail()
    for _ in range(20):
        assert talk.client(LONG) == LONG
    assert talk.kept == len(FIELD) + 20 * len(LONG)


def test_field_beyond_two_kibibytes_is_taken_for_too_long_while_too_much_is_kept() -> None:
    hog = Mail(options=SCARCE)
    for _ in range(4):
        hog.client(LONG)
    kept = hog.kept
    assert kept > 3000
    other = Mail(engine=hog.engine, client=(b"\xc0\0\2\7", 7))
    assert other.client(LONG) == LONG  # a kibibyte is room enough
    other.client(b"\r\nX: y\r\n")
    assert hog.kept == kept
    assert hog.client(LONG) is DropReason.INSPECTION  # as a file name of 64 KiB
    assert hog.kept == 0


def test_large_packet_does_not_go_around_the_bound() -> None:
    hog = Mail(options=SCARCE)
    for _ in range(4):
        hog.client(LONG)
    other = Mail(b"", engine=hog.engine, client=(b"\xc0\0\2\7", 7))
    assert other.client(FIELD + LONG * 3) is DropReason.INSPECTION


def test_field_that_has_just_ended_is_known_all_the_same() -> None:
    hog = Mail(options=SCARCE)
    hog.client(LONG * 4 + b"\r\n")
    assert hog.kept > 3000
    assert hog.client(b"X: y\r\n") == b"X: y\r\n"
    assert hog.kept == 0
