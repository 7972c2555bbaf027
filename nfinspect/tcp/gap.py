"""What the filter has reported, and has yet to report, to the sender about segments beyond a
gap."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from nfinspect.tcp.ranges import Ranges


class Unreported(NamedTuple):
    """A held segment not yet reported to the sender."""

    due: int
    """Report it once the receiver has acknowledged up to here: all that passed before it
    arrived."""
    start: int
    end: int
    segments: int
    """How many segments the receiver would have seen and acknowledged (more than one with GSO)."""


class Gap:
    """Exists from the first segment held beyond a gap until the receiver has acknowledged
    everything that was reported to the sender."""

    __slots__ = ("ack_lost", "counted", "latest", "probes", "reported", "unreported")

    def __init__(self) -> None:
        self.reported = Ranges()
        """Reported to the sender (SACK) and not yet acknowledged by the receiver; still held, or
        passed meanwhile."""
        self.latest: list[int] = []
        """A sequence number in each of the ranges that grew last, the most recent first."""
        self.unreported: deque[Unreported] = deque()
        self.ack_lost = False
        """The sender has repeated acknowledged bytes: the receiver's next ACK must reach it, even if
        its SACK blocks have been reported."""
        self.counted = 0
        """How many of both are in the ledger."""
        self.probes: list[int] = []
        """Sequence numbers of bytes repeated to the receiver, whose D-SACK may still arrive."""
