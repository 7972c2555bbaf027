"""Lines to stdout through a thread, so that a reader that stops reading does not stop the filter.

Stdout may be a terminal (Ctrl-S stops it), a pipe, a systemd socket or a file on a full disk. No
single kind of non-blocking write works for all of them, so a thread does the waiting.

A line is lost if not all of it, with its newline, reached the descriptor.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread
from time import monotonic

LIMIT = 4 * 1024 * 1024
"""Characters that may wait to be written; further lines are lost, and counted."""

RETRY = 1.0
"""Seconds after which the thread tries again, after an error."""

LOOK = 0.1
"""Seconds for which the thread waits for the reader before it looks whether it should stop."""

REPORT_PERIOD = 60.0
"""Seconds, at least, between two reports of the same trouble."""


class LineWriter:
    """Writes lines to a file descriptor. Use it from one thread only."""

    def __init__(
        self, descriptor: int, report: Callable[[str], None], name: str = "stdout"
    ) -> None:
        """Write to *descriptor*, which messages call *name*; *report* prints such a message for the
        operator."""
        self._descriptor = descriptor
        self._report = report
        self._name = name
        self._lines: list[str] = []
        # Each of these is written by one thread only, so no lock is needed.
        self._taken = self._written = 0
        """Characters."""
        self._accepted = self._delivered = self._refused = 0
        """Lines."""
        self._error: str | None = None
        """Why the last attempt to write failed."""
        self._closed = False
        """The reader has gone away, which is final."""
        self._finished = False
        self._told_error: str | None = None
        self._told_lost = 0
        self._tell_after = float("-inf")
        self._in_trouble = False
        """Trouble has been reported, and has not ended."""
        self._stopping = Event()
        self._chunks: SimpleQueue[str | Event | None] = SimpleQueue()
        self._writable = select.poll()
        self._writable.register(descriptor, select.POLLOUT)
        self._thread = Thread(target=self._work, name=f"lines to {name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Lines handed over that have not been written, and may still be."""
        return 0 if self._over else self._accepted - self._delivered

    @property
    def lost(self) -> int:
        """Lines that will never reach the descriptor, those that wait not included."""
        return self._refused + (self._accepted - self._delivered if self._over else 0)

    @property
    def _over(self) -> bool:
        """Nothing more can be written."""
        return self._closed or self._finished

    def write(self, line: str) -> None:
        """Accept one line (or several), without the last newline."""
        length = len(line) + 1
        if self._over or self._taken + length - self._written > LIMIT:
            self._refused += 1 + line.count("\n")
            return
        self._taken += length
        self._lines.append(line)

    def flush(self) -> None:
        """Hand the accepted lines to the thread; report it if lines are lost or cannot be written,
        and when that is over."""
        if self._lines:
            self._lines.append("")
            chunk = "\n".join(self._lines)
            self._accepted += chunk.count("\n")
            self._chunks.put(chunk)
            self._lines = []
        self._tell()

    def drain(self, timeout: float) -> bool:
        """Return, within *timeout* seconds, whether all accepted lines have been written."""
        self.flush()
        reached = Event()
        self._chunks.put(reached)
        reached.wait(timeout)
        return self._delivered == self._accepted

    def finish(self, timeout: float) -> bool:
        """The same; then stop. What has not been written by now is lost."""
        drained = self.drain(timeout)
        self._stopping.set()
        self._chunks.put(None)
        self._thread.join(RETRY)  # longer only if the descriptor neither takes nor refuses a write
        self._finished = True
        return drained

    def _tell(self) -> None:
        """Report trouble: each error at once, the same or growing losses once in a while."""
        error, lost = self._error, self.lost
        failing = error is not None and (error != self._told_error or not self._in_trouble)
        if failing or lost > self._told_lost:
            now = monotonic()
            if now < self._tell_after and error in (None, self._told_error):
                return
            if self._closed:
                trouble = f"failed ({error}): no more lines"
            elif error is not None:
                trouble = f"failed ({error}): lines wait until it works again"
            else:
                trouble = "is not read fast enough"
            self._tell_after = now + REPORT_PERIOD
            self._told_error, self._told_lost, self._in_trouble = error, lost, True
            self._report(
                f"{self._name} {trouble}; the filter continues; {lost} lines are lost so far"
            )
        elif self._in_trouble and error is None and self._delivered == self._accepted:
            self._in_trouble = False
            self._report(f"{self._name} works again; {lost} lines were lost")

    # ---- the thread ----------------------------------------------------------------------------

    def _work(self) -> None:
        while (item := self._chunks.get()) is not None:
            if isinstance(item, Event):
                item.set()
            else:
                self._deliver(item)

    def _deliver(self, chunk: str) -> None:
        data = chunk.encode(errors="backslashreplace")
        position = 0
        while position < len(data) and self._ready():
            try:
                # Whatever follows an error, a line that was begun is continued first.
                done = os.write(self._descriptor, data[position : _piece_end(data, position)])
            except OSError as error:
                if error.errno == errno.EAGAIN:  # somebody else was faster
                    self._stopping.wait(LOOK)
                    continue
                self._error = os.strerror(error.errno or 0)
                if error.errno == errno.EPIPE:
                    self._closed = True
                else:
                    self._stopping.wait(RETRY)
                continue
            self._error = None
            self._delivered += data.count(b"\n", position, position + done)
            position += done
        self._written += len(chunk)

    def _ready(self) -> bool:
        """Wait until the descriptor takes bytes or has an error; False if no more can be written."""
        while not (self._closed or self._stopping.is_set()):
            if self._writable.poll(LOOK * 1000):
                return True
        return False


def _piece_end(data: bytes, start: int) -> int:
    """The end of the piece to write next: whole lines if possible, and never more than a pipe takes
    at once or not at all. A larger write could block halfway, and nobody would know how many lines
    have left."""
    most = start + select.PIPE_BUF
    if most >= len(data):
        return len(data)
    return data.rfind(b"\n", start, most) + 1 or most
