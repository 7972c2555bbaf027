"""When each packet of a capture is played.

No host answers a packet that it has not got. So whatever the pace, a packet of a connection is sent only
when the connection's SYN is decided: a SYN may be decided later than packets that come after it,
and connection tracking knows a connection only from then on. Apart from that a filter may have any number
of packets to decide at once.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from nfinspect.lab.sender import Turn
from nfinspect.packet.segment import ACK, SYN, Segment, parse
from nfinspect.replay.capture import SECOND
from nfinspect.replay.judge import Expected
from nfinspect.replay.playable import Playable


class PaceKind(enum.Enum):
    """What a packet waits for."""

    DECIDED = enum.auto()
    """Until the one before it is decided."""
    CAPTURE = enum.auto()
    """Until its time, by the capture."""
    RATE = enum.auto()
    """Until its time, at a constant rate."""
    NOTHING = enum.auto()


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast packets are sent."""

    kind: PaceKind = PaceKind.DECIDED
    factor: float = 1.0
    """Times the capture's speed, or packets per second."""


def turns(source: Playable, pace: Pace, expected: Expected) -> list[Turn]:
    """When each packet is sent; *expected*: what they bring about one after another."""
    counts = zip(expected.held, expected.out, strict=True)
    held = out = 0
    found = []
    opening: set[bytes] = set()
    start = source.packets[0].time
    for position, packet in enumerate(source.packets):
        segment = parse(packet.datagram, len(packet.datagram))
        waits = pace.kind is PaceKind.DECIDED
        if isinstance(segment, Segment):
            connection = min(segment.key, segment.reverse_key)
            if connection in opening:
                waits = True
            if waits:
                opening.clear()
            if segment.flags & (SYN | ACK) == SYN:
                opening.add(connection)
        due = 0.0
        if pace.kind is PaceKind.CAPTURE:
            due = (packet.time - start) / SECOND / pace.factor
        elif pace.kind is PaceKind.RATE:
            due = position / pace.factor
        if packet.completes:
            held, out = next(counts)
        found.append(Turn(waits, due, held, out, packet.completes))
    return found
