"""Finds a server's greeting that is never finished: without CR LF, or without a last line.

To the filter its replies are then a part of the greeting, and each counts for the line before, so that
everything after looks wrong. It shows only in a capture whose client went on all the same: the reply to
that is glued to the greeting, or a 250 stands among its lines. (A greeting that only comes in pieces, to a
client that does not wait, is finished by its own text.)
"""

from __future__ import annotations

import re

from nfinspect import events
from nfinspect.events import REPLY, REQUEST, Event

UNFINISHED = "unfinished greeting"
"""The cause of the finding."""

_GLUED = re.compile(r"(?:(?<=[^0-9 ])|(?<=^[0-9]{3}))[0-9]{3}[ -]")


class Greeting:
    """The greeting of one connection."""

    __slots__ = ("_begun", "_early", "_lines", "_over", "packet")

    def __init__(self) -> None:
        self.packet: int | None = None
        """The packet with which the unfinished greeting began; None if it is not known to be one."""
        self._begun: int | None = None
        self._early = False
        """The client has gone on, and the server has taken it."""
        self._lines = 0
        self._over = False

    def observe(self, event: Event, packet: int | None) -> bool:
        """Take note of *event*; returns whether it shows that the greeting is unfinished."""
        if self._over:
            return False
        if isinstance(event, events.BannerMasked):
            self._begun = self._begun or packet
        elif isinstance(event, events.AlreadyMasked):
            if event.direction is REPLY:
                self._begun = self._begun or packet
        elif isinstance(event, events.SentEarly):
            self._early = self._early or event.direction is REQUEST
        elif isinstance(event, events.ReplyAwaited):
            if event.awaits == "greeting" and self._begun and not self._lines:
                return self._found()
        return False

    def reply_seen(self, line: str, packet: int | None) -> bool:
        """The server has sent this line; returns whether it shows that the greeting is
        unfinished."""
        if self._over:
            return False
        if self._lines:
            shows = line.startswith("25")
        else:
            shows = self._begun != packet and _GLUED.search(line) is not None
        self._begun = self._begun or packet
        self._lines += 1
        self._over = line[3:4] != "-"
        return self._early and shows and self._found()

    def _found(self) -> bool:
        self._over = True
        self.packet = self._begun
        return True
