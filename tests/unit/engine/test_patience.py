"""Long silences, slow receivers, narrow paths, ends that are gone: nothing stalls unheard or leaks."""

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


@pytest.fixture(autouse=True)
def swap_case(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(opening, "Inspector", SwapCase)
    yield
    SwapCase.instances.clear()


def reasons(talk: Talk) -> list[TeardownReason]:
    return [event.reason for event in talk.told(ConnectionTornDown)]


def backed_off(until: float) -> Iterator[float]:
    """The pauses between retransmissions of a sender that doubles them (RFC 6298 section 5.5), up
    to two minutes."""
    pause, total = 1.0, 0.0
    while total < until:
        yield pause
        total += pause
        pause = min(2 * pause, 120.0)


# ---- keep-alives, probes, windows --------------------------------------------------------------


def test_keep_alives_keep_a_silent_connection_for_a_day_and_its_memory_empty() -> None:
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


def test_keep_alives_of_the_server_that_the_client_answers_keep_the_connection_too() -> None:
    talk = Talk().open()
    for _ in range(24):
        talk.wait(3500)
        assert talk.server(flags=ACK, at=-1) == b""
        assert talk.client(flags=ACK) == b""
    assert reasons(talk) == []


def test_closed_window_is_probed_for_an_hour_and_then_all_goes_on() -> None:
    """Probes are the last acknowledged byte again (BSD), nothing before it (Linux), or the next
    byte (RFC 9293 section 3.8.6.1)."""
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
    """What was allowed is passed; the receiver may throw it away and gets it again."""
    talk = Talk().open()
    talk.server(flags=ACK, ack=0, window=1000)
    talk.client(b"a" * 500)
    talk.server(flags=ACK, ack=0, window=100)
    assert talk.client(b"b" * 400) == b"B" * 400
    talk.server(flags=ACK, ack=100, window=100)
    assert talk.client(b"x" * 100, at=100) == b"A" * 100
    assert talk.client(b"x" * 100, at=500) == b"B" * 100


# ---- retransmissions ---------------------------------------------------------------------------


def test_fifteen_minutes_of_retransmissions_are_all_answered_alike() -> None:
    talk = Talk().open()
    assert talk.client(b"hello") == b"HELLO"
    for pause in backed_off(900):
        talk.wait(pause)
        assert talk.client(b"hello", at=0) == b"HELLO"
    talk.server(flags=ACK, ack=5)
    assert talk.client(b"there") == b"THERE"
    assert reasons(talk) == []


def test_sender_that_gives_up_is_forgotten_an_hour_later() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    for pause in backed_off(900):
        talk.wait(pause)
        talk.client(b"hello", at=0)
    talk.wait(3601)
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]
    assert (talk.engine.connections, talk.engine.ledger) == (0, Ledger())


def test_reply_that_takes_nine_minutes_releases_what_has_waited_for_it() -> None:
    talk = Talk().open()
    assert talk.client(b"data!") == b"DATA!"
    talk.server(flags=ACK)
    assert talk.client(b"body") is None
    for pause in backed_off(540):
        talk.wait(pause)
        assert talk.client(b"body", at=5) is DropReason.REPEATED_HELD
    assert talk.server(b"+go on", ack=5) == b"+GO ON"
    assert list(talk.late.values()) == [b"BODY"]


def test_gap_that_never_fills_costs_its_place_for_an_hour_at_most() -> None:
    talk = Talk().open()
    assert talk.client(b"later", at=50) is None
    talk.wait(3601)
    assert list(talk.late.values()) == [DropReason.CLOSED_CONNECTION]
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]
    assert talk.engine.ledger == Ledger()


def test_full_memory_holds_nobody_up_for_longer_than_the_receiver_does() -> None:
    talk = Talk(options=EngineOptions(limits=Limits(memory_bytes=10))).open()
    assert talk.client(b"a" * 10) == b"A" * 10
    for pause in backed_off(300):
        talk.wait(pause)
        assert talk.client(b"hello", at=10) is DropReason.MEMORY_BOUND
    talk.server(flags=ACK, ack=10)
    assert talk.client(b"hello", at=10) == b"HELLO"


