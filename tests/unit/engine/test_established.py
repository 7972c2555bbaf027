"""Order, memory, holding, the shut request direction and closing, with an inspector that swaps case.

``!`` shuts the request direction until the server sends ``+``; ``#`` closes the connection.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nfinspect.actions import DropReason
from nfinspect.engine import EngineOptions
from nfinspect.events import (
    CloseCause,
    ConflictingBytes,
    ConnectionTornDown,
    InspectionClosed,
    TeardownReason,
    Uninspected,
    UninspectedCause,
    UnseenData,
)
from nfinspect.flow import opening
from nfinspect.tcp.limits import Ledger, Limits
from tests.model.inspector import SwapCase
from tests.model.talk import ACK, FIN, PSH, RST, START, SYN, Talk
from tests.model.wire import URG, read

pytestmark = pytest.mark.pure


@pytest.fixture(autouse=True)
def swap_case(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(opening, "Inspector", SwapCase)
    yield
    SwapCase.instances.clear()


def test_retransmission_of_a_rewritten_segment_is_rewritten_identically() -> None:
    talk = Talk().open()
    assert talk.client(b"hello") == b"HELLO"
    assert talk.client(b"hello", at=0) == b"HELLO"
    assert talk.client(b"ell", at=1) == b"ELL"
    assert talk.client(b"lo wor", at=3) == b"LO WOR"
    assert not talk.emitted(ConflictingBytes)


def test_retransmission_with_different_bytes_is_answered_from_memory() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    assert talk.client(b"evil!", at=0) == b"HELLO"
    assert len(talk.emitted(ConflictingBytes)) == 1
    assert talk.client(b"xxxxx there", at=0) == b"HELLO THERE"


def test_acknowledged_bytes_are_forgotten_and_retransmitted_as_x() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    assert talk.server(b"", ack=5) == b""
    assert talk.client(b"evil!", at=0) == b"XXXXX"


def test_keep_alive_and_window_probe_pass() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    talk.server(ack=5)
    assert talk.client(b"", at=4, flags=ACK) == b""
    assert talk.client(b"\0", at=4, flags=ACK) == b"X"


def test_segment_beyond_a_gap_is_held_until_the_gap_fills() -> None:
    talk = Talk().open()
    assert talk.client(b"world", at=5) is None
    assert talk.engine.held == 1
    assert talk.client(b"again", at=12) is None
    assert talk.client(b"world", at=5) is DropReason.REPEATED_HELD
    assert talk.client(b"hello", at=0) == b"HELLO"
    assert list(talk.late.values()) == [b"WORLD"]
    assert talk.client(b"--", at=10) == b"--"
    assert list(talk.late.values()) == [b"WORLD", b"AGAIN"]
    assert talk.engine.held == 0


def test_overlapping_held_segments_pass_with_the_bytes_decided_first() -> None:
    talk = Talk().open()
    assert talk.client(b"cccc", at=2) is None
    assert talk.client(b"dddd", at=4) is None
    assert talk.client(b"aaaa", at=0) == b"AAAA"
    assert list(talk.late.values()) == [b"AACC", b"CCDD"]


def test_packet_beyond_the_holding_bound_of_its_connection_is_dropped() -> None:
    talk = Talk(options=EngineOptions(limits=Limits(held_packets=3))).open()
    for at in (10, 20, 30):
        assert talk.client(b"x", at=at) is None
    assert talk.client(b"x", at=40) is DropReason.HOLD_BOUND
    assert len(talk.engine.flush(talk.now)) == 3
    assert talk.engine.held == 0


def test_direction_that_holds_most_gives_up_its_farthest_packet_at_the_total_bound() -> None:
    options = EngineOptions(limits=Limits(held_packets_total=3))
    greedy = Talk(options=options).open()
    for at in (30, 10, 20):
        assert greedy.client(b"x" * 9, at=at) is None
    modest = Talk(engine=greedy.engine, client=(b"\xc0\0\2\2", 2)).open()
    modest._sent = greedy._sent
    modest.tokens = 1000
    assert modest.client(b"x", at=5) is None
    assert list(modest.late.items()) == [(4, DropReason.HOLD_BOUND)]  # the packet at 30, sent first
    assert greedy.engine.held == 3


def test_fin_beyond_a_gap_is_held_with_its_data() -> None:
    talk = Talk().open()
    assert talk.client(b"b", at=1, flags=ACK | FIN) is None
    assert talk.server(flags=ACK, ack=0) == b""
    assert talk.client(b"a", at=0) == b"A"
    assert list(talk.late.values()) == [b"B"]
    assert talk.client(b"more", at=3) is DropReason.PAST_FIN
    assert talk.client(b"more", at=9) is DropReason.PAST_FIN
    assert talk.client(b"b", at=1, flags=ACK | FIN) == b"B"


def test_fin_in_the_middle_of_passed_data_is_dropped() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    assert talk.client(b"he", at=0, flags=ACK | FIN) is DropReason.PAST_FIN


def test_segment_beyond_the_window_is_dropped() -> None:
    talk = Talk().open()
    assert talk.server(flags=ACK, window=10) == b""
    assert talk.client(b"x", at=60001) is DropReason.OUT_OF_WINDOW
    assert talk.client(b"x", at=59999) is None


def test_shut_direction_cuts_its_packet_and_holds_what_follows() -> None:
    talk = Talk().open()
    assert talk.client(b"data!more", at=0) == b"DATA!"
    assert talk.last.flags == ACK  # PSH is removed with the rest
    assert talk.client(b"more", at=5) is None
    assert talk.client(b"more", at=5) is DropReason.REPEATED_HELD
    assert talk.server(b"+ok", ack=5) == b"+OK"
    assert list(talk.late.values()) == [b"MORE"]


def test_fin_is_removed_with_what_is_cut_off() -> None:
    talk = Talk().open()
    assert talk.client(b"data!more", at=0, flags=ACK | FIN) == b"DATA!"
    assert not talk.last.flags & FIN
    assert talk.server(b"+ok", ack=5) == b"+OK"
    assert talk.client(b"more", at=5, flags=ACK | FIN) == b"MORE"
    assert talk.last.flags & FIN


def test_held_packet_that_first_acknowledges_something_passes_as_a_bare_ack() -> None:
    talk = Talk().open()
    talk.client(b"data!")
    talk.server(b"wait", ack=5)
    assert talk.client(b"more", at=5, ack=4) == b""
    assert talk.last.acknowledgment == (START + 1 + 4) & 0xFFFFFFFF
    assert talk.client(b"more", at=5, ack=4) is None


def test_gso_packet_that_must_be_cut_is_sent_in_pieces() -> None:
    talk = Talk()
    talk.client(flags=SYN, at=-1, options=b"\2\4\0\x65")
    talk.server(flags=SYN | ACK, at=-1, ack=0, options=b"\2\4\0\x64")
    talk.client(flags=ACK)
    data = b"data words" * 25 + b"!"
    assert talk.client(data + b"more", at=0, gso=True) is DropReason.GSO_CUT
    pieces = [read(datagram) for datagram in talk.injected]
    assert [len(piece.payload) for piece in pieces] == [100, 100, 51]
    assert b"".join(piece.payload for piece in pieces) == data.upper()
    assert [piece.sequence for piece in pieces] == [(START + 1 + n) % 2**32 for n in (0, 100, 200)]
    assert all(piece.flags == ACK for piece in pieces)
    assert talk.client(data, at=0) == data.upper()
    assert talk.server(b"+ok", ack=251) == b"+OK"
    assert talk.client(b"more", at=251, gso=True) == b"MORE"


def test_acknowledgement_of_bytes_that_never_passed_closes_the_connection_when_live() -> None:
    talk = Talk().open()
    talk.client(b"hello")
    assert talk.server(b"ok", ack=9) is DropReason.INSPECTION
    assert [event.count for event in talk.emitted(UnseenData)] == [4]
    assert [event.cause for event in talk.emitted(InspectionClosed)] == [CloseCause.UNSEEN_DATA]


def test_acknowledgement_beyond_the_window_is_dropped() -> None:
    talk = Talk().open()
    assert talk.server(b"ok", ack=70000) is DropReason.INVALID_ACK
    assert talk.server(b"ok", at=0, ack=0) == b"OK"
    assert not talk.emitted(UnseenData)


def test_recorded_connection_continues_uninspected_after_unseen_data() -> None:
    talk = Talk(options=EngineOptions(recorded=True)).open()
    assert talk.client(b"hello") == b"HELLO"
    assert talk.client(b"later", at=9) is None
    assert talk.server(b"ok", ack=14) == b"ok"
    assert list(talk.late.values()) == [b"later"]
    assert [event.cause for event in talk.emitted(Uninspected)] == [UninspectedCause.UNSEEN_DATA]
    assert talk.client(b"hello there", at=0) == b"hello there"
    assert talk.server(b"more") == b"more"


def test_recorded_connection_without_its_syn_ack_is_inspected() -> None:
    talk = Talk(options=EngineOptions(recorded=True))
    talk.client(flags=SYN, at=-1)
    assert talk.client(flags=ACK) == b""
    assert talk.server(b"hi") == b"HI"
    assert talk.client(b"hello") == b"HELLO"


def test_violation_drops_the_whole_packet_and_the_connection_stays_closed_for_an_hour() -> None:
    talk = Talk(now=0.0).open()
    assert talk.client(b"first") == b"FIRST"
    assert talk.client(b"behind a gap", at=50) is None
    assert talk.client(b"lawful#evil", at=5) is DropReason.INSPECTION
    assert list(talk.late.values()) == [DropReason.CLOSED_CONNECTION]
    assert [event.reason for event in talk.emitted(ConnectionTornDown)] == [
        TeardownReason.CLOSED_BY_INSPECTION
    ]
    emitted = len(talk.events)
    for _ in range(36):  # a retransmission every 100 s, for an hour
        talk.wait(100)
        assert talk.client(b"lawful#evil", at=5) is DropReason.CLOSED_CONNECTION
        assert talk.client(b"harmless", at=5) is DropReason.CLOSED_CONNECTION
    assert talk.client(flags=FIN | ACK) is DropReason.CLOSED_CONNECTION
    assert talk.server(b"421 bye") is DropReason.CLOSED_CONNECTION
    assert talk.server(flags=FIN | ACK) is DropReason.CLOSED_CONNECTION
    talk.wait(599)
    assert talk.client(flags=SYN, at=1000) is DropReason.CLOSED_CONNECTION
    talk.wait(2)
    assert talk.client(b"lawful", at=5) is DropReason.NO_CONNECTION
    assert len(talk.events) == emitted + 1
    assert talk.client(flags=SYN, at=1000) == b""


def test_data_after_the_servers_fin_does_not_pass_on_a_closed_connection() -> None:
    talk = Talk().open()
    assert talk.server(b"hi", flags=ACK | FIN) == b"HI"
    assert talk.client(b"#", ack=0) is DropReason.INSPECTION
    assert talk.server(b"hi", at=0, ack=0) == b"HI"
    assert talk.server(b"x", at=2, ack=0) is DropReason.CLOSED_CONNECTION


def test_owed_reply_passes_on_a_closed_connection_only_within_the_window() -> None:
    talk = Talk().open()
    talk.client(b"?")
    assert talk.client(b"#") is DropReason.INSPECTION
    for _ in range(61):
        assert talk.server(b"x" * 1000, ack=1) == b"X" * 1000
    assert talk.server(b"+", at=61_000, ack=1) is DropReason.OUT_OF_WINDOW
    assert talk.client(flags=ACK, at=1) == b""
    assert talk.engine.ledger == Ledger()
    assert talk.server(b"+", at=61_000, ack=1) == b"+"


def test_owed_reply_passes_on_a_closed_connection_only_within_the_memory_bound() -> None:
    talk = Talk(options=EngineOptions(limits=Limits(memory_bytes=100))).open()
    talk.client(b"?")
    assert talk.client(b"#") is DropReason.INSPECTION
    assert talk.server(b"x" * 100, ack=1) == b"X" * 100
    assert talk.server(b"+", at=100, ack=1) is DropReason.MEMORY_BOUND
    assert talk.client(flags=ACK, at=1, ack=100) == b""
    assert talk.server(b"+", at=100, ack=1) == b"+"


def test_closed_connection_on_which_only_the_client_sends_is_forgotten_after_two_hours() -> None:
    talk = Talk().open()
    talk.client(b"?")
    assert talk.server(b"wait") == b"WAIT"
    assert talk.client(b"#", ack=0) is DropReason.INSPECTION
    assert talk.engine.ledger.memory_bytes == 4
    for _ in range(10):
        talk.wait(590)
        assert talk.client(b"evil", at=1) is DropReason.CLOSED_CONNECTION
    assert talk.engine.ledger == Ledger()
    assert talk.engine.connections == 0
    assert talk.client(flags=SYN, at=1000) is DropReason.CLOSED_CONNECTION
    for _ in range(4):
        talk.wait(590)
        talk.client(b"evil", at=1)
    assert talk.client(flags=SYN, at=1000) == b""


def test_replies_to_commands_that_had_passed_still_pass_after_a_close() -> None:
    talk = Talk().open()
    assert talk.client(b"mail?") == b"MAIL?"
    talk.server(b"wai", ack=5)
    talk.client(ack=3, flags=ACK)
    assert talk.client(b"more?#") is DropReason.INSPECTION
    assert talk.server(b"t +done 421 bye", at=3, ack=5) == b"T +"
    assert talk.server(b"t +done 421 bye", at=3, ack=5) == b"T +"
    assert talk.client(b"more") is DropReason.CLOSED_CONNECTION
    assert talk.client(flags=ACK, ack=6) == b""
    assert talk.engine.connections == 0
    assert talk.server(b"done 421 bye", at=6) is DropReason.CLOSED_CONNECTION
    assert talk.server(flags=FIN | ACK) is DropReason.CLOSED_CONNECTION
    assert talk.client(flags=ACK) is DropReason.CLOSED_CONNECTION
    assert talk.engine.ledger.memory_bytes == 0


def test_acknowledgement_dropped_with_the_violation_reaches_the_server_later() -> None:
    talk = Talk().open()
    talk.client(b"mail?")
    assert talk.server(b"done+", ack=5) == b"DONE+"
    assert talk.client(b"#", ack=5) is DropReason.INSPECTION
    assert talk.server(b"done+", at=0, ack=5) == b"XXXXX"  # the client has it and ignores it
    assert talk.client(b"#", at=5, ack=5) is DropReason.CLOSED_CONNECTION
    assert talk.client(flags=ACK, ack=5) == b""
    assert talk.engine.connections == 0
    assert talk.server(b"done+", at=0, ack=5) is DropReason.CLOSED_CONNECTION


def test_nothing_passes_after_an_idle_hour() -> None:
    talk = Talk(now=0.0).open()
    talk.client(b"hello")
    talk.wait(3601)
    assert talk.client(b"hello", at=0) is DropReason.NO_CONNECTION
    assert talk.client(b"evil", at=5) is DropReason.NO_CONNECTION


def test_memory_bound_slows_the_sender_down_without_forgetting_anything() -> None:
    talk = Talk(options=EngineOptions(limits=Limits(memory_bytes=10))).open()
    assert talk.client(b"hello") == b"HELLO"
    assert talk.client(b"again!", at=5) is DropReason.MEMORY_BOUND
    assert talk.client(b"hello again", at=0) == b"HELLO"
    assert talk.server(ack=5) == b""
    assert talk.client(b"again", at=5) == b"AGAIN"


def test_urgent_flag_is_cleared_unknown_options_become_nop_and_the_ttl_is_lowered() -> None:
    talk = Talk().open()
    md5 = bytes((19, 18)) + b"m" * 16
    assert talk.client(b"a", flags=ACK | PSH | URG, options=md5, hop_limit=60) == b"A"
    assert talk.last.flags == ACK | PSH
    assert talk.last.options == b"\1" * 20
    assert talk.client(b"b", hop_limit=64) == b"B"
    assert talk.last.hop_limit == 60
    assert talk.server(b"c", hop_limit=64) == b"C"
    assert talk.last.hop_limit == 64


def test_payload_of_a_reset_is_cut_off() -> None:
    talk = Talk().open()
    assert talk.client(b"text", flags=RST | ACK) == b""
