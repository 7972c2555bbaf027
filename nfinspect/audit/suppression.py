"""The limit on lines that one packet each can provoke.

Whoever can send packets could otherwise fill the disk, and hide among the lines. The limit is for
each message by itself: in a period, which begins with the first line, so many are written; the
others are counted, and summed up in a line of their own when the period is over. The counters
count every event. The time is handed in; the state is one small object for each message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nfinspect import events
from nfinspect.events import Event

LIMITED: Final = frozenset(
    {
        events.CharacterReplaced,
        events.ChunkMasked,
        events.ClauseMatched,
        events.CommandMasked,
        events.ConflictingBytes,
        events.DeniedNoConnection,
        events.DuplicateSyn,
        events.KeywordsHidden,
        events.LimitReached,
        events.MailAnswered,
        events.ParameterMatched,
        events.ServerAnomaly,
        events.SizeExceeded,
        events.TableFull,
    }
)
"""Events of which a packet can provoke one, or several, while the connection, if there is one,
goes on. All others are bounded by the connections (a few for each) or by time."""


@dataclass(frozen=True, slots=True)
class LinesSuppressed:
    """Lines of one message that were not written."""

    message: str
    """Its number; in JSON, where events are lines, the kind of event."""
    count: int
    duration: float
    """Seconds since the period began."""


class _Period:
    __slots__ = ("began", "suppressed", "written")

    def __init__(self) -> None:
        self.began = float("-inf")
        self.written = self.suppressed = 0


class Suppression:
    """Decides which lines are written."""

    def __init__(self, number: int, seconds: float, message: Callable[[Event], str | None]) -> None:
        """Let *number* lines of a message pass in *seconds*; 0 for any number. *message* returns to
        which message the line of an event belongs, None if the event has no line."""
        self.suppressed = 0
        """Lines so far that were not written."""
        self._number = number
        self._seconds = seconds
        self._message = message
        self._periods: dict[str, _Period] = {}

    def admits(self, event: Event, now: float) -> bool:
        """Whether the line of *event*, at *now*, is to be written."""
        if type(event) not in LIMITED or not self._number:
            return True
        if (
            isinstance(event, events.ClauseMatched | events.ParameterMatched)
            and event.action.closes
        ):
            return True
        message = self._message(event)
        if message is None:
            return True
        period = self._periods.get(message)
        if period is None:
            period = self._periods[message] = _Period()
        # A period with suppressed lines lasts until `summaries` has told of them.
        if now >= period.began + self._seconds and not period.suppressed:
            period.began = now
            period.written = 0
        # All lines of a full table are the same: the first says everything.
        if period.written < (1 if type(event) is events.TableFull else self._number):
            period.written += 1
            return True
        period.suppressed += 1
        self.suppressed += 1
        return False

    def summaries(self, now: float, *, last: bool = False) -> list[LinesSuppressed]:
        """What was suppressed in the periods that are over at *now*; in all, if this is the
        *last* call."""
        found = []
        for message, period in self._periods.items():
            if period.suppressed and (last or now >= period.began + self._seconds):
                duration = round(now - period.began, 3)
                found.append(LinesSuppressed(message, period.suppressed, duration))
                period.began, period.suppressed = float("-inf"), 0
        return found
