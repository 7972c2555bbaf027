"""Monitor mode: whatever is found, each packet passes at once and unchanged."""

from __future__ import annotations

import pytest

from nfinspect.actions import Accept, Action, Drop, DropReason, Emit, Replace, Would
from nfinspect.arrival import Arrival
from nfinspect.cli.configuration import default_configuration
from nfinspect.engine import EngineOptions
from nfinspect.events import (
    BannerMasked,
    ClauseMatched,
    CloseCause,
    InspectionClosed,
    TableFull,
    Uninspected,
    UninspectedCause,
    WouldClose,
)
from nfinspect.monitor import WATCHED, Monitor
from nfinspect.tcp.limits import Limits
from tests.model.talk import ACK, LATE, SYN, Talk


class Watched(Monitor):
    """Checks the verdicts of every call, and notes what would have been decided."""

    def __init__(self, limits: Limits | None = None) -> None:
        options = EngineOptions(WATCHED, limits=limits or Limits())
        super().__init__(default_configuration().policy, options, started=0.0)
        self.would: list[Replace | Drop] = []

    def arrive(self, arrival: Arrival) -> list[Action]:
        actions = super().arrive(arrival)
        assert actions[0] == Accept(arrival.token)
        assert all(isinstance(action, Emit | Would) for action in actions[1:])
        self.would += [action.decision for action in actions if isinstance(action, Would)]
        return [action for action in actions if not isinstance(action, Would)]

    @property
    def reasons(self) -> list[DropReason]:
        return [each.reason for each in self.would if isinstance(each, Drop)]


def begin(limits: Limits | None = None) -> tuple[Talk, Watched]:
    engine = Watched(limits)
    talk = Talk(engine=engine)
    talk.open()
    return talk, engine


def test_greeting_passes_unmasked_and_is_counted() -> None:
    talk, engine = begin()
    assert talk.server(b"220 mx.example.org ESMTP Postfix\r\n") == (
        b"220 mx.example.org ESMTP Postfix\r\n"
    )
    assert len(talk.emitted(BannerMasked)) == 1
    assert [type(each) for each in engine.would] == [Replace]


def greeted(limits: Limits | None = None) -> tuple[Talk, Watched]:
    talk, engine = begin(limits)
    talk.server(b"220 mx.example.org\r\n")
    talk.client(b"EHLO me\r\n")
    talk.server(b"250-mx.example.org\r\n250-STARTTLS\r\n250 PIPELINING\r\n")
    return talk, engine


def test_connection_that_would_be_closed_goes_on_uninspected() -> None:
    talk, engine = greeted()
    line = b"MAIL FROM:<a|b@example.org>\r\n"
    assert talk.client(line) == line
    closed = talk.emitted(WouldClose)
    assert [event.cause for event in closed] == [CloseCause.PIPE]
    assert [event.cause for event in talk.emitted(Uninspected)] == [UninspectedCause.WOULD_CLOSE]
    assert not talk.emitted(InspectionClosed)
    assert engine.reasons == [DropReason.INSPECTION]
    assert next(iter(engine.totals.values())).drop == 1
    assert talk.server(b"250 ok\r\n") == b"250 ok\r\n"
    assert talk.client(line) == line
    assert len(talk.emitted(WouldClose)) == 1
    talk.close()
    assert engine.connections == 0


def test_tls_that_would_have_been_prevented_is_uninspected() -> None:
    talk, _ = greeted()
    assert talk.client(b"STARTTLS\r\n") == b"STARTTLS\r\n"
    talk.server(b"220 go\r\n")
    hello = b"\x16\x03\x01\0\5hello"
    assert talk.client(hello) == hello
    assert talk.emitted(Uninspected)


def test_client_that_does_not_wait_is_inspected_when_the_reply_comes() -> None:
    talk, _ = greeted()
    talk.client(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
    early = b"X: " + b"y" * 1200 + b"\r\n\r\n.\r\n"
    assert talk.client(early, ack=talk.next["server"]) == early
    talk.server(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert [event.criterion for event in talk.emitted(ClauseMatched)][-1:] == [
        "header line length gt 998"
    ]


def test_segments_beyond_a_gap_pass_and_are_inspected_later() -> None:
    talk, engine = greeted()
    begin_at = talk.next["client"]
    assert talk.client(b"a|b@example.org>\r\n", at=begin_at + 11) == b"a|b@example.org>\r\n"
    assert engine.held == 1
    assert talk.client(b"MAIL FROM:<", at=begin_at) == b"MAIL FROM:<"
    assert engine.held == 0
    assert len(talk.emitted(WouldClose)) == 1


def test_beyond_the_bound_bytes_are_unseen() -> None:
    talk, engine = greeted(Limits(held_packets=1))
    begin_at = talk.next["client"]
    talk.client(b"bb", at=begin_at + 2)
    talk.client(b"cc", at=begin_at + 4)
    assert engine.reasons == [DropReason.HOLD_BOUND]
    talk.next["client"] = begin_at + 6
    talk.server(b"", flags=ACK)
    assert [event.cause for event in talk.emitted(Uninspected)] == [UninspectedCause.UNSEEN_DATA]
    assert engine.held == 0


def test_wrong_checksum_passes_and_would_be_dropped() -> None:
    talk, engine = greeted()
    assert talk.client(b"NOOP\r\n", bad_checksum=True) == b"NOOP\r\n"
    assert engine.reasons == [DropReason.BAD_CHECKSUM]


def test_malformed_packet_and_one_of_no_connection_pass() -> None:
    engine = Watched()
    assert engine.arrive(Arrival(1, b"\x45", LATE)) == [Accept(1)]
    talk = Talk(engine=engine)
    assert talk.client(b"NOOP\r\n", flags=ACK) == b"NOOP\r\n"
    assert engine.reasons == [DropReason.MALFORMED, DropReason.NO_CONNECTION] or (
        engine.reasons == [DropReason.TRUNCATED, DropReason.NO_CONNECTION]
    )


@pytest.mark.parametrize("payload", [b"", b"NOOP\r\n"])
def test_full_table_passes(payload: bytes) -> None:
    engine = Watched(Limits(connections=0))
    talk = Talk(engine=engine)
    assert talk.client(flags=SYN, at=-1) == b""
    assert engine.reasons == [DropReason.TABLE_FULL]
    assert len(talk.emitted(TableFull)) == 1
    assert talk.client(payload, flags=ACK) == payload


def test_flush_gives_no_verdict() -> None:
    talk, engine = greeted()
    talk.client(b"late", at=talk.next["client"] + 5)
    assert all(isinstance(action, Emit) for action in engine.flush(talk.now))
    assert engine.held == 0
