"""Gaps: what is reported to the sender, how the receiver is probed, in which order packets leave."""

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

pytestmark = pytest.mark.pure

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
    """A receiver's SACK option; the edges are offsets."""
    edges = b"".join(struct.pack("!L", START + 1 + n & 2**32 - 1) for pair in blocks for n in pair)
    return bytes((1, 1, SACK, 2 + len(edges))) + edges


def blocks_of(packet: Packet) -> list[tuple[int, int]]:
    options = packet.options
    if 8 in options[2:3]:
        options = options[12:]
    edges = [offset(edge) for edge in struct.unpack(f"!{len(options[4:]) // 4}L", options[4:])]
    return list(zip(edges[::2], edges[1::2], strict=True))


class Gap(Talk):
    """``reports``: the filter's ACKs to the client since the last call, as (acknowledgment, SACK
    blocks); ``probes``: the bytes it repeated to the server since then, as (offset, bytes)."""

    def sack_open(self, *, options: bytes = b"") -> Gap:
        more = options and options[2:]
        syn = MSS + SACK_PERMITTED + more
        assert self.client(flags=SYN, at=-1, options=syn) == b""
        assert self.server(flags=SYN | ACK, at=-1, ack=0, options=syn) == b""
        assert self.client(flags=ACK, options=options) == b""
        return self

    def _take(self, *, to_client: bool) -> list[Packet]:
        packets = [read(datagram) for datagram in self.injected]
        mine = [packet for packet in packets if (packet.source[1] == 25) == to_client]
        self.injected = [
            datagram
            for datagram, packet in zip(self.injected, packets, strict=True)
            if packet not in mine
        ]
        assert all(packet.flags == ACK and packet.window == 60000 for packet in mine)
        return mine

    def reports(self) -> list[tuple[int, list[tuple[int, int]]]]:
        packets = self._take(to_client=True)
        assert not any(packet.payload for packet in packets)
        return [(offset(packet.acknowledgment), blocks_of(packet)) for packet in packets]

    def probes(self) -> list[tuple[int, bytes]]:
        packets = self._take(to_client=False)
        return [(offset(packet.sequence), packet.payload) for packet in packets]


def gap_of(talk: Talk) -> State:
    """The filter's state of the gap in the requests."""
    client, _ = talk.engine._core.table.halves.values()
    assert client.gap is not None
    return client.gap


# ---- reports to the sender ---------------------------------------------------------------------


def test_each_held_segment_is_reported_with_its_range_first() -> None:
    talk = Gap().sack_open()
    talk.server(b"220")
    assert talk.client(b"x" * 5, at=5) is None
    assert talk.reports() == [(0, [(5, 10)])]
    assert talk.client(b"y" * 5, at=10) is None
    assert talk.reports() == [(0, [(5, 15)])]
    assert talk.client(b"z" * 5, at=20) is None
    assert talk.reports() == [(0, [(20, 25), (5, 15)])]
    assert talk.client(b"z" * 5, at=30) is None
    assert talk.client(b"y" * 5, at=15) is None
    assert talk.reports() == [(0, [(30, 35), (20, 25), (5, 15)]), (0, [(5, 25), (30, 35)])]
    assert talk.probes() == []


def test_report_has_no_more_sack_blocks_than_fit() -> None:
    talk = Gap().sack_open()
    for at in (10, 20, 30, 40, 50):
        talk.client(b"x", at=at)
    assert talk.reports()[-1] == (0, [(50, 51), (40, 41), (30, 31), (20, 21)])

    talk = Gap().sack_open(options=stamps(1))
    talk.server(b"220", options=stamps(7, 1))
    for at in (10, 20, 30, 40, 50):
        talk.client(b"x", at=at, options=stamps(2))
    assert talk.reports()[-1] == (0, [(50, 51), (40, 41), (30, 31)])


def test_report_without_sack_is_a_plain_duplicate_ack() -> None:
    talk = Gap().open()
    for at in (5, 10, 15):
        assert talk.client(b"later", at=at) is None
    assert talk.reports() == [(0, [])] * 3


def test_segment_is_reported_once_the_receiver_has_acknowledged_what_passed_before_it() -> None:
    talk = Gap().sack_open()
    talk.client(b"hello", at=0)
    talk.client(b"later", at=7)
    talk.client(b"again", at=12)
    assert talk.reports() == []
    talk.server(ack=3, flags=ACK)
    assert talk.reports() == []
    talk.server(ack=5, flags=ACK)
    assert talk.reports() == [(5, [(7, 17)])]  # adjacent, so one ACK reports both
    talk.server(ack=5, flags=ACK)
    assert talk.reports() == []


