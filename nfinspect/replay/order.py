"""Packets in the order of their times, from one capture or from several.

Captures are not always sorted: the kernel hands packets of several interfaces or processors over in
bursts, and tools append one capture to another. Packets are sorted by time within a window; they
keep their numbers. The window is also what a decision may look ahead at (``ahead``).

Times may be wrong too, where a clock was set back or a program has made them up. So the order within
a connection is changed only if TCP shows it to be wrong: fewer segments must then acknowledge what has
not been sent yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from heapq import heappop, heappush, heapreplace
from itertools import islice
from operator import attrgetter

from nfinspect.packet.segment import ACK, FIN, SYN, Segment
from nfinspect.replay.capture import PAUSE, Capture, Frame

WINDOW = 1024
"""Packets. One that is late by up to half as many is sorted into its place."""
WINDOW_BYTES = 4 * 1024 * 1024
"""Bytes of packets after which a window is full, too."""

_time = attrgetter("time")


class Ordered:
    """An iterator of *frames* in the order of their times; equal times keep their order. At a
    `PAUSE` nothing is kept waiting."""

    def __init__(
        self,
        frames: Iterable[Frame],
        late: Callable[[Frame], None],
        segment_of: Callable[[Frame], Segment | None],
    ) -> None:
        """*late* is told of every frame that was sorted into an earlier place."""
        self._frames = iter(frames)
        self._late = late
        self._segment_of = segment_of
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
            late: list[Frame] = []
            more = paused = False
            for frame in islice(self._frames, WINDOW - len(waiting)):
                more = True
                if frame is PAUSE:
                    paused = True
                    break
                waiting.append(frame)
                if frame.time >= latest:
                    latest = frame.time
                else:
                    late.append(frame)
                size += len(frame.data)
                if size >= WINDOW_BYTES:
                    break
            if late:
                waiting = self._sorted(waiting, late)
            self._window = waiting
            count = (len(waiting) + 1) // 2 if more and not paused else len(waiting)
            for position in range(count):
                self._position = position + 1
                yield waiting[position]

    def _sorted(self, frames: list[Frame], late: list[Frame]) -> list[Frame]:
        by_time = sorted(frames, key=_time)
        as_read, as_timed = self._segments(frames), self._segments(by_time)
        before, after = contradictions(as_read), contradictions(as_timed)
        if after > before or (
            after == before and by_connection(as_read) != by_connection(as_timed)
        ):
            return frames
        for frame in late:
            self._late(frame)
        return by_time

    def _segments(self, frames: list[Frame]) -> list[Segment]:
        return [each for frame in frames if (each := self._segment_of(frame)) is not None]


def contradictions(segments: list[Segment]) -> int:
    """Segments that acknowledge what the other end has not sent yet, in this order."""
    ends: dict[bytes, int] = {}
    for segment in segments:  # where each direction begins
        if _after(ends.get(segment.key, segment.sequence + 1), segment.sequence):
            ends[segment.key] = segment.sequence
    count = 0
    for segment in segments:
        flags, key = segment.flags, segment.key
        sent = ends.get(segment.reverse_key)
        if flags & ACK and sent is not None:
            count += _after(segment.acknowledgment, sent)
        end = segment.sequence + segment.length + bool(flags & SYN) + (flags & FIN) & 0xFFFF_FFFF
        if flags & SYN or _after(end, ends[key]):
            ends[key] = end
    return count


def by_connection(segments: list[Segment]) -> dict[bytes, list[bytes]]:
    """The segments of each connection in their order."""
    found: dict[bytes, list[bytes]] = {}
    for segment in segments:
        found.setdefault(min(segment.key, segment.reverse_key), []).append(segment.datagram)
    return found


def _after(number: int, other: int) -> bool:
    return 0 < (number - other & 0xFFFF_FFFF) < 0x8000_0000


class Source:
    """A capture that is opened when its first packet is due."""

    def __init__(
        self, first: int, size: int, opened: Callable[[], AbstractContextManager[Capture]]
    ):
        """*first*: the time of its first packet; *size*: bytes of the file."""
        self.first = first
        self.size = size
        self.capture: Capture | None = None
        self.ended = False
        self._opened = opened

    def frames(self) -> Iterator[Frame]:
        """Its packets; the file is open in the meantime."""
        with self._opened() as self.capture:
            yield from self.capture
        self.ended = True

    @property
    def position(self) -> int:
        """Bytes read so far."""
        if self.ended or self.capture is None:
            return self.size if self.ended else 0
        return self.capture.position or 0


class Merged:
    """Several captures as one, in the order of time."""

    def __init__(self, sources: list[Source], late: Callable[[Frame], None]) -> None:
        """*late* is told of every packet that is out of its place in the given order."""
        self.sources = sources
        self._late = late

    def __iter__(self) -> Iterator[Frame]:
        waiting = deque(sorted(self.sources, key=attrgetter("first")))
        open_: list[tuple[int, int, Frame, Iterator[Frame]]] = []
        latest = 0
        while waiting or open_:
            while waiting and (not open_ or waiting[0].first <= open_[0][0]):
                frames = waiting.popleft().frames()
                frame = next(frames, None)
                if frame is not None:
                    heappush(open_, (frame.time, frame.number, frame, frames))
            if not open_:
                continue
            _, _, frame, frames = open_[0]
            if frame.number > latest:
                latest = frame.number
            else:
                self._late(frame)
            yield frame
            frame = next(frames, None)
            if frame is None:
                heappop(open_)
            else:
                heapreplace(open_, (frame.time, frame.number, frame, frames))
