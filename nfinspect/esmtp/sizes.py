"""The length of a message's header or body: bytes with their line ends, without stuffed dots, as
RFC 1870 section 5 counts. The empty line between the two and the final dot belong to neither."""

from __future__ import annotations

from bisect import bisect_left

from nfinspect.esmtp.asked import Bounds
from nfinspect.esmtp.evaluation import Fact
from nfinspect.esmtp.lines import stuffed_dots
from nfinspect.policy.criteria import Criterion


class Size:
    """How much of it has arrived."""

    __slots__ = ("bytes", "criterion", "doubtful")

    def __init__(self, criterion: Criterion) -> None:
        self.criterion = criterion
        self.bytes = 0
        self.doubtful = 0
        """1 for a CR, not counted yet, that may belong to the empty line or to the final dot."""

    def add(
        self,
        bounds: Bounds,
        data: bytes,
        start: int,
        stop: int,
        within_line: bool,
        doubtful: bool,
        facts: list[Fact],
    ) -> None:
        """``data[start:stop]`` belongs to it, all that this packet has of it. ``doubtful``: its last
        byte is such a CR."""
        before = self.bytes
        if stop > start:
            dots = stuffed_dots(data, start, stop, within_line)
            self.bytes += self.doubtful + stop - start - dots - doubtful
            self._compare(bounds, data, start, within_line, before, facts)
        self.doubtful = int(doubtful)

    def end(self, bounds: Bounds, position: int, facts: list[Fact]) -> None:
        """It ends at ``position``."""
        if self.bytes <= bounds.highest:
            facts.append(
                Fact(self.criterion, position, self.bytes, before=self.bytes, complete=True)
            )

    def _compare(
        self,
        bounds: Bounds,
        data: bytes,
        start: int,
        within_line: bool,
        before: int,
        facts: list[Fact],
    ) -> None:
        """Report each limit at the byte that exceeds it."""
        limits = bounds.above
        first, last = bisect_left(limits, before), bisect_left(limits, self.bytes)
        for index in range(first, last):
            limit = limits[index]
            # Dots are skipped: go forward until as many bytes as are over have been counted.
            more = limit + 1 - before - self.doubtful
            stop = start + max(more, 1)
            while (
                missing := more - (stop - start - stuffed_dots(data, start, stop, within_line))
            ) > 0:
                stop += missing
            value = self.bytes if index + 1 == last else limits[index + 1]
            facts.append(Fact(self.criterion, stop - 1, value, before=limit))
