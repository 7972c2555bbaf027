"""A segment at its place in the stream that it belongs to."""

from __future__ import annotations

from nfinspect.arrival import Arrival
from nfinspect.packet.segment import Segment


class PlacedSegment:
    """What a stream knows of a packet that waits in it (``flow/passage.py``). Numbers are absolute
    (``sequence.py``)."""

    __slots__ = ("arrival", "end", "segment", "sequence")

    arrival: Arrival
    segment: Segment
    sequence: int
    """Of its first payload byte."""
    end: int
    """The sequence number after its last payload byte; a FIN comes next."""
