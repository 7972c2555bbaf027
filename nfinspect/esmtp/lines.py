"""Lengths of lines, and where they are over a limit, at C speed.

A line ends at its LF, bare or not, as it does for servers and mail readers. Its length is without CR
LF and without a stuffed dot (docs/appliance.md, section 10).
"""

from __future__ import annotations

from typing import Final

CR: Final = 13
LF: Final = 10
DOT: Final = 46


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


def short_lines(
    data: bytes, start: int, end: int, limits: tuple[int, ...]
) -> list[tuple[int, int]]:
    """The same for the first finished line that is not longer than each of the descending limits."""
    found: list[tuple[int, int]] = []
    index, count = 0, len(limits)
    while index < count:
        newline = data.find(b"\n", start, end)
        if newline < 0:
            break
        length = line_length(data, start, newline)
        if length <= limits[index]:
            found.append((start, length))
            while index < count and limits[index] >= length:
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
