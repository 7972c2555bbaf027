"""Packets that wait for their verdict: behind a gap, or before a shut request direction."""

from __future__ import annotations

from bisect import insort

from nfinspect.packet.segment import FIN
from nfinspect.tcp.connection import Half, Held
from nfinspect.tcp.limits import Ledger, Limits


class Holding:
    """What all connections hold together, within the bounds of ``Limits``."""

    __slots__ = ("_holders", "_ledger", "_limits")

    def __init__(self, limits: Limits, ledger: Ledger) -> None:
        self._limits = limits
        self._ledger = ledger
        self._holders: dict[Half, None] = {}

    def repeats(self, half: Half, sequence: int, end: int, fin: int) -> bool:
        """Whether a held packet brings these sequence numbers (and the FIN) already."""
        return any(
            held.sequence <= sequence and end <= held.end and (not fin or held.segment.flags & FIN)
            for held in half.held
        )

    def add(self, half: Half, held: Held) -> tuple[bool, list[Held]]:
        """Whether it is held now, and whom the bounds cost their place for it: those get their
        verdict (drop) from the caller. A refused packet is not in the list."""
        limits, ledger = self._limits, self._ledger
        both = (*half.held, *half.peer.held)
        if len(both) >= limits.held_packets or (
            sum(other.size for other in both) + held.size > limits.held_bytes
        ):
            return False, []
        evicted: list[Held] = []
        while (
            ledger.held_packets >= limits.held_packets_total
            or ledger.held_bytes + held.size > limits.held_bytes_total
        ):
            largest = max(self._holders, key=_bytes_held, default=None)
            if largest is None or _bytes_held(largest) <= _bytes_held(half) + held.size:
                return False, evicted
            evicted.append(self._take(largest, -1))
        insort(half.held, held, key=_sequence)
        self._holders[half] = None
        ledger.held_packets += 1
        ledger.held_bytes += held.size
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
        return list(self._holders)

    def _take(self, half: Half, index: int) -> Held:
        held = half.held.pop(index)
        self._ledger.held_packets -= 1
        self._ledger.held_bytes -= held.size
        if not half.held:
            del self._holders[half]
        return held


def _sequence(held: Held) -> int:
    return held.sequence


def _bytes_held(half: Half) -> int:
    return sum(held.size for held in half.held)
