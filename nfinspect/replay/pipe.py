"""Reading a capture that is still being made: ``tcpdump … | nfinspect replay -``."""

from __future__ import annotations

import select
from time import monotonic

PATIENCE = 1.0
"""Seconds for which packets may wait for later ones, to be sorted, before they are replayed."""

LAST = 2.0
"""Seconds for which a capture that is to end is still read."""


class Pipe:
    """Decides how long to wait for a capture's next bytes (see `capture.Awaited`).

    What has been read is replayed at the latest `PATIENCE` seconds after the last pause, if then
    there is nothing to read. `stop` ends the capture as if its writer had ended: what the writer
    has sent, or sends at its own end, is still read.
    """

    def __init__(self, descriptor: int) -> None:
        self.ended = False
        self._stop_at = float("inf")
        self._released = monotonic()
        self._readable = select.poll()
        self._readable.register(descriptor, select.POLLIN)

    def stop(self) -> None:
        """End when nothing more comes for a while, and within `LAST` seconds. For a signal
        handler."""
        self._stop_at = min(self._stop_at, monotonic() + LAST)

    def wait(self) -> bool:
        """Wait until there is something to read, or until it is time to go on without."""
        now = monotonic()
        stopping = self._stop_at < float("inf")
        if now >= self._stop_at:
            self.ended = True
            return False
        patience = PATIENCE if stopping else max(0.0, self._released + PATIENCE - now)
        if self._poll(min(patience, self._stop_at - now)):
            return True
        self.ended = stopping
        self._released = monotonic()
        return False

    def _poll(self, seconds: float) -> bool:
        return bool(self._readable.poll(seconds * 1000))
