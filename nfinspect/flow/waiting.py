"""What waits in silence: the client's bytes that a reply must precede, and a line that the client
takes for finished but the server does not.

A wait is noted where a packet is held, cut or masked; packets on the ordinary path cost nothing.
Nothing watches for its end either. Once it has lasted for ``PATIENCE``, it is checked whether the
direction still stands where it stood; only then is it reported, once. Waits that have been reported
are kept until the connection is no longer inspected or waits for something else, so that those
which still last can be counted. A connection has at most one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nfinspect.arrival import Token
from nfinspect.events import Event, LineUnended, ReplyAwaited
from nfinspect.tcp.inspection import StreamInspector
from nfinspect.tcp.stream import Stream

PATIENCE: Final = 5.0
"""Seconds after which a wait is reported."""


@dataclass(slots=True)
class Wait:
    """Where a client's stream stands still, and since when."""

    start: int
    """The sequence number of the line's first byte."""
    end: int
    """The sequence number after the last byte that has arrived in order."""
    line: bytes
    since: float
    """A held packet may have arrived long before what makes it wait now: this is the time of the
    packet being decided, which is the connection's latest."""
    token: Token
    """The packet at which it began."""
    unended: bool
    """The line has passed, but has not ended; otherwise it must wait for a reply."""

    def lasts(self, stream: Stream, inspector: StreamInspector) -> bool:
        """Whether the stream still stands where it stood."""
        if self.unended:
            unended = inspector.unended
            return unended > 0 and stream.next - unended == self.start
        return stream.next == self.start and bool(inspector.awaits)


class Waiting:
    """The waits of all connections, of which none has more than one."""

    __slots__ = ("_fresh", "_reported")

    def __init__(self) -> None:
        self._fresh: OrderedDict[Stream, Wait] = OrderedDict()
        """Oldest first."""
        self._reported: dict[Stream, Wait] = {}

    def for_reply(self, stream: Stream, start: int, data: bytes, token: Token) -> None:
        """A packet with ``data`` at ``start`` was held, cut or dropped: does its sender have to wait
        for a reply?"""
        inspector = stream.connection.inspector
        if inspector is None or not inspector.awaits:
            return
        end = start + len(data)
        known = self._known(stream, start)
        if known is None:
            line, since = inspector.waiting_line(data), stream.connection.last_seen
            self._fresh[stream] = Wait(start, end, line, since, token, unended=False)
        elif known.end < end:
            known.end = end

    def for_line_end(self, stream: Stream, end: int, token: Token) -> None:
        """A command line was masked, and ``end`` follows the packet's last byte: is the line one
        that its sender takes for finished?"""
        inspector = stream.connection.inspector
        if inspector is None or not inspector.unended:
            return
        start = end - inspector.unended
        if self._known(stream, start) is None:
            line, since = inspector.unended_line, stream.connection.last_seen
            self._fresh[stream] = Wait(start, end, line, since, token, unended=True)

    def forget(self, stream: Stream) -> None:
        """The connection has ended, or is no longer inspected."""
        self._fresh.pop(stream, None)
        self._reported.pop(stream, None)

    def deadline(self) -> float | None:
        """When the oldest wait is due to be reported."""
        if not self._fresh:
            return None
        return next(iter(self._fresh.values())).since + PATIENCE

    def due(self, now: float, *, all_of_them: bool = False) -> Iterator[tuple[Event, Token]]:
        """The waits that have lasted for ``PATIENCE``, or ``all_of_them``, each with the packet at
        which it began; each is reported once."""
        fresh = self._fresh
        while fresh:
            stream, wait = next(iter(fresh.items()))
            if not all_of_them and now < wait.since + PATIENCE:
                break
            del fresh[stream]
            inspector = stream.connection.inspector
            if inspector is not None and wait.lasts(stream, inspector):
                duration = round(now - wait.since, 6)
                yield _event(stream, inspector, wait, duration), wait.token
                wait.token = None
                self._reported[stream] = wait

    def lasting(self) -> tuple[int, int]:
        """How many of the reported waits still last: for a reply, and for the end of a line."""
        counts = [0, 0]
        for stream, wait in self._reported.items():
            inspector = stream.connection.inspector
            if inspector is not None and wait.lasts(stream, inspector):
                counts[wait.unended] += 1
        return counts[0], counts[1]

    def _known(self, stream: Stream, start: int) -> Wait | None:
        """The wait of this stream if it began at ``start``; an earlier one is over."""
        wait = self._fresh.get(stream) or self._reported.get(stream)
        if wait is not None and wait.start != start:
            self.forget(stream)
            return None
        return wait


def _event(
    stream: Stream, inspector: StreamInspector, wait: Wait, duration: float
) -> ReplyAwaited | LineUnended:
    identity = stream.connection.identity
    if wait.unended:
        return LineUnended(identity, wait.line, duration)
    end = max(wait.end, stream.held[-1].end) if stream.held else wait.end
    count = end - wait.start
    return ReplyAwaited(
        identity, wait.line, count, inspector.awaits, inspector.outstanding, duration
    )