# ---- the path ----------------------------------------------------------------------------------


def test_path_that_became_narrow_gets_the_same_bytes_in_smaller_segments() -> None:
    talk = Talk().open()
    data = bytes(range(97, 123)) * 80
    assert talk.client(data[:1400]) == data[:1400].upper()
    assert talk.client(data[1400:]) == data[1400:].upper()
    for size in (1000, 536, 211):  # a router's ICMP comes back each time
        at = 0
        while at < len(data):
            piece = data[at : at + size]
            assert talk.client(piece, at=at, flags=ACK) == piece.upper()
            at += size
    talk.server(flags=ACK, ack=len(data))
    assert talk.engine.ledger == Ledger()


# ---- half of a connection ----------------------------------------------------------------------


def test_client_that_is_gone_answers_the_servers_data_with_a_reset() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    assert talk.server(b"there") == b"THERE"
    assert talk.client(flags=RST, at=5) == b""
    assert reasons(talk) == [TeardownReason.TCP_RESET_OUTSIDE]
    assert talk.engine.ledger == Ledger()


def test_server_that_is_gone_answers_with_a_reset() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    assert talk.server(flags=RST) == b""
    assert reasons(talk) == [TeardownReason.TCP_RESET_INSIDE]
    assert talk.engine.ledger == Ledger()


def test_client_that_begins_anew_on_a_connection_that_the_filter_still_has_is_told() -> None:
    talk = Talk().open()
    for number in range(5):
        talk.wait(2**number)
        assert talk.client(flags=SYN, at=5_000) is DropReason.DUPLICATE_SYN
    assert len(talk.told(DuplicateSyn)) == 5
    talk.wait(3601)  # these SYNs have not renewed it
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]
    assert talk.client(flags=SYN, at=5_000) == b""


def test_half_closed_connection_carries_the_other_half_and_ends_ten_minutes_after_it() -> None:
    talk = Talk().open()
    talk.client(b"all", flags=FIN | ACK | PSH)
    for _ in range(30):
        talk.wait(300)
        assert talk.server(b"more") == b"MORE"
        assert talk.client(flags=ACK) == b""
    talk.wait(601)
    assert reasons(talk) == [TeardownReason.FIN_TIMEOUT]
    assert talk.engine.ledger == Ledger()


@pytest.mark.parametrize("speaker", ["client", "server"])
def test_side_that_alone_goes_on_sending_loses_the_connection_after_an_hour(speaker: str) -> None:
    """Else a client could keep connections here that its server has long forgotten."""
    talk = Talk().open()
    for _ in range(35):
        talk.wait(100)
        assert talk.send(speaker, flags=ACK, at=-1) == b""
        assert talk.send(speaker, b"hello", at=0) == b"HELLO"
    assert reasons(talk) == []
    talk.wait(101)
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]
    assert talk.send(speaker, flags=ACK) is DropReason.NO_CONNECTION
    assert (talk.engine.connections, talk.engine.ledger) == (0, Ledger())


@pytest.mark.parametrize("speaker", ["client", "server"])
def test_side_that_alone_goes_on_sending_half_closed_loses_it_after_ten_minutes(
    speaker: str,
) -> None:
    talk = Talk().open()
    talk.client(b"all", flags=FIN | ACK | PSH)
    talk.server(flags=ACK)
    for _ in range(11):
        talk.wait(50)
        assert talk.send(speaker, flags=ACK) == b""
    assert reasons(talk) == []
    talk.wait(51)
    assert reasons(talk) == [TeardownReason.FIN_TIMEOUT]
    assert talk.send(speaker, flags=ACK) is DropReason.NO_CONNECTION


# ---- one direction alone -----------------------------------------------------------------------


