"""Long silences, slow receivers, small MTUs, endpoints that are gone: nothing stalls or leaks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nfinspect.actions import DropReason
from nfinspect.engine import EngineOptions
from nfinspect.events import (
    CloseCause,
    ConnectionTornDown,
    DeniedNoConnection,
    DuplicateSyn,
    InspectionClosed,
    TeardownReason,
    Uninspected,
    UninspectedCause,
    UnseenData,
)
from nfinspect.flow import opening
from nfinspect.tcp.limits import Ledger, Limits
from tests.model.inspector import SwapCase
from tests.model.talk import ACK, FIN, PSH, RST, SYN, Talk

pytestmark = pytest.mark.pure


@pytest.fixture(autouse=True)
def swap_case(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(opening, "Inspector", SwapCase)
    yield
    SwapCase.instances.clear()


def reasons(talk: Talk) -> list[TeardownReason]:
    return [event.reason for event in talk.emitted(ConnectionTornDown)]


def backed_off(until: float) -> Iterator[float]:
    """The intervals between retransmissions of a sender that doubles them (RFC 6298 section 5.5) up
    to two minutes, for *until* seconds."""
    pause, total = 1.0, 0.0
    while total < until:
        yield pause
        total += pause
        pause = min(2 * pause, 120.0)


# ---- keep-alives, probes, windows --------------------------------------------------------------


def test_keep_alives_keep_a_silent_connection_open_for_a_day_without_using_memory() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    talk.server(b"there", ack=5)
    talk.client(flags=ACK)
    for _ in range(24 * 30):
        talk.wait(120)
        assert talk.client(flags=ACK, at=4) == b""
        assert talk.server(flags=ACK) == b""
    assert talk.client(b"still here") == b"STILL HERE"
    talk.server(flags=ACK)
    assert talk.engine.ledger == Ledger()
    talk.wait(3601)
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]
    assert talk.engine.deadline() is None


def test_servers_keep_alives_that_the_client_answers_keep_the_connection_open() -> None:
    talk = Talk().open()
    for _ in range(24):
        talk.wait(3500)
        assert talk.server(flags=ACK, at=-1) == b""
        assert talk.client(flags=ACK) == b""
    assert reasons(talk) == []


def test_transfer_continues_after_an_hour_of_zero_window_probes() -> None:
    """Probes repeat the last acknowledged byte (BSD), are empty at its number (Linux), or contain the
    next byte (RFC 9293 section 3.8.6.1)."""
    talk = Talk().open()
    talk.client(b"a" * 100)
    talk.server(flags=ACK, window=0)
    for pause in backed_off(3600):
        talk.wait(pause)
        assert talk.client(b"", at=99, flags=ACK) == b""
        assert talk.client(b"a", at=99, flags=ACK) == b"X"
        assert talk.client(b"b", at=100, flags=ACK) == b"B"
        assert talk.server(flags=ACK, ack=100, window=0) == b""
    talk.server(flags=ACK, ack=101, window=1000)
    assert talk.client(b"cd", at=101) == b"CD"
    assert talk.engine.ledger.memory_bytes == 2
    assert reasons(talk) == []


def test_window_that_shrinks_loses_nothing() -> None:
    """What the old window allowed passes; the receiver may discard it, and then gets it again."""
    talk = Talk().open()
    talk.server(flags=ACK, ack=0, window=1000)
    talk.client(b"a" * 500)
    talk.server(flags=ACK, ack=0, window=100)
    assert talk.client(b"b" * 400) == b"B" * 400
    talk.server(flags=ACK, ack=100, window=100)
    assert talk.client(b"x" * 100, at=100) == b"A" * 100
    assert talk.client(b"x" * 100, at=500) == b"B" * 100


# ---- retransmissions ---------------------------------------------------------------------------


def test_retransmissions_for_fifteen_minutes_all_pass_identically() -> None:
    talk = Talk().open()
    assert talk.client(b"hello") == b"HELLO"
    for pause in backed_off(900):
        talk.wait(pause)
        assert talk.client(b"hello", at=0) == b"HELLO"
    talk.server(flags=ACK, ack=5)
    assert talk.client(b"there") == b"THERE"
    assert reasons(talk) == []


def test_connection_of_a_sender_that_gives_up_is_forgotten_an_hour_later() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    for pause in backed_off(900):
        talk.wait(pause)
        talk.client(b"hello", at=0)
    talk.wait(3601)
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]
    assert (talk.engine.connections, talk.engine.ledger) == (0, Ledger())


def test_reply_after_nine_minutes_releases_what_was_held_for_it() -> None:
    talk = Talk().open()
    assert talk.client(b"data!") == b"DATA!"
    talk.server(flags=ACK)
    assert talk.client(b"body") is None
    for pause in backed_off(540):
        talk.wait(pause)
        assert talk.client(b"body", at=5) is DropReason.REPEATED_HELD
    assert talk.server(b"+go on", ack=5) == b"+GO ON"
    assert list(talk.late.values()) == [b"BODY"]


def test_segment_beyond_a_gap_that_never_fills_is_held_for_an_hour_at_most() -> None:
    talk = Talk().open()
    assert talk.client(b"later", at=50) is None
    talk.wait(3601)
    assert list(talk.late.values()) == [DropReason.CLOSED_CONNECTION]
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]
    assert talk.engine.ledger == Ledger()


def test_full_memory_stops_the_sender_only_until_the_receiver_acknowledges() -> None:
    talk = Talk(options=EngineOptions(limits=Limits(memory_bytes=10))).open()
    assert talk.client(b"a" * 10) == b"A" * 10
    for pause in backed_off(300):
        talk.wait(pause)
        assert talk.client(b"hello", at=10) is DropReason.MEMORY_BOUND
    talk.server(flags=ACK, ack=10)
    assert talk.client(b"hello", at=10) == b"HELLO"


# ---- the path ----------------------------------------------------------------------------------


def test_same_bytes_pass_in_smaller_segments_when_the_path_mtu_falls() -> None:
    talk = Talk().open()
    data = bytes(range(97, 123)) * 80
    assert talk.client(data[:1400]) == data[:1400].upper()
    assert talk.client(data[1400:]) == data[1400:].upper()
    for size in (1000, 536, 211):  # as if a router had sent an ICMP message each time
        at = 0
        while at < len(data):
            piece = data[at : at + size]
            assert talk.client(piece, at=at, flags=ACK) == piece.upper()
            at += size
    talk.server(flags=ACK, ack=len(data))
    assert talk.engine.ledger == Ledger()


# ---- half-open and half-closed -----------------------------------------------------------------


def test_reset_of_a_client_that_is_gone_ends_the_connection() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    assert talk.server(b"there") == b"THERE"
    assert talk.client(flags=RST, at=5) == b""
    assert reasons(talk) == [TeardownReason.TCP_RESET_OUTSIDE]
    assert talk.engine.ledger == Ledger()


def test_reset_of_a_server_that_is_gone_ends_the_connection() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    assert talk.server(flags=RST) == b""
    assert reasons(talk) == [TeardownReason.TCP_RESET_INSIDE]
    assert talk.engine.ledger == Ledger()


def test_syn_on_a_connection_that_the_filter_still_has_is_dropped_and_reported() -> None:
    talk = Talk().open()
    for number in range(5):
        talk.wait(2**number)
        assert talk.client(flags=SYN, at=5_000) is DropReason.DUPLICATE_SYN
    assert len(talk.emitted(DuplicateSyn)) == 5
    talk.wait(3601)  # the SYNs have not extended it
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]
    assert talk.client(flags=SYN, at=5_000) == b""


def test_half_closed_connection_carries_the_other_direction_and_ends_ten_minutes_after_it() -> None:
    talk = Talk().open()
    talk.client(b"all", flags=FIN | ACK | PSH)
    for _ in range(30):
        talk.wait(300)
        assert talk.server(b"more") == b"MORE"
        assert talk.client(flags=ACK) == b""
    talk.wait(601)
    assert reasons(talk) == [TeardownReason.FIN_TIMEOUT]
    assert talk.engine.ledger == Ledger()


@pytest.mark.parametrize("sender", ["client", "server"])
def test_connection_on_which_only_one_side_sends_ends_after_an_hour(sender: str) -> None:
    """Otherwise a client could keep connections here that its server has long forgotten."""
    talk = Talk().open()
    for _ in range(35):
        talk.wait(100)
        assert talk.send(sender, flags=ACK, at=-1) == b""
        assert talk.send(sender, b"hello", at=0) == b"HELLO"
    assert reasons(talk) == []
    talk.wait(101)
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]
    assert talk.send(sender, flags=ACK) is DropReason.NO_CONNECTION
    assert (talk.engine.connections, talk.engine.ledger) == (0, Ledger())


@pytest.mark.parametrize("sender", ["client", "server"])
def test_half_closed_connection_on_which_only_one_side_sends_ends_after_ten_minutes(
    sender: str,
) -> None:
    talk = Talk().open()
    talk.client(b"all", flags=FIN | ACK | PSH)
    talk.server(flags=ACK)
    for _ in range(11):
        talk.wait(50)
        assert talk.send(sender, flags=ACK) == b""
    assert reasons(talk) == []
    talk.wait(51)
    assert reasons(talk) == [TeardownReason.FIN_TIMEOUT]
    assert talk.send(sender, flags=ACK) is DropReason.NO_CONNECTION


# ---- only one direction ------------------------------------------------------------------------


def test_connection_whose_replies_take_another_path_is_not_established_and_reported() -> None:
    talk = Talk()
    assert talk.client(flags=SYN, at=-1) == b""
    assert talk.client(flags=ACK, at=0) is DropReason.NOT_ESTABLISHED
    for pause in backed_off(14):
        talk.wait(pause)
        assert talk.client(b"hello", at=0) is DropReason.NOT_ESTABLISHED
    talk.wait(16)
    assert reasons(talk) == [TeardownReason.SYN_TIMEOUT]
    assert talk.client(b"hello", at=0) is DropReason.NO_CONNECTION
    assert len(talk.emitted(DeniedNoConnection)) == 1


def test_connection_whose_requests_take_another_path_is_denied_and_reported() -> None:
    talk = Talk()
    for flags in (SYN | ACK, ACK, ACK | PSH):
        assert talk.server(b"", flags=flags) is DropReason.NO_CONNECTION
    assert [event.flags for event in talk.emitted(DeniedNoConnection)] == [
        SYN | ACK,
        ACK,
        ACK | PSH,
    ]


def test_connection_whose_replies_switch_to_another_path_is_closed() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    talk.server(b"there")
    assert talk.client(b"more", ack=25) is DropReason.INSPECTION  # 20 bytes bypassed the filter
    assert [event.count for event in talk.emitted(UnseenData)] == [20]
    assert [event.cause for event in talk.emitted(InspectionClosed)] == [CloseCause.UNSEEN_DATA]
    assert reasons(talk) == [TeardownReason.CLOSED_BY_INSPECTION]


def test_connection_whose_requests_switch_to_another_path_is_closed() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    assert talk.server(b"there", ack=25) is DropReason.INSPECTION
    assert [event.count for event in talk.emitted(UnseenData)] == [20]


def test_sender_whose_acknowledgements_take_another_path_is_stopped_at_the_memory_bound() -> None:
    """The server's ACKs are not seen, so nothing may be forgotten, and at the bound nothing passes."""
    talk = Talk(options=EngineOptions(limits=Limits(memory_bytes=1000))).open()
    for _ in range(10):
        assert talk.client(b"a" * 100) == b"A" * 100
    for pause in backed_off(900):
        talk.wait(pause)
        assert talk.client(b"a" * 100, at=1000) is DropReason.MEMORY_BOUND
    talk.wait(3601)
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]
    assert talk.engine.ledger == Ledger()


