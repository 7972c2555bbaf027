"""Timers by the second: each key has at most one, and one that is cancelled leaves nothing behind.

Setting and cancelling cost the same however many there are. Only the timers of the second that comes next
are sorted.
"""

from __future__ import annotations

import heapq


class Timers:
    """Who sets a timer remembers its time, and names it to cancel it. A timer of the second that is
    sorted stays when it is cancelled: whoever takes it compares it with the time that it remembers.
    """

    __slots__ = ("_later", "_next", "_number", "_sorted_until")

    def __init__(self) -> None:
        self._later: dict[int, dict[bytes, float]] = {}
        """Keys and their times, by the second in which they are due."""
        self._next: list[tuple[float, int, bytes]] = []
        """A heap of those due in the seconds before ``_sorted_until``, with a running number: of the
        same time, the one set first comes first."""
        self._sorted_until = 0
        self._number = 0

    def __len__(self) -> int:
        return len(self._next) + sum(map(len, self._later.values()))

    def set(self, key: bytes, when: float) -> None:
        """Set a timer for a key that has none."""
        second = int(when)
        if second < self._sorted_until:
            self._push(when, key)
            return
        slot = self._later.get(second)
        if slot is None:
            self._later[second] = {key: when}
        else:
            slot[key] = when

    def cancel(self, key: bytes, when: float) -> None:
        """Cancel the timer that was set for ``when``."""
        second = int(when)
        slot = self._later.get(second)
        if slot is not None and slot.pop(key, None) is not None and not slot:
            del self._later[second]

    def deadline(self) -> float | None:
        """When the next one is due; None if none is set."""
        if not self._next:
            if not self._later:
                return None
            second = min(self._later)
            for key, when in self._later.pop(second).items():
                self._push(when, key)
            self._sorted_until = max(self._sorted_until, second + 1)
        return self._next[0][0]

    def take(self, now: float) -> tuple[float, bytes] | None:
        """Remove and return the next one that is due: its time and its key."""
        deadline = self.deadline()
        if deadline is None or deadline > now:
            return None
        when, _, key = heapq.heappop(self._next)
        return when, key

    def _push(self, when: float, key: bytes) -> None:
        self._number += 1
        heapq.heappush(self._next, (when, self._number, key))