def test_connection_whose_replies_go_another_way_is_not_established_and_told() -> None:
    talk = Talk()
    assert talk.client(flags=SYN, at=-1) == b""
    assert talk.client(flags=ACK, at=0) is DropReason.NOT_ESTABLISHED
    for pause in backed_off(14):
        talk.wait(pause)
        assert talk.client(b"hello", at=0) is DropReason.NOT_ESTABLISHED
    talk.wait(16)
    assert reasons(talk) == [TeardownReason.SYN_TIMEOUT]
    assert talk.client(b"hello", at=0) is DropReason.NO_CONNECTION
    assert len(talk.told(DeniedNoConnection)) == 1


def test_connection_whose_requests_go_another_way_is_denied_and_told() -> None:
    talk = Talk()
    for flags in (SYN | ACK, ACK, ACK | PSH):
        assert talk.server(b"", flags=flags) is DropReason.NO_CONNECTION
    assert [event.flags for event in talk.told(DeniedNoConnection)] == [SYN | ACK, ACK, ACK | PSH]


def test_replies_that_take_another_way_from_some_time_on_close_the_connection() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    talk.server(b"there")
    assert talk.client(b"more", ack=25) is DropReason.INSPECTION  # 20 bytes went past the filter
    assert [event.count for event in talk.told(UnseenData)] == [20]
    assert [event.cause for event in talk.told(InspectionClosed)] == [CloseCause.UNSEEN_DATA]
    assert reasons(talk) == [TeardownReason.CLOSED_BY_INSPECTION]


def test_requests_that_take_another_way_from_some_time_on_close_the_connection() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    assert talk.server(b"there", ack=25) is DropReason.INSPECTION
    assert [event.count for event in talk.told(UnseenData)] == [20]


def test_sender_whose_acknowledgements_take_another_way_is_slowed_down_and_counted() -> None:
    """The server's ACKs are not seen: nothing may be forgotten, so at the bound nothing passes."""
    talk = Talk(options=EngineOptions(limits=Limits(memory_bytes=1000))).open()
    for _ in range(10):
        assert talk.client(b"a" * 100) == b"A" * 100
    for pause in backed_off(900):
        talk.wait(pause)
        assert talk.client(b"a" * 100, at=1000) is DropReason.MEMORY_BOUND
    talk.wait(3601)
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]
    assert talk.engine.ledger == Ledger()


def test_capture_with_one_direction_lasts_as_long_as_one_with_both() -> None:
    talk = Talk(options=EngineOptions(recorded=True))
    talk.client(flags=SYN, at=-1)
    talk.client(flags=ACK, at=0)
    for _ in range(5):
        talk.wait(3500)
        assert talk.client(b"hello") == b"HELLO"
    assert reasons(talk) == []
    talk.wait(3601)
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]


def test_capture_whose_server_has_fallen_silent_lasts_as_long_as_the_client_speaks() -> None:
    talk = Talk(options=EngineOptions(recorded=True)).open()
    for _ in range(5):
        talk.wait(3500)
        assert talk.client(b"hello") == b"HELLO"
    assert reasons(talk) == []


@pytest.mark.parametrize("speaker", ["client", "server"])
def test_connection_picked_up_of_which_one_side_is_heard_ends_soon_and_may_be_picked_up_again(
    speaker: str,
) -> None:
    """Else one forged packet each would fill the table for an hour."""
    talk = Talk(now=10.0)
    for _ in range(3):
        assert talk.send(speaker, b"anything") == b"anything"
        talk.wait(20)
        assert talk.send(speaker, b"anything") == b"anything"
        assert talk.engine.connections == 1
        talk.wait(11)
        assert talk.engine.connections == 0
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT] * 3
    assert [event.cause for event in talk.told(Uninspected)] == [UninspectedCause.MIDSTREAM] * 3


def test_connection_picked_up_of_which_both_sides_are_heard_stays_for_an_hour() -> None:
    talk = Talk(now=10.0)
    talk.client(b"anything")
    talk.wait(29)
    talk.server(b"anything")
    talk.wait(3560)
    assert talk.engine.connections == 1
    talk.wait(21)
    assert reasons(talk) == [TeardownReason.CONNECTION_TIMEOUT]
