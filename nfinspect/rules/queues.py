"""The numbers of the queues: SYNs have one of their own beside each that carries data."""

from __future__ import annotations

from typing import Final

SYN_QUEUES: Final = 0x8000
"""Added to the number of a queue for data. So neighbours may be another filter's, and a balanced SYN gets
to the worker that gets the rest of its connection."""

MOST: Final = SYN_QUEUES - 1
"""The highest number of a queue for data."""


def syn_queue(number: int) -> int:
    """Return the number of the queue for SYNs beside queue *number*."""
    return SYN_QUEUES + number