def test_held_segments_are_reported_together_without_sack_up_to_a_bound() -> None:
    talk = Gap().open()
    talk.client(b"hello", at=0)
    for at in range(10, 40):
        talk.client(b"x", at=at)
    talk.server(ack=5, flags=ACK)
    assert talk.reports() == [(5, [])] * 16


def test_gap_that_has_been_filled_meanwhile_is_still_reported() -> None:
    """The receiver is far away: without the report the sender would stall."""
    talk = Gap().sack_open()
    talk.client(b"hello", at=0)
    talk.client(b"later", at=10)
    talk.client(b"again", at=20)
    talk.client(b"-----", at=5)
    assert talk.reports() == []
    talk.server(ack=5, flags=ACK)
    assert talk.reports() == [(5, [(10, 15)]), (5, [(20, 25), (10, 15)])]
    talk.server(ack=15, flags=ACK)
    assert talk.reports() == [(15, [(20, 25)])]
    talk.client(b"=====", at=15)
    talk.server(ack=25, flags=ACK)
    assert talk.reports() == []
    assert talk.engine.ledger.memory_bytes == 0


def test_partial_acknowledgement_is_followed_by_a_report() -> None:
    """The receiver's own ACK does not mention what it has not received."""
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"again", at=15)
    talk.reports()
    talk.client(b"hello", at=0)
    assert talk.reports() == []
    talk.server(ack=10, flags=ACK)
    assert talk.reports() == [(10, [(15, 20)])]


@pytest.mark.parametrize("reached", [5, 7])
def test_segment_that_passed_but_was_not_received_is_no_longer_reported(reached: int) -> None:
    """It was lost after the filter, so the sender has to retransmit it."""
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"again", at=15)
    talk.reports()
    talk.client(b"hello", at=0)
    talk.server(ack=reached, flags=ACK)
    assert talk.reports() == [(reached, [(15, 20)])]


def test_retransmission_of_a_held_segment_is_reported_as_a_duplicate() -> None:
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"again", at=20)
    talk.reports()
    assert talk.client(b"later", at=5) is DropReason.REPEATED_HELD
    assert talk.reports() == [(0, [(5, 10), (20, 25), (5, 10)])]  # RFC 2883 section 4


def test_segment_that_was_given_up_is_no_longer_reported() -> None:
    options = EngineOptions(limits=Limits(held_packets_total=3))
    greedy = Gap(options=options).sack_open()
    for at in (5, 15, 16):
        assert greedy.client(b"x", at=at) is None
    assert greedy.reports()[-1] == (0, [(15, 17), (5, 6)])
    modest = Gap(engine=greedy.engine, client=(b"\xc0\0\2\2", 2)).open()
    modest._sent, modest.tokens = greedy._sent, 1000
    assert modest.client(b"x", at=5) is None
    assert list(modest.late.values()) == [DropReason.HOLD_BOUND]
    greedy.client(b"hello", at=0)
    greedy.server(ack=6, flags=ACK)
    assert greedy.reports() == [(6, [(15, 16)])]


def test_segment_that_waits_for_a_reply_is_not_reported() -> None:
    talk = Gap().sack_open()
    talk.client(b"data!")
    talk.server(ack=5, flags=ACK)
    assert talk.client(b"more", at=5) is None
    assert talk.client(b"yet more", at=9) is None
    assert talk.reports() == []
    assert talk.probes() == []


def test_reports_of_tiny_segments_out_of_order_have_a_bound() -> None:
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


def test_unacknowledged_reports_count_towards_the_bound() -> None:
    talk = Gap(options=EngineOptions(limits=Limits(reports=10))).sack_open()
    talk.server(b"220")
    for at in range(2, 200, 2):
        talk.client(b"b", at=at)
    assert (len(gap_of(talk).reported), len(talk.reports())) == (10, 10)


def test_reports_of_all_connections_have_a_bound() -> None:
    talk = Gap(options=EngineOptions(limits=Limits(reports_total=10))).sack_open()
    other = Gap(engine=talk.engine, client=(b"\xc0\0\2\7", 7)).sack_open()
    for each in (talk, other):
        each.server(b"220")
        for at in range(2, 20, 2):
            each.client(b"b", at=at)
    assert (len(talk.reports()), len(other.reports())) == (9, 1)
    talk.client(flags=RST, at=0)
    assert talk.engine.ledger.reports == 1


@pytest.mark.parametrize("size", [536, 1460])
def test_every_full_segment_beyond_a_gap_is_reported(size: int) -> None:
    talk = Gap().sack_open()
    talk.server(b"220")
    count = 60_000 // (2 * size)
    for number in range(1, count):
        assert talk.client(b"x" * size, at=number * 2 * size) is None
    assert len(talk.reports()) == count - 1


