"""What the kernel's SYNPROXY counts: /proc/net/stat/synproxy, one line for each processor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

# For the network namespace of this process, like everything under /proc/net.
TABLE = Path("/proc/net/stat/synproxy")

WINDOW = 10.0
"""Seconds over which SYNs are counted."""

EMBRYONIC = 3
"""Windows: how long they would be embryonic connections by default."""

ALL = 1 << 32
"""Each counter begins anew there."""


def parse(table: str) -> int:
    """Return the SYNs answered less the handshakes completed, modulo `ALL`; 0 if the table has none of
    them."""
    head, *lines = table.splitlines() or [""]
    names = head.split()
    if not {"syn_received", "cookie_valid"} <= set(names):
        return 0
    answered, valid = names.index("syn_received"), names.index("cookie_valid")
    rows = [line.split() for line in lines]
    return sum(int(row[answered], 16) - int(row[valid], 16) for row in rows) % ALL


def unproven() -> int:
    """Return what `parse` finds now."""
    try:
        return parse(TABLE.read_text())
    except FileNotFoundError:  # nobody has used it yet
        return 0


class Lately:
    """How many embryonic connections there would be if the kernel did not answer SYNs: of as many no client
    has completed the handshake."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read
        self._seen: deque[tuple[float, int]] = deque()

    def forget(self) -> None:
        """Begin anew."""
        self._seen.clear()

    def count(self, now: float) -> int:
        """Count what came in the last `WINDOW`; to be called again and again."""
        seen, found = self._seen, self._read()
        seen.append((now, found))
        while len(seen) > 1 and seen[1][0] <= now - WINDOW:
            seen.popleft()
        more = (found - seen[0][1]) % ALL
        # A handshake may be completed in a later window than it began.
        return more * EMBRYONIC if more < ALL // 2 else 0
