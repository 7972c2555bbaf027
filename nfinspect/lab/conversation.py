"""TCP connections as byte streams, and as lines in order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

REQUEST, REPLY = "request", "reply"


@dataclass(slots=True)
class CapturedSegment:
    """One TCP segment of a connection, as captured."""

    number: int
    """Packet number in the capture, from 1."""
    time: float
    direction: str
    offset: int
    """Offset of its first byte in the stream."""
    payload: bytes
    flags: str
    """As scapy writes them: ``SA``, ``PA``, ``R``."""


@dataclass(slots=True)
class ByteStream:
    """The bytes of one direction, each once, up to the first gap."""

    data: bytes = b""
    ends: list[int] = field(default_factory=list)
    """End offsets of the segments that brought new bytes."""
    times: list[float] = field(default_factory=list)
    """When the bytes up to each of these offsets were complete."""
    numbers: list[int] = field(default_factory=list)
    """The packets that completed them."""


@dataclass(slots=True)
class Conversation:
    """One TCP connection in a capture."""

    client: str
    """``ip:port``, for IPv6 ``[ip]:port``."""
    server: str
    segments: list[CapturedSegment] = field(default_factory=list)
    request: ByteStream = field(default_factory=ByteStream)
    reply: ByteStream = field(default_factory=ByteStream)


@dataclass(frozen=True, slots=True)
class CapturedLine:
    """A line of a stream, or the unfinished rest at its end."""

    time: float
    direction: str
    offset: int
    text: bytes
    """Without CR LF."""
    complete: bool
    """Whether it ended in CR LF."""
    cuts: tuple[int, ...]
    """Segment boundaries within the text."""
    packet: int = 0
    """The packet that completed it."""


def lines(conversation: Conversation) -> list[CapturedLine]:
    """Return the lines of both directions, in the order in which they were completed."""
    both = [*_split(conversation.request, REQUEST), *_split(conversation.reply, REPLY)]
    return sorted(both, key=lambda line: line.time)


def reassemble(segments: list[CapturedSegment], direction: str) -> ByteStream:
    """The bytes of one direction: like a receiver, in order, and the first copy of a byte counts."""
    stream = ByteStream()
    data = bytearray()
    waiting: list[tuple[int, int, CapturedSegment]] = []
    for order, segment in enumerate(segments):
        if segment.direction != direction or not segment.payload:
            continue
        heappush(waiting, (segment.offset, order, segment))
        while waiting and waiting[0][0] <= len(data):
            offset, _, each = heappop(waiting)
            fresh = each.payload[len(data) - offset :]
            if fresh:
                data += fresh
                stream.ends.append(len(data))
                stream.times.append(segment.time)
                stream.numbers.append(segment.number)
    stream.data = bytes(data)
    return stream


def _split(stream: ByteStream, direction: str) -> Iterator[CapturedLine]:
    position = 0
    while position < len(stream.data):
        found = stream.data.find(b"\r\n", position)
        end = found if found >= 0 else len(stream.data)
        after = min(end + 2, len(stream.data))
        arrived = bisect_left(stream.ends, after)
        within = stream.ends[bisect_right(stream.ends, position) : bisect_right(stream.ends, end)]
        yield CapturedLine(
            stream.times[arrived],
            direction,
            position,
            stream.data[position:end],
            found >= 0,
            tuple(each - position for each in within),
            stream.numbers[arrived],
        )
        position = after