def test_every_full_segment_that_overtook_another_is_reported_once_the_receiver_catches_up() -> (
    None
):
    talk = Gap().sack_open()
    talk.server(b"220")
    for number in range(0, 110, 2):
        assert talk.client(b"x" * 536, at=(number + 1) * 536) is None
        assert talk.client(b"x" * 536, at=number * 536) is not None
    assert len(gap_of(talk).unreported) == 54  # the first was reported at once
    talk.reports()
    talk.server(ack=1072, flags=ACK)
    assert talk.reports() == [(1072, [(1608, 2144)])]


def test_replay_injects_nothing() -> None:
    talk = Gap(options=EngineOptions(recorded=True)).sack_open()
    talk.client(b"hello", at=0)
    assert talk.client(b"later", at=7) is None
    assert talk.client(b"--", at=5) == b"--"
    assert talk.injected == []


# ---- probes ------------------------------------------------------------------------------------


def test_receiver_that_has_not_caught_up_is_probed_once_with_the_last_byte_as_it_passed() -> None:
    talk = Gap().sack_open()
    talk.client(b"hello", at=0)
    talk.client(b"later", at=7)
    talk.client(b"again", at=12)
    assert talk.probes() == [(4, b"O")]


def test_receivers_dsack_for_a_probe_is_removed() -> None:
    talk = Gap().sack_open()
    talk.client(b"hello", at=0)
    talk.client(b"later", at=7)
    talk.probes()
    talk.server(ack=5, flags=ACK, options=sack((4, 5)))
    assert talk.last.options == b"\1" * 12
    assert talk.last.acknowledgment == (START + 1 + 5) % 2**32
    talk.server(ack=5, flags=ACK, options=sack((4, 5)))  # this one is meant for the sender
    assert blocks_of(talk.last) == [(4, 5)]


def test_other_sack_blocks_are_kept_when_the_dsack_for_a_probe_is_removed() -> None:
    talk = Gap().sack_open(options=stamps(1))
    talk.client(b"hello", at=0, options=stamps(2))
    talk.client(b"later", at=7, options=stamps(3))
    talk.server(ack=3, flags=ACK, options=stamps(9, 2) + sack((4, 5), (7, 12)))
    assert talk.last.options == stamps(9, 2) + b"\1" * 8 + sack((7, 12))


def test_probe_has_the_timestamp_of_a_segment_that_has_passed() -> None:
    """That of a held segment would make the receiver drop segments sent before it (PAWS)."""
    talk = Gap().sack_open(options=stamps(1000))
    talk.client(b"hello", at=0, options=stamps(1001))
    talk.client(b"later", at=7, options=stamps(1002))
    (datagram,) = talk.injected
    assert read(datagram).options == stamps(1001)


def test_receiver_is_probed_again_when_part_of_the_gap_has_passed() -> None:
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"hel", at=0)
    assert talk.probes() == [(2, b"L")]
    talk.client(
        b"lo", at=3
    )  # it completes what has passed before, so the receiver acknowledges at once
    assert talk.probes() == []


def test_segments_dropped_by_a_close_are_not_reported() -> None:
    talk = Gap().sack_open()
    talk.server(b"hello", at=0)
    talk.server(b"later", at=10)
    talk.injected.clear()
    assert talk.client(b"#", ack=5) is DropReason.INSPECTION
    assert list(talk.late.values()) == [DropReason.CLOSED_CONNECTION]
    assert talk.injected == []


def test_probe_announces_no_larger_window_than_the_endpoint_has() -> None:
    """The acknowledgment number that it repeats came in a held packet, with a smaller window."""
    talk = Gap()
    talk.client(flags=SYN, at=-1, options=MSS + SACK_PERMITTED)
    talk.server(flags=SYN | ACK, at=-1, ack=0, options=MSS + SACK_PERMITTED, window=400)
    talk.client(b"x" * 100)
    for injected_at in (10, 20):
        talk.server(b"later", at=injected_at, ack=100, flags=ACK, window=300)
    talk.injected.clear()
    talk.server(b"01234", at=0, ack=0, flags=ACK, window=400)
    probes = [read(datagram) for datagram in talk.injected]
    assert [(offset(packet.acknowledgment), packet.window) for packet in probes] == [(100, 300)]


def test_fin_is_not_used_as_a_probe() -> None:
    talk = Gap().sack_open()
    talk.client(b"later", at=7, flags=ACK | FIN)
    talk.client(b"hello", at=0)
    talk.client(b"--", at=5)
    assert talk.probes() == [(4, b"O")]


# ---- nothing is reported twice ----------------------------------------------------------------


