"""Packets waiting for their verdict: beyond a gap, or while the request direction is shut."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import OrderedDict

from nfinspect.packet.segment import FIN
from nfinspect.tcp.connection import Half, Held
from nfinspect.tcp.limits import Ledger, Limits

STEP = 4096
"""Bytes. The ranking by bytes held is in units of this size."""

NEIGHBOURS = 8
"""How many held packets are searched for a repetition, and how many halves for a stale one. A
repetition not found is held as well; its bytes are still decided only once."""


class Holding:
    """The held packets of all connections, within the bounds of ``Limits``."""

    __slots__ = ("_by_bytes", "_by_packets", "_bytes", "_ledger", "_limits")

    def __init__(self, limits: Limits, ledger: Ledger) -> None:
        self._limits = limits
        self._ledger = ledger
        self._bytes: OrderedDict[Half, int] = OrderedDict()
        """Bytes held per half; halves that hold nothing are absent. Oldest first, except that
        ``_stale`` moves the halves it has checked to the end."""
        self._by_packets = _Ranking()
        self._by_bytes = _Ranking()

    def repeats(self, half: Half, sequence: int, end: int, fin: int) -> bool:
        """Whether one held packet already covers these sequence numbers (and the FIN)."""
        stop = bisect_right(half.held, sequence, key=_sequence)
        return any(
            end <= held.end and (not fin or held.segment.flags & FIN)
            for held in half.held[max(0, stop - NEIGHBOURS) : stop]
        )

    def add(self, half: Half, held: Held) -> tuple[bool, list[Held]]:
        """Hold the packet if the bounds allow it. Returns whether it is held, and the packets
        evicted in its favour, which the caller must drop. A refused packet is not in the list.

        At a total bound, the half that holds most gives up its farthest packet, but only if it
        holds more than ``half`` would with the new one. Otherwise, if ``half`` holds nothing, a
        stale one does: many that hold little each must not lock out everybody else.
        """
        limits, ledger, size = self._limits, self._ledger, held.size
        peer = half.peer
        own = self._bytes.get(half, 0)
        if len(half.held) + len(peer.held) >= limits.held_packets or (
            own + self._bytes.get(peer, 0) + size > limits.held_bytes
        ):
            return False, []
        evicted: list[Held] = []
        while ledger.held_packets >= limits.held_packets_total:
            most = self._by_packets.most()
            if most is None or len(most.held) <= len(half.held) + 1:
                most = self._stale(half, held)
            if most is None:
                return False, evicted
            evicted.append(self._take(most, -1))
        while ledger.held_bytes + size > limits.held_bytes_total:
            most = self._by_bytes.most()
            if most is None or self._bytes[most] <= own + size:
                most = self._stale(half, held)
            if most is None:
                return False, evicted
            evicted.append(self._take(most, -1))
        insort(half.held, held, key=_sequence)
        self._rank(half, len(half.held) - 1, size)
        return True, evicted

    def _stale(self, newcomer: Half, held: Held) -> Half | None:
        """A half whose first held packet has waited for ``Limits.stale``; None if the newcomer
        holds something already."""
        if newcomer.held:
            return None
        for _ in range(min(NEIGHBOURS, len(self._bytes))):
            half = next(iter(self._bytes))
            if held.arrival.now - half.held[0].arrival.now >= self._limits.stale:
                return half
            self._bytes.move_to_end(half)
        return None

    def next_in_order(self, half: Half) -> Held | None:
        """Remove and return the held packet that is now in order, if there is one."""
        if half.held and half.held[0].sequence <= half.next:
            return self._take(half, 0)
        return None

    def take_all(self, half: Half) -> list[Held]:
        """Remove and return all held packets, in sequence order."""
        return [self._take(half, 0) for _ in range(len(half.held))]

    def halves(self) -> list[Half]:
        return list(self._bytes)

    def _take(self, half: Half, index: int) -> Held:
        held = half.held.pop(index)
        self._rank(half, len(half.held) + 1, -held.size)
        return held

    def _rank(self, half: Half, packets_before: int, more_bytes: int) -> None:
        """Update totals and rankings after a packet was added or removed."""
        packets, before = len(half.held), self._bytes.get(half, 0)
        after = before + more_bytes
        self._ledger.held_packets += packets - packets_before
        self._ledger.held_bytes += more_bytes
        self._by_packets.move(half, packets_before, packets)
        self._by_bytes.move(half, -(-before // STEP), -(-after // STEP))
        if packets:
            self._bytes[half] = after
        else:
            del self._bytes[half]


class _Ranking:
    """Halves ranked by how much they hold, so that finding the largest stays fast even if an
    attacker fills all bounds."""

    __slots__ = ("_ranks",)

    def __init__(self) -> None:
        self._ranks: list[dict[Half, None]] = []

    def move(self, half: Half, before: int, after: int) -> None:
        """Move a half from one rank to another; 0 means unranked."""
        if before == after:
            return
        ranks = self._ranks
        if before:
            del ranks[before][half]
        while len(ranks) <= after:
            ranks.append({})
        if after:
            ranks[after][half] = None
        while ranks and not ranks[-1]:
            ranks.pop()

    def most(self) -> Half | None:
        """A half of the highest rank; None if nothing is held."""
        return next(iter(self._ranks[-1])) if self._ranks else None


def _sequence(held: Held) -> int:
    return held.sequence
