"""What the filter owes the sender of a stream while segments wait behind a gap."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from nfinspect.tcp.ranges import Ranges


class Untold(NamedTuple):
    """A segment that was held, and of which the sender has not been told."""

    due: int
    """It is told once the receiver has acknowledged up to here: what had passed before it came."""
    start: int
    end: int
    segments: int
    """As how many it would have reached the receiver, which acknowledges each."""


class Gap:
    """Begins with the first segment that is held behind a gap, and ends when the receiver has
    acknowledged everything that the sender was told of."""

    __slots__ = ("latest", "probes", "told", "untold")

    def __init__(self) -> None:
        self.told = Ranges()
        """What the sender was told has arrived (SACK), and the receiver has not acknowledged: it is
        held, or has passed meanwhile."""
        self.latest: list[int] = []
        """A number in each of the ranges that grew last, the last one first."""
        self.untold: deque[Untold] = deque()
        self.probes: list[int] = []
        """The bytes that were repeated to the receiver, and whose repetition it may yet report."""
