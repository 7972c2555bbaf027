"""Packets in the order of their times.

Captures are not always sorted: the kernel hands packets of several interfaces or processors over in
bursts, and tools append one capture to another. Packets are sorted by time within a window; they
keep their numbers. The window is also what a decision may look ahead at (``ahead``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import attrgetter

from nfinspect.replay.capture import Frame

WINDOW = 1024
"""Packets. One that is late by up to half as many is sorted into its place."""
WINDOW_BYTES = 4 * 1024 * 1024
"""Bytes of packets after which a window is full, too."""

_time = attrgetter("time")


class Ordered:
    """An iterator of *frames* in the order of their times; equal times keep their order."""

    def __init__(self, frames: Iterable[Frame], late: Callable[[Frame], None]) -> None:
        """*late* is told of every frame that is earlier than one before it."""
        self._frames = iter(frames)
        self._late = late
        self._window: list[Frame] = []
        self._position = 0

    def ahead(self) -> Iterator[Frame]:
        """The next frames of the window."""
        return islice(self._window, self._position, None)

    def __iter__(self) -> Iterator[Frame]:
        latest = 0
        more = True
        while more:
            waiting = self._window[self._position :]
            size = sum(len(frame.data) for frame in waiting)
            unsorted = more = False
            for frame in self._frames:
                waiting.append(frame)
                if frame.time >= latest:
                    latest = frame.time
                else:
                    unsorted = True
                    self._late(frame)
                size += len(frame.data)
                if len(waiting) >= WINDOW or size >= WINDOW_BYTES:
                    more = True
                    break
            if unsorted:
                waiting.sort(key=_time)
            self._window = waiting
            count = (len(waiting) + 1) // 2 if more else len(waiting)
            for position in range(count):
                self._position = position + 1
                yield waiting[position]
