"""Sets of absolute sequence numbers, as ranges that neither overlap nor touch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class SequenceRanges:
    """Half-open ranges (start, end) in ascending order."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> zip[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def add(self, start: int, end: int) -> None:
        """Add a range, merged with those that it overlaps or touches."""
        starts, ends = self._starts, self._ends
        first, stop = bisect_left(ends, start), bisect_right(starts, end)
        if first < stop:
            start, end = min(start, starts[first]), max(end, ends[stop - 1])
        starts[first:stop] = [start]
        ends[first:stop] = [end]

    def containing(self, number: int) -> tuple[int, int] | None:
        """The range that contains *number*; None if none does."""
        at = bisect_right(self._starts, number) - 1
        if at < 0 or number >= self._ends[at]:
            return None
        return self._starts[at], self._ends[at]

    def forget_below(self, number: int) -> None:
        """Remove the ranges that end at or before *number*."""
        stop = bisect_right(self._ends, number)
        del self._starts[:stop], self._ends[:stop]

    def cut(self, number: int) -> None:
        """Remove everything from *number* on."""
        kept = bisect_left(self._starts, number)
        del self._starts[kept:], self._ends[kept:]
        if kept and self._ends[-1] > number:
            self._ends[-1] = number
