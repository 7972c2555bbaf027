"""Gaps: what the sender is told, how the receiver is asked, in which order packets leave."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from nfinspect.actions import DropReason
from nfinspect.engine import EngineOptions
from nfinspect.events import UninspectedCause
from nfinspect.flow import opening
from nfinspect.tcp.gap import Gap as State
from nfinspect.tcp.limits import Limits
from tests.model.inspector import SwapCase
from tests.model.talk import ACK, FIN, RST, START, SYN, Talk
from tests.model.wire import Packet, read

MSS, SACK_PERMITTED = b"\2\4\5\xb4", b"\4\2"
SACK = 5


@pytest.fixture(autouse=True)
def swap_case(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(opening, "Inspector", SwapCase)
    yield
    SwapCase.instances.clear()


def offset(number: int) -> int:
    return (number - START - 1) % 2**32


def stamps(value: int, echo: int = 1) -> bytes:
    return b"\1\1\x08\x0a" + struct.pack("!LL", value, echo)


def sack(*blocks: tuple[int, int]) -> bytes:
    """What a receiver says, edges as offsets."""
    edges = b"".join(struct.pack("!L", START + 1 + n & 2**32 - 1) for pair in blocks for n in pair)
    return bytes((1, 1, SACK, 2 + len(edges))) + edges


def blocks_of(packet: Packet) -> list[tuple[int, int]]:
    options = packet.options
    if 8 in options[2:3]:
        options = options[12:]
    edges = [offset(edge) for edge in struct.unpack(f"!{len(options[4:]) // 4}L", options[4:])]
    return list(zip(edges[::2], edges[1::2], strict=True))


class Gap(Talk):
    """``told``: the filter's acknowledgements to the client since it was asked last, as
    (acknowledgment, SACK blocks); ``asked``: what it repeated to the server, as (offset, bytes)."""

    def sack_open(self, *, options: bytes = b"") -> Gap:
        more = options and options[2:]
        syn = MSS + SACK_PERMITTED + more
        assert self.client(flags=SYN, at=-1, options=syn) == b""
        assert self.server(flags=SYN | ACK, at=-1, ack=0, options=syn) == b""
        assert self.client(flags=ACK, options=options) == b""
        return self

    def _taken(self, *, to_client: bool) -> list[Packet]:
        packets = [read(datagram) for datagram in self.injected]
        mine = [packet for packet in packets if (packet.source[1] == 25) == to_client]
        self.injected = [
            datagram
            for datagram, packet in zip(self.injected, packets, strict=True)
            if packet not in mine
        ]
        assert all(packet.flags == ACK and packet.window == 60000 for packet in mine)
        return mine

    def hears(self) -> list[tuple[int, list[tuple[int, int]]]]:
        packets = self._taken(to_client=True)
        assert not any(packet.payload for packet in packets)
        return [(offset(packet.acknowledgment), blocks_of(packet)) for packet in packets]

    def asked(self) -> list[tuple[int, bytes]]:
        packets = self._taken(to_client=False)
        return [(offset(packet.sequence), packet.payload) for packet in packets]


def gap_of(talk: Talk) -> State:
    """What the filter knows of the gap in the requests."""
    client, _ = talk.engine._core.table.halves.values()
    assert client.gap is not None
    return client.gap


# ---- the sender is told ------------------------------------------------------------------------


def test_each_held_segment_is_told_with_its_range_first() -> None:
    talk = Gap().sack_open()
    talk.server(b"220")
    assert talk.client(b"x" * 5, at=5) is None
    assert talk.hears() == [(0, [(5, 10)])]
    assert talk.client(b"y" * 5, at=10) is None
    assert talk.hears() == [(0, [(5, 15)])]
    assert talk.client(b"z" * 5, at=20) is None
    assert talk.hears() == [(0, [(20, 25), (5, 15)])]
    assert talk.client(b"z" * 5, at=30) is None
    assert talk.client(b"y" * 5, at=15) is None
    assert talk.hears() == [(0, [(30, 35), (20, 25), (5, 15)]), (0, [(5, 25), (30, 35)])]
    assert talk.asked() == []


def test_no_more_ranges_than_find_room() -> None:
    talk = Gap().sack_open()
    for at in (10, 20, 30, 40, 50):
        talk.client(b"x", at=at)
    assert talk.hears()[-1] == (0, [(50, 51), (40, 41), (30, 31), (20, 21)])

    talk = Gap().sack_open(options=stamps(1))
    talk.server(b"220", options=stamps(7, 1))
    for at in (10, 20, 30, 40, 50):
        talk.client(b"x", at=at, options=stamps(2))
    assert talk.hears()[-1] == (0, [(50, 51), (40, 41), (30, 31)])


def test_without_sack_the_number_alone_is_repeated() -> None:
    talk = Gap().open()
    for at in (5, 10, 15):
        assert talk.client(b"later", at=at) is None
    assert talk.hears() == [(0, [])] * 3


def test_segment_is_told_once_the_receiver_has_acknowledged_what_passed_before_it() -> None:
    talk = Gap().sack_open()
    talk.client(b"hello", at=0)
    talk.client(b"later", at=7)
    talk.client(b"again", at=12)
    assert talk.hears() == []
    talk.server(ack=3, flags=ACK)
    assert talk.hears() == []
    talk.server(ack=5, flags=ACK)
    assert talk.hears() == [(5, [(7, 17)])]  # neighbours, so one acknowledgement says it
    talk.server(ack=5, flags=ACK)
    assert talk.hears() == []


def test_without_sack_all_that_was_held_is_told_then_within_a_bound() -> None:
    talk = Gap().open()
    talk.client(b"hello", at=0)
    for at in range(10, 40):
        talk.client(b"x", at=at)
    talk.server(ack=5, flags=ACK)
    assert talk.hears() == [(5, [])] * 16


def test_gap_that_has_filled_meanwhile_is_told_all_the_same() -> None:
    """The receiver is far: without its word on what is held the sender would stand still."""
    talk = Gap().sack_open()
    talk.client(b"hello", at=0)
    talk.client(b"later", at=10)
    talk.client(b"again", at=20)
    talk.client(b"-----", at=5)
    assert talk.hears() == []
    talk.server(ack=5, flags=ACK)
    assert talk.hears() == [(5, [(10, 15)]), (5, [(20, 25), (10, 15)])]
    talk.server(ack=15, flags=ACK)
    assert talk.hears() == [(15, [(20, 25)])]
    talk.client(b"=====", at=15)
    talk.server(ack=25, flags=ACK)
    assert talk.hears() == []
    assert talk.engine.ledger.memory_bytes == 0


def test_acknowledgement_of_a_part_is_completed() -> None:
    """The receiver's own says nothing of what it has not got."""
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"again", at=15)
    talk.hears()
    talk.client(b"hello", at=0)
    assert talk.hears() == []
    talk.server(ack=10, flags=ACK)
    assert talk.hears() == [(10, [(15, 20)])]


