"""Events as JSON lines in a file, beside the lines on stdout (``run --json-file``)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from nfinspect.actions import DropReason
from nfinspect.audit.suppression import LinesSuppressed, Suppression
from nfinspect.events import Event
from nfinspect.live.lines import LineWriter
from nfinspect.live.worker import DecisionAudit

LAST_LINES_TIMEOUT = 2.0
"""Seconds for which a stopping filter waits for the file to take the last lines."""


class EventFile:
    """An `Audit` that hands everything on to another one, and writes the events to a file.

    The file is appended to, so it may be emptied while the filter runs. Nobody who keeps the file from
    being written can block the filter: see `lines.LineWriter`.
    """

    def __init__(
        self,
        path: Path,
        audit: DecisionAudit,
        suppression: Suppression,
        line: Callable[[Event | LinesSuppressed], str],
        report: Callable[[str], None],
    ) -> None:
        """Open *path*, for its owner and group only. Raises OSError."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._audit = audit
        self._suppression = suppression
        self._line = line
        self._lines = LineWriter(self._file, report, str(path))

    def observe(self, event: Event) -> None:
        """Hand an event on, and write it."""
        self._audit.observe(event)
        if self._suppression.admits(event, monotonic()):
            self._lines.write(self._line(event))

    def dropped(self, reason: DropReason) -> None:
        """Hand on that a packet was dropped."""
        self._audit.dropped(reason)

    def maintain(self) -> None:
        """To be called in every round: pass on the lines, and sum up suppressed ones."""
        self._sum_up(last=False)
        self._lines.flush()

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._sum_up(last=True)
        self._lines.finish(LAST_LINES_TIMEOUT)
        os.close(self._file)

    def _sum_up(self, *, last: bool) -> None:
        for suppressed in self._suppression.summaries(monotonic(), last=last):
            self._lines.write(self._line(suppressed))
