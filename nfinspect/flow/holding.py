"""Packets waiting for their verdict: beyond a gap, or while the request direction is shut."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, cast

from nfinspect.packet.segment import FIN
from nfinspect.tcp.limits import Ledger, Limits
from nfinspect.tcp.placed import PlacedSegment
from nfinspect.tcp.stream import Stream

if TYPE_CHECKING:
    from nfinspect.flow.passage import Passage

STEP: Final = 4096
"""Bytes. The ranking by bytes held is in units of this size."""

NEIGHBOURS: Final = 8
"""How many held packets are searched for a repetition, and how many streams for a stale one. A
repetition not found is held as well; its bytes are still decided only once."""


class Holding:
    """The held packets of all connections, within the bounds of ``Limits``."""

    __slots__ = ("_by_bytes", "_by_packets", "_bytes", "_ledger", "_limits")

    def __init__(self, limits: Limits, ledger: Ledger) -> None:
        self._limits = limits
        self._ledger = ledger
        self._bytes: OrderedDict[Stream, int] = OrderedDict()
        """Bytes held per stream; streams that hold nothing are absent. Oldest first, except that
        ``_stale`` moves the streams it has checked to the end."""
        self._by_packets = _Ranking()
        self._by_bytes = _Ranking()

    def repeats(self, passage: Passage) -> bool:
        """Whether one held packet already covers its sequence numbers (and the FIN)."""
        held, end = passage.stream.held, passage.end
        stop = bisect_right(held, passage.sequence, key=_sequence)
        return any(
            end <= each.end and (not passage.fin or each.segment.flags & FIN)
            for each in held[max(0, stop - NEIGHBOURS) : stop]
        )

    def add(self, passage: Passage) -> tuple[bool, list[Passage]]:
        """Hold the packet if the bounds allow it. Returns whether it is held, and the packets
        evicted in its favour, which the caller must drop. A refused packet is not in the list.

        At a total bound, the stream that holds most gives up its farthest packet, but only if it
        holds more than this one would with the new packet. Otherwise, if this one holds nothing, a
        stale one does: many that hold little each must not lock out everybody else.
        """
        stream = passage.stream
        limits, ledger, size = self._limits, self._ledger, _size(passage)
        peer = stream.peer
        own = self._bytes.get(stream, 0)
        if len(stream.held) + len(peer.held) >= limits.held_packets or (
            own + self._bytes.get(peer, 0) + size > limits.held_bytes
        ):
            return False, []
        evicted: list[Passage] = []
        while ledger.held_packets >= limits.held_packets_total:
            most = self._by_packets.most()
            if most is None or len(most.held) <= len(stream.held) + 1:
                most = self._stale(stream, passage.arrival.now)
            if most is None:
                return False, evicted
            evicted.append(self._take(most, -1))
        while ledger.held_bytes + size > limits.held_bytes_total:
            most = self._by_bytes.most()
            if most is None or self._bytes[most] <= own + size:
                most = self._stale(stream, passage.arrival.now)
            if most is None:
                return False, evicted
            evicted.append(self._take(most, -1))
        stream.hold(passage)
        self._rank(stream, len(stream.held) - 1, size)
        return True, evicted

    def _stale(self, newcomer: Stream, now: float) -> Stream | None:
        """A stream whose first held packet has waited for ``Limits.stale``; None if the newcomer
        holds something already."""
        if newcomer.held:
            return None
        for _ in range(min(NEIGHBOURS, len(self._bytes))):
            stream = next(iter(self._bytes))
            if now - stream.held[0].arrival.now >= self._limits.stale:
                return stream
            self._bytes.move_to_end(stream)
        return None

    def next_in_order(self, stream: Stream) -> Passage | None:
        """Remove and return the held packet that is now in order, if there is one."""
        if stream.held and stream.held[0].sequence <= stream.next:
            return self._take(stream, 0)
        return None

    def take_all(self, stream: Stream) -> list[Passage]:
        """Remove and return all held packets, in sequence order."""
        return [self._take(stream, 0) for _ in range(len(stream.held))]

    def streams(self) -> list[Stream]:
        return list(self._bytes)

    def _take(self, stream: Stream, index: int) -> Passage:
        held = cast("Passage", stream.release(index))
        self._rank(stream, len(stream.held) + 1, -_size(held))
        return held

    def _rank(self, stream: Stream, packets_before: int, more_bytes: int) -> None:
        """Update totals and rankings after a packet was added or removed."""
        packets, before = len(stream.held), self._bytes.get(stream, 0)
        after = before + more_bytes
        self._ledger.held_packets += packets - packets_before
        self._ledger.held_bytes += more_bytes
        self._by_packets.move(stream, packets_before, packets)
        self._by_bytes.move(stream, -(-before // STEP), -(-after // STEP))
        if packets:
            self._bytes[stream] = after
        else:
            del self._bytes[stream]


class _Ranking:
    """Streams ranked by how much they hold, so that finding the largest stays fast even if an
    attacker fills all bounds."""

    __slots__ = ("_ranks",)

    def __init__(self) -> None:
        self._ranks: list[dict[Stream, None]] = []

    def move(self, stream: Stream, before: int, after: int) -> None:
        """Move a stream from one rank to another; 0 means unranked."""
        if before == after:
            return
        ranks = self._ranks
        if before:
            del ranks[before][stream]
        while len(ranks) <= after:
            ranks.append({})
        if after:
            ranks[after][stream] = None
        while ranks and not ranks[-1]:
            ranks.pop()

    def most(self) -> Stream | None:
        """A stream of the highest rank; None if nothing is held."""
        return next(iter(self._ranks[-1])) if self._ranks else None


def _size(held: PlacedSegment) -> int:
    return len(held.segment.datagram)


def _sequence(held: PlacedSegment) -> int:
    return held.sequence