@pytest.mark.parametrize("reached", [5, 7])
def test_receiver_that_lacks_what_was_told_and_has_passed_is_believed(reached: int) -> None:
    """It got lost behind the filter, so the sender is needed."""
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"again", at=15)
    talk.hears()
    talk.client(b"hello", at=0)
    talk.server(ack=reached, flags=ACK)
    assert talk.hears() == [(reached, [(15, 20)])]


def test_held_segment_that_comes_again_is_told_as_a_duplicate() -> None:
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"again", at=20)
    talk.hears()
    assert talk.client(b"later", at=5) is DropReason.REPEATED_HELD
    assert talk.hears() == [(0, [(5, 10), (20, 25), (5, 10)])]  # RFC 2883 section 4


def test_segment_that_is_given_up_is_told_no_more() -> None:
    options = EngineOptions(limits=Limits(held_packets_total=3))
    greedy = Gap(options=options).sack_open()
    for at in (5, 15, 16):
        assert greedy.client(b"x", at=at) is None
    assert greedy.hears()[-1] == (0, [(15, 17), (5, 6)])
    modest = Gap(engine=greedy.engine, client=(b"\xc0\0\2\2", 2)).open()
    modest._sent, modest.tokens = greedy._sent, 1000
    assert modest.client(b"x", at=5) is None
    assert list(modest.late.values()) == [DropReason.HOLD_BOUND]
    greedy.client(b"hello", at=0)
    greedy.server(ack=6, flags=ACK)
    assert greedy.hears() == [(6, [(15, 16)])]