def test_receivers_own_report_of_what_was_already_reported_is_dropped() -> None:
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"again", at=10)
    talk.client(b"hello", at=0)
    assert talk.server(ack=0, flags=ACK, options=sack((5, 10))) is DropReason.ALREADY_REPORTED
    assert talk.server(ack=0, flags=ACK, options=sack((5, 15))) is DropReason.ALREADY_REPORTED
    assert talk.server(ack=15, flags=ACK) == b""


def test_receivers_report_of_a_later_segment_passes_when_the_gap_filling_one_was_lost() -> None:
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"hello", at=0)
    talk.client(b"after", at=10)
    assert talk.server(ack=0, flags=ACK, options=sack((5, 10))) is DropReason.ALREADY_REPORTED
    assert talk.server(ack=0, flags=ACK, options=sack((5, 15))) == b""


def test_reported_block_passes_once_when_the_sender_repeats_what_was_acknowledged() -> None:
    """It has not got the acknowledgement: without this one it would repeat the same for ever."""
    talk = Gap().sack_open()
    talk.client(b"hello", at=0)
    talk.server(ack=5, flags=ACK)  # lost between filter and client
    talk.client(b"later", at=7)
    talk.client(b"--", at=5)  # lost between filter and server
    assert talk.server(ack=5, flags=ACK, options=sack((7, 12))) is DropReason.ALREADY_REPORTED
    assert talk.client(b"hello", at=0) == b"XXXXX"
    assert talk.server(ack=5, flags=ACK, options=sack((7, 12))) == b""
    assert talk.server(ack=5, flags=ACK, options=sack((7, 12))) is DropReason.ALREADY_REPORTED


def test_ack_that_only_answers_a_probe_is_dropped() -> None:
    talk = Gap().sack_open()
    talk.client(b"hello", at=0)
    talk.client(b"later", at=7)
    assert talk.probes() == [(4, b"O")]
    talk.server(ack=5, flags=ACK)  # it crosses the probe
    talk.reports()
    answer = sack((4, 5))
    assert talk.server(ack=5, flags=ACK, options=answer) is DropReason.ALREADY_REPORTED
    assert talk.server(ack=5, flags=ACK) == b""


def test_window_update_passes_although_its_sack_block_has_been_reported() -> None:
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"hello", at=0)
    opened = sack((5, 10))
    assert talk.server(ack=0, flags=ACK, window=60001, options=opened) == b""


# ---- the gap last ------------------------------------------------------------------------------


def test_segment_that_fills_the_gap_passes_after_the_held_ones() -> None:
    talk = Gap().sack_open(options=stamps(1))
    talk.client(b"later", at=5, options=stamps(2))
    talk.client(b"again", at=10, options=stamps(3))
    assert talk.client(b"hello", at=0, options=stamps(9)) == b"HELLO"
    assert [packet.payload for packet in talk.passed[-3:]] == [b"LATER", b"AGAIN", b"HELLO"]
    assert [packet.options for packet in talk.passed[-3:]] == [stamps(2), stamps(3), stamps(9)]


def test_segment_beyond_two_gaps_passes_with_the_timestamp_of_the_segment_that_filled_the_first() -> (
    None
):
    """The receiver remembers it, and would drop an older one (PAWS, RFC 7323 section 5)."""
    talk = Gap().sack_open(options=stamps(1))
    talk.client(b"later", at=5, options=stamps(2))
    talk.client(b"again", at=15, options=stamps(3))
    talk.client(b"hello", at=0, options=stamps(9))
    talk.client(b"-----", at=10, options=stamps(10))
    assert [packet.payload for packet in talk.passed[-2:]] == [b"AGAIN", b"-----"]
    assert [packet.options for packet in talk.passed[-2:]] == [stamps(9), stamps(10)]


def test_held_segment_also_passes_with_a_newer_timestamp_when_inspection_ends(
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


def test_reports_are_forgotten_only_once_when_a_reply_ends_inspection(
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


def test_segments_pass_in_sequence_order_without_sack() -> None:
    talk = Gap().open()
    talk.client(b"later", at=5)
    talk.client(b"hello", at=0)
    assert [packet.payload for packet in talk.passed[-2:]] == [b"HELLO", b"LATER"]


def test_held_segments_before_one_that_violates_a_rule_still_pass() -> None:
    talk = Gap().sack_open()
    talk.client(b"later", at=5)
    talk.client(b"evil#", at=10)
    assert talk.client(b"hello", at=0) == b"HELLO"
    assert list(talk.late.values()) == [b"LATER", DropReason.INSPECTION]
    assert [packet.payload for packet in talk.passed[-2:]] == [b"LATER", b"HELLO"]
