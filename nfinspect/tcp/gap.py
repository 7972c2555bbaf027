"""What the filter has reported, and has yet to report, to the sender about segments beyond a
gap."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from nfinspect.tcp.limits import Ledger
from nfinspect.tcp.ranges import SequenceRanges

MOST_BLOCKS: Final = 4
"""SACK blocks that fit into one segment (RFC 2018 section 3)."""
MAX_PROBES: Final = 8
"""Probes remembered per gap. The D-SACK of an older one may reach the sender."""
PROBE_LIFE: Final = 1 << 18
"""Once the receiver has acknowledged this many bytes beyond a probe, its D-SACK counts as lost."""


class Unreported(NamedTuple):
    """A held segment not yet reported to the sender."""

    due: int
    """Report it once the receiver has acknowledged up to here: all that passed before it
    arrived."""
    start: int
    end: int
    segments: int
    """How many segments the receiver would have seen and acknowledged (more than one with GSO)."""


class Gap:
    """Exists from the first segment held beyond a gap until the receiver has acknowledged
    everything that was reported to the sender."""

    __slots__ = ("_ledger", "ack_lost", "counted", "latest", "probes", "reported", "unreported")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.reported = SequenceRanges()
        """Reported to the sender (SACK) and not yet acknowledged by the receiver; still held, or
        passed meanwhile."""
        self.latest: list[int] = []
        """A sequence number in each of the ranges that grew last, the most recent first."""
        self.unreported: deque[Unreported] = deque()
        self.ack_lost = False
        """The sender has repeated acknowledged bytes: the receiver's next ACK must reach it, even if
        its SACK blocks have been reported."""
        self.counted = 0
        """How many of both are in the ledger."""
        self.probes: list[int] = []
        """Sequence numbers of bytes repeated to the receiver, whose D-SACK may still arrive."""

    def __repr__(self) -> str:
        reported = ", ".join(f"{start} to {end}" for start, end in self.reported)
        return f"<Gap reported [{reported}] unreported {len(self.unreported)}>"

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """The ranges that grew last, the most recent first, each once."""
        ranges = dict.fromkeys(self.reported.containing(number) for number in self.latest)
        return [block for block in ranges if block is not None]

    def note_repetition(self) -> None:
        """The sender repeats acknowledged bytes."""
        self.ack_lost = True

    def note_passed_acknowledgement(self) -> None:
        """An ACK of the receiver goes to the sender."""
        self.ack_lost = False

    def add(self, unreported: Unreported) -> None:
        self.unreported.append(unreported)
        self._count()

    def next_due(self, reached: int) -> Unreported | None:
        """Take the next segment to be reported, now that the receiver has acknowledged up to
        ``reached``."""
        if not self.unreported or self.unreported[0].due > reached:
            return None
        found = self.unreported.popleft()
        self._count()
        return found

    def continues(self, end: int, reached: int) -> bool:
        """Whether the next segment to be reported begins at ``end``."""
        following = self.unreported[0] if self.unreported else None
        return following is not None and following.start == end and following.due <= reached

    def report(self, start: int, end: int) -> None:
        """The sender is told of these bytes."""
        self.reported.add(start, end)
        left, right = self.reported.containing(start) or (start, end)
        others = [other for other in self.latest if not left <= other < right]
        self.latest = [start, *others[: MOST_BLOCKS - 1]]
        self._count()

    def retract(self, cut: int) -> None:
        """What lies beyond ``cut`` is no longer held."""
        self.reported.cut(cut)
        self.latest = [min(number, cut - 1) for number in self.latest]
        self.unreported = deque(each for each in self.unreported if each.start < cut)
        self._count()

    def retract_rest(self, start: int, cut: int) -> None:
        """The segment that began at ``start`` has passed, but only up to ``cut``."""
        self.reported.cut(cut)
        self.unreported = deque(each for each in self.unreported if each.start != start)
        self._count()

    def acknowledge(self, reached: int) -> None:
        """The receiver's own ACK has gone to the sender."""
        self.reported.forget_below(reached)
        lost = self.reported.containing(reached)
        if lost is not None:
            # This has passed but did not reach the receiver, whose own ACKs report it from now on.
            self.reported.forget_below(lost[1])
        while self.unreported and self.unreported[0].end <= reached:
            self.unreported.popleft()
        self._count()

    def is_over(self, reached: int) -> bool:
        """Whether nothing can come of it any more."""
        nothing_left = not (self.reported or self.unreported)
        return nothing_left and (not self.probes or reached > self.probes[-1] + PROBE_LIFE)

    def probe(self, number: int) -> None:
        """The byte at ``number`` is repeated to the receiver."""
        self.probes = [*self.probes[1 - MAX_PROBES :], number]

    def probe_answered(self, number: int) -> None:
        self.probes.remove(number)

    def forget(self) -> None:
        self._ledger.reports -= self.counted
        self.counted = 0

    def _count(self) -> None:
        """Keep the ledger after reports were added or removed."""
        counted = len(self.unreported) + len(self.reported)
        self._ledger.reports += counted - self.counted
        self.counted = counted