def test_what_waits_for_a_reply_is_no_gap() -> None:
    talk = Gap().sack_open()
    talk.client(b"data!")
    talk.server(ack=5, flags=ACK)
    assert talk.client(b"more", at=5) is None
    assert talk.client(b"yet more", at=9) is None
    assert talk.hears() == []
    assert talk.asked() == []


def test_reports_of_tiny_steps_out_of_order_have_a_bound() -> None:
    """The server acknowledges none of what fills the gaps, so each report stays due."""
    talk = Gap().sack_open()
    talk.server(b"220")
    talk.client(b"x")  # it is never acknowledged
    for at in range(1, 20_000, 2):
        assert talk.client(b"b", at=at + 1) is None
        assert talk.client(b"a", at=at) == b"A"
    gap, ledger = gap_of(talk), talk.engine.ledger
    assert len(gap.unreported) + len(gap.reported) == Limits().reports == ledger.reports
    talk.server(flags=ACK, ack=20_001)
    assert ledger.reports == 0


def test_reports_that_are_not_acknowledged_count_too() -> None:
    talk = Gap(options=EngineOptions(limits=Limits(reports=10))).sack_open()
    talk.server(b"220")
    for at in range(2, 200, 2):
        talk.client(b"b", at=at)
    assert (len(gap_of(talk).reported), len(talk.hears())) == (10, 10)


def test_reports_of_all_connections_have_a_bound() -> None:
    talk = Gap(options=EngineOptions(limits=Limits(reports_total=10))).sack_open()
    other = Gap(engine=talk.engine, client=(b"\xc0\0\2\7", 7)).sack_open()
    for each in (talk, other):
        each.server(b"220")
        for at in range(2, 20, 2):
            each.client(b"b", at=at)
    assert (len(talk.hears()), len(other.hears())) == (9, 1)
    talk.client(flags=RST, at=0)
    assert talk.engine.ledger.reports == 1


@pytest.mark.parametrize("size", [536, 1460])
def test_every_full_segment_behind_a_gap_is_told(size: int) -> None:
    talk = Gap().sack_open()
    talk.server(b"220")
    count = 60_000 // (2 * size)
    for number in range(1, count):
        assert talk.client(b"x" * size, at=number * 2 * size) is None
    assert len(talk.hears()) == count - 1


def test_every_full_segment_that_overtakes_another_is_told_when_the_receiver_has_caught_up() -> (
    None
):
    talk = Gap().sack_open()
    talk.server(b"220")
    for number in range(0, 110, 2):
        assert talk.client(b"x" * 536, at=(number + 1) * 536) is None
        assert talk.client(b"x" * 536, at=number * 536) is not None
    assert len(gap_of(talk).unreported) == 54  # the first was told at once
    talk.hears()
    talk.server(ack=1072, flags=ACK)
    assert talk.hears() == [(1072, [(1608, 2144)])]


def test_replay_injects_nothing() -> None:
    talk = Gap(options=EngineOptions(recorded=True)).sack_open()
    talk.client(b"hello", at=0)
    assert talk.client(b"later", at=7) is None
    assert talk.client(b"--", at=5) == b"--"
    assert talk.injected == []


# ---- the receiver is asked ---------------------------------------------------------------------


def test_receiver_that_has_not_caught_up_is_asked_once_by_the_last_byte_as_it_passed() -> None:
    talk = Gap().sack_open()
    talk.client(b"hello", at=0)
    talk.client(b"later", at=7)
    talk.client(b"again", at=12)
    assert talk.asked() == [(4, b"O")]


