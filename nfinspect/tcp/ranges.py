"""Sets of absolute sequence numbers, as ranges that neither overlap nor touch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Ranges:
    """In ascending order; a range has its first number and the one behind its last."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __iter__(self) -> zip[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def add(self, start: int, end: int) -> None:
        """Put these in, joined with what they overlap or touch."""
        starts, ends = self._starts, self._ends
        first, behind = bisect_left(ends, start), bisect_right(starts, end)
        if first < behind:
            start, end = min(start, starts[first]), max(end, ends[behind - 1])
        starts[first:behind] = [start]
        ends[first:behind] = [end]

    def around(self, number: int) -> tuple[int, int] | None:
        """The range that *number* lies in."""
        at = bisect_right(self._starts, number) - 1
        if at < 0 or number >= self._ends[at]:
            return None
        return self._starts[at], self._ends[at]

    def forget_below(self, number: int) -> None:
        """Take out the ranges that end at or before *number*."""
        behind = bisect_right(self._ends, number)
        del self._starts[:behind], self._ends[:behind]

    def cut(self, number: int) -> None:
        """Take out everything from *number* on."""
        behind = bisect_left(self._starts, number)
        del self._starts[behind:], self._ends[behind:]
        if behind and self._ends[-1] > number:
            self._ends[-1] = number
