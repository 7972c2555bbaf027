"""The kernel's own counters of a queue: /proc/net/netfilter/nfnetlink_queue."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from nfinspect.rules.queues import syn_queue

# For the network namespace of this process, like everything under /proc/net.
TABLE = Path("/proc/net/netfilter/nfnetlink_queue")


class QueueRow(NamedTuple):
    """One line of the table: a queue that a process has bound."""

    number: int
    port: int
    """The netlink port of its owner, usually the process id."""
    waiting: int
    """Packets without a verdict."""
    copy_range: int
    """Bytes of a packet that its owner gets to see, at most."""
    queue_dropped: int
    """Dropped because the queue was full."""
    user_dropped: int
    """Dropped because the owner's receive buffer was full (ENOBUFS there)."""
    last: int
    """The number of the latest packet, from 1."""

    @property
    def lost(self) -> int:
        return self.queue_dropped + self.user_dropped


def parse(table: str) -> dict[int, QueueRow]:
    """Return the rows of the *table* by queue number; lines of any other form are ignored."""
    rows = {}
    for line in table.splitlines():
        columns = line.split()
        if len(columns) >= 8 and all(map(str.isdecimal, columns[:8])):
            number, port, waiting, _mode, *rest = map(int, columns[:8])
            rows[number] = QueueRow(number, port, waiting, *rest)
    return rows


def bound() -> frozenset[int]:
    """Return the numbers of the queues that a process reads."""
    try:
        return frozenset(parse(TABLE.read_text()))
    except FileNotFoundError:
        return frozenset()


def of_filter(number: int) -> tuple[QueueRow | None, QueueRow | None]:
    """Return the rows of a filter's queue and of that for SYNs beside it, as `read` does."""
    return read(number), read(syn_queue(number))


def read(number: int) -> QueueRow | None:
    """Return the row of a queue; None if it is not bound, or NFQUEUE is not available."""
    try:
        return parse(TABLE.read_text()).get(number)
    except FileNotFoundError:
        return None
