"""Lines to stdout through a thread, so that a reader that stops reading does not stop the filter.

Stdout may be a terminal (Ctrl-S stops it), a pipe, a systemd socket or a file on a failing disk. No
single kind of non-blocking write works for all of them, so a thread does the waiting.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

LIMIT = 4 * 1024 * 1024
"""Characters that may wait to be written; further lines are lost, and counted."""


class LineWriter:
    """Writes lines to a file descriptor."""

    def __init__(self, descriptor: int, report: Callable[[str], None]) -> None:
        """Write to *descriptor*; *report* prints a message for the operator if that fails."""
        self.lost = 0
        """Lines that could not be written."""
        self._descriptor = descriptor
        self._report = report
        self._lines: list[str] = []
        # Characters; each counter is written by one thread only, so no lock is needed.
        self._taken = 0
        self._written = 0
        self._closed = False
        self._chunks: SimpleQueue[str | None] = SimpleQueue()
        self._thread = Thread(target=self._write_chunks, name="lines", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Accept one line, without its newline."""
        length = len(line) + 1
        if self._closed or self._taken + length - self._written > LIMIT:
            self.lost += 1
            return
        self._taken += length
        self._lines.append(line)

    def flush(self) -> None:
        """Hand the accepted lines to the thread."""
        if self._lines:
            self._lines.append("")
            self._chunks.put("\n".join(self._lines))
            self._lines = []

    def finish(self, timeout: float) -> bool:
        """Return, within *timeout* seconds, whether all accepted lines have been written."""
        self.flush()
        self._chunks.put(None)
        self._thread.join(timeout)
        return not self._closed and self._written == self._taken

    def _write_chunks(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            data = memoryview(chunk.encode(errors="backslashreplace"))
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError as error:
                self._closed = True
                self._report(
                    f"stdout failed ({error.strerror}): no more lines; the filter continues"
                )
                return
            self._written += len(chunk)
