"""Lengths of lines, and where they are over a limit, at C speed.

A line ends at its LF, bare or not, as it does for servers and mail readers. Its length is without CR
LF and without a stuffed dot (docs/appliance.md, section 10).
"""

from __future__ import annotations

import re
from typing import Final

CR: Final = 13
LF: Final = 10
DOT: Final = 46

_MOST_REPEATED: Final = 2**32 - 2
"""Of what an expression may repeat."""


def line_length(data: bytes, start: int, stop: int) -> int:
    """Length of the line ``data[start:stop]`` (without LF), not counting a stuffed dot or a final
    CR, whose LF may be still to come."""
    if start == stop:
        return 0
    return stop - start - (data[stop - 1] == CR) - (data[start] == DOT)


def first_long_line(data: bytes, start: int, end: int, limit: int) -> int:
    """Where the first line in ``data[start:end]`` that is longer than ``limit`` begins; -1 if there
    is none. ``start`` must be the start of a line; the last line may be unfinished."""
    newest = data.rfind
    window = limit + 1
    while end - start > limit:
        newline = newest(b"\n", start, start + window)
        if newline >= 0:
            # All lines up to here lie within the window, and none is longer than the limit.
            start = newline + 1
            continue
        newline = data.find(b"\n", start, end)
        stop = end if newline < 0 else newline
        if line_length(data, start, stop) > limit:
            return start
        if newline < 0:
            return -1
        start = newline + 1
    return -1


def long_lines(data: bytes, start: int, end: int, limits: tuple[int, ...]) -> list[tuple[int, int]]:
    """Where lines in ``data[start:end]`` begin, and their lengths: for each of the ascending limits
    there is the first line that is longer. In one pass, however many limits there are."""
    found: list[tuple[int, int]] = []
    index, count = 0, len(limits)
    while index < count:
        position = first_long_line(data, start, end, limits[index])
        if position < 0:
            break
        newline = data.find(b"\n", position, end)
        length = line_length(data, position, end if newline < 0 else newline)
        found.append((position, length))
        while index < count and limits[index] < length:
            index += 1
        start = newline + 1
        if not start:
            break
    return found


class ShortLine:
    """Finds finished lines that are not longer than a limit."""

    __slots__ = ("_here", "_upcoming", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        line = rb"\.?+[^\n]{0,%d}+\r?\n" % min(limit, _MOST_REPEATED)
        self._here = re.compile(line)
        self._upcoming = re.compile(rb"\n(?=" + line + rb")")

    def first(self, data: bytes, start: int, end: int) -> int:
        """Where the first one in ``data[start:end]`` begins; -1 if there is none. ``start`` must be the
        start of a line."""
        if self._here.match(data, start, end) is not None:
            return start
        found = self._upcoming.search(data, start, end)
        return -1 if found is None else found.end()


def short_lines(
    data: bytes, start: int, end: int, limits: tuple[ShortLine, ...]
) -> list[tuple[int, int]]:
    """The same as `long_lines` for the first finished line that is not longer than each of the
    descending limits."""
    found: list[tuple[int, int]] = []
    index, count = 0, len(limits)
    while index < count and start < end:
        position = limits[index].first(data, start, end)
        if position < 0:
            break
        newline = data.find(b"\n", position, end)
        length = line_length(data, position, newline)
        found.append((position, length))
        while index < count and limits[index].limit >= length:
            index += 1
        start = newline + 1
    return found


def stuffed_dots(data: bytes, start: int, end: int, within_line: bool) -> int:
    """How many lines that begin in ``data[start:end]`` begin with a dot. ``within_line``: ``start``
    is not the start of a line."""
    if start >= end:
        return 0
    first = not within_line and data[start] == DOT
    return first + data.count(b"\n.", start, end)