def test_its_report_of_the_repetition_is_kept_from_the_sender() -> None:
    talk = Gap().sack_open()
    talk.client(b"hello", at=0)
    talk.client(b"later", at=7)
    talk.asked()
    talk.server(ack=5, flags=ACK, options=sack((4, 5)))
    assert talk.last.options == b"\1" * 12
    assert talk.last.acknowledgment == (START + 1 + 5) % 2**32
    talk.server(ack=5, flags=ACK, options=sack((4, 5)))  # this one is nobody's but the sender's
    assert blocks_of(talk.last) == [(4, 5)]


def test_report_beside_other_blocks_leaves_those() -> None:
    talk = Gap().sack_open(options=stamps(1))
    talk.client(b"hello", at=0, options=stamps(2))
    talk.client(b"later", at=7, options=stamps(3))
    talk.server(ack=3, flags=ACK, options=stamps(9, 2) + sack((4, 5), (7, 12)))
    assert talk.last.options == stamps(9, 2) + b"\1" * 8 + sack((7, 12))


def test_receiver_is_asked_with_a_timestamp_that_it_can_know() -> None:
    """One of a held segment would make it drop those that were sent before (PAWS)."""
    talk = Gap().sack_open(options=stamps(1000))
    talk.client(b"hello", at=0, options=stamps(1001))
    talk.client(b"later", at=7, options=stamps(1002))
    (datagram,) = talk.injected
    assert read(datagram).options == stamps(1001)


def test_receiver_is_asked_again_when_a_part_of_the_gap_has_passed() -> None:
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"hel", at=0)
    assert talk.asked() == [(2, b"L")]
    talk.client(b"lo", at=3)  # what is behind has passed before, so it answers by itself
    assert talk.asked() == []


def test_what_a_close_has_dropped_is_told_no_more() -> None:
    talk = Gap().sack_open()
    talk.server(b"hello", at=0)
    talk.server(b"later", at=10)
    talk.injected.clear()
    assert talk.client(b"#", ack=5) is DropReason.INSPECTION
    assert list(talk.late.values()) == [DropReason.CLOSED_CONNECTION]
    assert talk.injected == []


def test_what_the_filter_says_opens_no_window_wider_than_the_end_has() -> None:
    """The number that it repeats came with a packet that waits, and so did a smaller window."""
    talk = Gap()
    talk.client(flags=SYN, at=-1, options=MSS + SACK_PERMITTED)
    talk.server(flags=SYN | ACK, at=-1, ack=0, options=MSS + SACK_PERMITTED, window=400)
    talk.client(b"x" * 100)
    for injected_at in (10, 20):
        talk.server(b"later", at=injected_at, ack=100, flags=ACK, window=300)
    talk.injected.clear()
    talk.server(b"01234", at=0, ack=0, flags=ACK, window=400)
    asked = [read(datagram) for datagram in talk.injected]
    assert [(offset(packet.acknowledgment), packet.window) for packet in asked] == [(100, 300)]


def test_fin_is_no_byte_to_ask_with() -> None:
    talk = Gap().sack_open()
    talk.client(b"later", at=7, flags=ACK | FIN)
    talk.client(b"hello", at=0)
    talk.client(b"--", at=5)
    assert talk.asked() == [(4, b"O")]


# ---- nothing is said twice --------------------------------------------------------------------


def test_what_the_sender_was_told_it_does_not_hear_again_from_the_receiver() -> None:
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"again", at=10)
    talk.client(b"hello", at=0)
    assert talk.server(ack=0, flags=ACK, options=sack((5, 10))) is DropReason.ALREADY_REPORTED
    assert talk.server(ack=0, flags=ACK, options=sack((5, 15))) is DropReason.ALREADY_REPORTED
    assert talk.server(ack=15, flags=ACK) == b""


def test_what_filled_the_gap_and_got_lost_is_told_by_what_comes_then() -> None:
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"hello", at=0)
    talk.client(b"after", at=10)
    assert talk.server(ack=0, flags=ACK, options=sack((5, 10))) is DropReason.ALREADY_REPORTED
    assert talk.server(ack=0, flags=ACK, options=sack((5, 15))) == b""


