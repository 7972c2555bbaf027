"""Packets that wait for their verdict: behind a gap, or before a shut request direction."""

from __future__ import annotations

from bisect import bisect_right, insort

from nfinspect.packet.segment import FIN
from nfinspect.tcp.connection import Half, Held
from nfinspect.tcp.limits import Ledger, Limits

STEP = 4096
"""Bytes by which those who hold them are told apart."""

NEIGHBOURS = 8
"""Held packets among which a repetition is looked for. One that is missed takes a place of its own;
its bytes are decided once all the same."""


class Holding:
    """What all connections hold together, within the bounds of ``Limits``."""

    __slots__ = ("_by_bytes", "_by_packets", "_bytes", "_ledger", "_limits")

    def __init__(self, limits: Limits, ledger: Ledger) -> None:
        self._limits = limits
        self._ledger = ledger
        self._bytes: dict[Half, int] = {}
        """How many each holds; those that hold nothing are not in it."""
        self._by_packets = _Ranking()
        self._by_bytes = _Ranking()

    def repeats(self, half: Half, sequence: int, end: int, fin: int) -> bool:
        """Whether a held packet brings these sequence numbers (and the FIN) already."""
        behind = bisect_right(half.held, sequence, key=_sequence)
        return any(
            end <= held.end and (not fin or held.segment.flags & FIN)
            for held in half.held[max(0, behind - NEIGHBOURS) : behind]
        )

    def add(self, half: Half, held: Held) -> tuple[bool, list[Held]]:
        """Whether it is held now, and whom the bounds cost their place for it: those get their
        verdict (drop) from the caller. A refused packet is not in the list.

        At a bound of all, whoever holds most of what is short gives up the farthest, unless that is
        hardly more than the newcomer holds.
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
                return False, evicted
            evicted.append(self._take(most, -1))
        while ledger.held_bytes + size > limits.held_bytes_total:
            most = self._by_bytes.most()
            if most is None or self._bytes[most] <= own + size:
                return False, evicted
            evicted.append(self._take(most, -1))
        insort(half.held, held, key=_sequence)
        self._rank(half, len(half.held) - 1, size)
        return True, evicted

    def next_in_order(self, half: Half) -> Held | None:
        """The held packet that has come up, taken out."""
        if half.held and half.held[0].sequence <= half.next:
            return self._take(half, 0)
        return None

    def take_all(self, half: Half) -> list[Held]:
        """Everything that waits, in sequence order, taken out."""
        return [self._take(half, 0) for _ in range(len(half.held))]

    def halves(self) -> list[Half]:
        return list(self._bytes)

    def _take(self, half: Half, index: int) -> Held:
        held = half.held.pop(index)
        self._rank(half, len(half.held) + 1, -held.size)
        return held

    def _rank(self, half: Half, packets_before: int, more_bytes: int) -> None:
        """Keep the figures after a packet has come or gone."""
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
    """Halves by how much they hold: an attacker who fills all bounds must not make the search for
    the one with most long."""

    __slots__ = ("_ranks",)

    def __init__(self) -> None:
        self._ranks: list[dict[Half, None]] = []

    def move(self, half: Half, before: int, after: int) -> None:
        """From one rank to another; 0 is none."""
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
        """One of the highest rank."""
        return next(iter(self._ranks[-1])) if self._ranks else None


def _sequence(held: Held) -> int:
    return held.sequence
