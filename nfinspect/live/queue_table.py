"""The kernel's own figures of a queue: /proc/net/netfilter/nfnetlink_queue."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

# Of the network namespace of this process, as everything under /proc/net.
TABLE = Path("/proc/net/netfilter/nfnetlink_queue")


class QueueRow(NamedTuple):
    """One line of the table: a queue that some process has bound."""

    number: int
    port: int
    """The netlink port of its owner, most often the process id."""
    waiting: int
    """Packets without a verdict."""
    copy_range: int
    """Bytes of a packet that its owner gets to see."""
    queue_dropped: int
    """Dropped because the queue held its maximum already."""
    user_dropped: int
    """Dropped because the owner's receive buffer was full (ENOBUFS there)."""


def parse(table: str) -> dict[int, QueueRow]:
    """Return the rows of the *table* by queue number; lines of another form are left out."""
    rows = {}
    for line in table.splitlines():
        columns = line.split()
        if len(columns) >= 7 and all(map(str.isdecimal, columns[:7])):
            number, port, waiting, _mode, *rest = map(int, columns[:7])
            rows[number] = QueueRow(number, port, waiting, rest[0], rest[1], rest[2])
    return rows


def read(number: int) -> QueueRow | None:
    """Return the row of a queue, None if nobody has bound it or the kernel knows no queues."""
    try:
        return parse(TABLE.read_text()).get(number)
    except FileNotFoundError:
        return None