def test_connection_in_a_one_sided_capture_has_the_usual_timeout() -> None:
    talk = Talk(options=EngineOptions(recorded=True))
    talk.client(flags=SYN, at=-1)
    talk.client(flags=ACK, at=0)
    for _ in range(5):
        talk.wait(3500)
        assert talk.client(b"hello") == b"HELLO"
    assert reasons(talk) == []
    talk.wait(3601)
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]


def test_connection_in_a_capture_lasts_as_long_as_the_client_sends() -> None:
    talk = Talk(options=EngineOptions(recorded=True)).open()
    for _ in range(5):
        talk.wait(3500)
        assert talk.client(b"hello") == b"HELLO"
    assert reasons(talk) == []


@pytest.mark.parametrize("sender", ["client", "server"])
def test_picked_up_connection_with_only_one_side_ends_soon_and_may_be_picked_up_again(
    sender: str,
) -> None:
    """Otherwise forged packets, one per connection, could fill the table for an hour."""
    talk = Talk(now=10.0)
    for _ in range(3):
        assert talk.send(sender, b"anything") == b"anything"
        talk.wait(20)
        assert talk.send(sender, b"anything") == b"anything"
        assert talk.engine.connections == 1
        talk.wait(11)
        assert talk.engine.connections == 0
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT] * 3
    assert [event.cause for event in talk.emitted(Uninspected)] == [UninspectedCause.MIDSTREAM] * 3


def test_picked_up_connection_with_both_sides_stays_for_an_hour() -> None:
    talk = Talk(now=10.0)
    talk.client(b"anything")
    talk.wait(29)
    talk.server(b"anything")
    talk.wait(3560)
    assert talk.engine.connections == 1
    talk.wait(21)
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]
