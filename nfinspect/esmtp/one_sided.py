"""Measures a connection of which only one direction was recorded.

The direction that is visible goes through the inspector; the other one is assumed. A client gets the
reply that its next line shows: it sends a message only after a 354, a response to AUTH only after a
334, and any other command would not be sent after a refusal. A server's first reply of several
lines after its greeting answers EHLO. So lengths, counts and masks are found as they would be with
both directions, and nothing is changed: what the filter would have done is reported.

From where the filter would have closed, or where bytes are missing, commands and replies are only
listed (``observer``).
"""

from __future__ import annotations

from typing import Final

from nfinspect.esmtp.clauses import Rules
from nfinspect.esmtp.dialogue import AUTH_RESPONSE, CHUNK, CHUNK_ANNOUNCED, MESSAGE
from nfinspect.esmtp.inspector import Inspector
from nfinspect.esmtp.observer import Observer
from nfinspect.esmtp.request import looks_like_command
from nfinspect.esmtp.verbs import Request
from nfinspect.events import (
    REPLY,
    REQUEST,
    Connection,
    Direction,
    ServerAnomaly,
    WouldClose,
)
from nfinspect.tcp.inspection import StreamWatcher

ASSUMED: Final[dict[Request, tuple[bytes, bytes]]] = {
    # what is outstanding: the reply if the client's next line is no command, and if it is one
    Request.GREETING: (b"220 \r\n", b"220 \r\n"),
    Request.EHLO: (b"250-\r\n250 PIPELINING\r\n", b"250-\r\n250 PIPELINING\r\n"),
    Request.DATA: (b"354 \r\n", b"503 \r\n"),
    Request.AUTH: (b"334 \r\n", b"235 \r\n"),
    Request.STARTTLS: (b"220 \r\n", b"454 \r\n"),
    Request.MASKED: (b"500 \r\n", b"500 \r\n"),
    Request.BDAT: (b"500 \r\n", b"500 \r\n"),
}
OTHERWISE: Final = (b"250 \r\n", b"250 \r\n")

_ANSWERS: Final = {b"334": Request.AUTH, b"354": Request.DATA}
"""What a reply answers, by its code, if nothing but replies are visible."""


class OneSided(StreamWatcher):
    """Watches the direction that is visible."""

    __slots__ = ("_inspector", "_observer", "_side")

    def __init__(self, connection: Connection, rules: Rules) -> None:
        super().__init__()
        self._observer = Observer(connection)
        self._observer.events = self.events
        self._inspector: Inspector | None = Inspector(
            connection, rules, transcript=True, unfiltered=True
        )
        self._side: Direction | None = None
        """The direction that is visible."""

    def request(self, data: bytes, packet_length: int, acknowledged: int) -> bytes:
        position = 0
        while self._measures(REQUEST) and position < len(data):
            stop = data.find(b"\n", position) + 1 or len(data)
            position += self._request(data[position:stop], packet_length)
        if position < len(data):
            self._observer.request(data[position:], packet_length, acknowledged)
        return data

    def reply(self, data: bytes) -> bytes:
        position = 0
        while self._measures(REPLY) and position < len(data):
            stop = data.find(b"\n", position) + 1 or len(data)
            self._reply(data[position:stop])
            position = stop
        if position < len(data):
            self._observer.reply(data[position:])
        return data

    def missed(self) -> None:
        """Bytes of the client are missing, and the server has not answered them."""
        self._only_list()
        self._observer.missed()

    def _measures(self, side: Direction) -> bool:
        if self._side is None:
            self._side = side
        elif self._side is not side and self._inspector is not None:
            self._only_list()  # both directions are visible after all
        return self._inspector is not None

    def _request(self, piece: bytes, packet_length: int) -> int:
        """Measure a line or a part of one; returns how many bytes of it were taken."""
        inspector = self._inspector
        assert inspector is not None
        dialogue = inspector.dialogue
        is_command = looks_like_command(piece.rstrip(b"\r\n"))
        if not inspector.commands.length and dialogue.phase not in (CHUNK_ANNOUNCED, CHUNK):
            while dialogue.outstanding:
                inspector.reply(ASSUMED.get(dialogue.outstanding[0], OTHERWISE)[is_command])
                inspector.events.clear()
        taken = len(inspector.request(piece, packet_length, inspector.replied))
        self._report(REQUEST)
        if inspector.uninspected is not None:
            self._only_list()
            return 0
        return taken if inspector.closing is None else len(piece)

    def _reply(self, piece: bytes) -> None:
        inspector = self._inspector
        assert inspector is not None
        dialogue = inspector.dialogue
        if not dialogue.outstanding and not inspector.replies.length:
            several = piece[3:4] == b"-" and piece.startswith(b"250")
            dialogue.expect_reply(
                Request.EHLO if several else _ANSWERS.get(piece[:3], Request.COMMAND)
            )
        inspector.reply(piece)
        self._report(REPLY)

    def _report(self, side: Direction) -> None:
        """Take over what the inspector has found; after a close, only list."""
        inspector = self._inspector
        assert inspector is not None
        self.events += [each for each in inspector.events if not isinstance(each, ServerAnomaly)]
        inspector.events.clear()
        if inspector.closing is not None:
            self.events.append(
                WouldClose(inspector.connection, side, inspector.closing, inspector.resetting)
            )
            self._only_list()

    def _only_list(self) -> None:
        inspector, self._inspector = self._inspector, None
        if inspector is not None:
            observer, phase = self._observer, inspector.dialogue.phase
            observer.in_message = phase == MESSAGE
            observer.authenticating = phase == AUTH_RESPONSE
            observer.after_auth = inspector.commands.after_auth