def test_answer_to_our_question_alone_is_for_us() -> None:
    talk = Gap().sack_open()
    talk.client(b"hello", at=0)
    talk.client(b"later", at=7)
    assert talk.asked() == [(4, b"O")]
    talk.server(ack=5, flags=ACK)  # it crosses the question
    talk.hears()
    answer = sack((4, 5))
    assert talk.server(ack=5, flags=ACK, options=answer) is DropReason.ALREADY_REPORTED
    assert talk.server(ack=5, flags=ACK) == b""


def test_window_that_opens_is_told_whatever_else_is_said() -> None:
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"hello", at=0)
    opened = sack((5, 10))
    assert talk.server(ack=0, flags=ACK, window=60001, options=opened) == b""


# ---- the gap last ------------------------------------------------------------------------------


def test_what_fills_the_gap_passes_behind_what_was_held() -> None:
    talk = Gap().sack_open(options=stamps(1))
    talk.client(b"later", at=5, options=stamps(2))
    talk.client(b"again", at=10, options=stamps(3))
    assert talk.client(b"hello", at=0, options=stamps(9)) == b"HELLO"
    assert [packet.payload for packet in talk.passed[-3:]] == [b"LATER", b"AGAIN", b"HELLO"]
    assert [packet.options for packet in talk.passed[-3:]] == [stamps(2), stamps(3), stamps(9)]


def test_held_behind_two_gaps_passes_with_the_timestamp_of_the_first_filling() -> None:
    """Which the receiver has kept: it would drop an older one (PAWS, RFC 7323 section 5)."""
    talk = Gap().sack_open(options=stamps(1))
    talk.client(b"later", at=5, options=stamps(2))
    talk.client(b"again", at=15, options=stamps(3))
    talk.client(b"hello", at=0, options=stamps(9))
    talk.client(b"-----", at=10, options=stamps(10))
    assert [packet.payload for packet in talk.passed[-2:]] == [b"AGAIN", b"-----"]
    assert [packet.options for packet in talk.passed[-2:]] == [stamps(9), stamps(10)]


def test_held_passes_with_a_younger_timestamp_too_where_inspection_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Leaving(SwapCase):
        def request(self, data: bytes, packet_length: int, acknowledged: int) -> bytes:
            self.uninspected = UninspectedCause.TLS
            return data

    monkeypatch.setattr(opening, "Inspector", Leaving)
    talk = Gap().sack_open(options=stamps(1))
    talk.client(b"later", at=5, options=stamps(2))
    assert talk.client(b"hello", at=0, options=stamps(9)) == b"hello"
    assert list(talk.late.values()) == [b"later"]
    assert talk.last.options == stamps(9)


def test_reports_are_forgotten_once_where_a_reply_ends_inspection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Leaving(SwapCase):
        def reply(self, data: bytes) -> bytes:
            self.uninspected = UninspectedCause.TLS
            return data

    monkeypatch.setattr(opening, "Inspector", Leaving)
    talk = Gap().sack_open()
    talk.client(b"hello", at=0)
    talk.client(b"later", at=7)
    talk.client(b"again", at=12)
    assert talk.engine.ledger.reports == 2
    assert talk.server(b"220 go", ack=5) == b"220 go"
    assert list(talk.late.values()) == [b"later", b"again"]
    assert talk.engine.ledger.reports == 0


def test_without_sack_all_pass_in_their_order() -> None:
    talk = Gap().open()
    talk.client(b"later", at=5)
    talk.client(b"hello", at=0)
    assert [packet.payload for packet in talk.passed[-2:]] == [b"HELLO", b"LATER"]


def test_violation_in_what_was_held_lets_the_beginning_pass() -> None:
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"evil#", at=10)
    assert talk.client(b"hello", at=0) == b"HELLO"
    assert list(talk.late.values()) == [b"LATER", DropReason.INSPECTION]
    assert [packet.payload for packet in talk.passed[-2:]] == [b"LATER", b"HELLO"]
