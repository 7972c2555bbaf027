"""How syslog lines look to whoever reads them: as they are, with the time, or with a priority."""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Callable
from time import localtime, strftime, time


class LogFormat(enum.Enum):
    """The values of `--log-format`, besides ``auto``."""

    PLAIN = "plain"
    """As the message is: another program adds what it needs."""
    TIME = "time"
    """With the time, as the appliance writes it with ``logging timestamp``."""
    JOURNAL = "journal"
    """With ``<PRIORITY>``, which journald reads (sd-daemon(3)). It has the time itself."""


INFORMATIONAL = 6
PRIORITIES = {"error": 3, "internal error": 3, "warning": 4, "notice": 5}
"""The priorities of messages for the operator, by their first words; others are informational."""


def of_reader(descriptor: int) -> LogFormat:
    """Return the format for whatever *descriptor* leads to: journald, a terminal, a file, or a
    program that reads a pipe."""
    status = os.fstat(descriptor)
    # systemd says which stream it has connected to journald (systemd.exec(5)).
    if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
        return LogFormat.JOURNAL
    if os.isatty(descriptor) or stat.S_ISREG(status.st_mode):
        return LogFormat.TIME
    return LogFormat.PLAIN


def syslog_line(form: LogFormat, now: Callable[[], float] = time) -> Callable[[str], str]:
    """Return what turns a syslog line into one of this form."""
    if form is LogFormat.TIME:
        return _Stamp(now).stamped
    if form is LogFormat.JOURNAL:
        return lambda line: f"<{_severity(line)}>{line}"
    return lambda line: line


def message(form: LogFormat, text: str) -> str:
    """Return a message for the operator, ``nfinspect: `` included, in this form. Only journald needs
    more than the text: each of its lines is an entry by itself."""
    if form is not LogFormat.JOURNAL:
        return text
    start = text.removeprefix("nfinspect: ")
    priority = next(
        (each for words, each in PRIORITIES.items() if start.startswith(words)), INFORMATIONAL
    )
    return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))


def _severity(line: str) -> str:
    """The digit in ``%ASA-4-108004`` or ``%NFINSPECT-4-SUPPRESSED``: syslog's own numbers."""
    return line[line.index("-") + 1]


class _Stamp:
    """The current time as text, which is made once a second."""

    __slots__ = ("_now", "_second", "_text")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._second = -1
        self._text = ""

    def stamped(self, line: str) -> str:
        second = int(self._now())
        if second != self._second:
            self._second = second
            self._text = strftime("%b %d %Y %H:%M:%S: ", localtime(second))
        return self._text + line
