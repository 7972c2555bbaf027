"""Lists the visible commands and replies of a connection that is not inspected.

It changes and decides nothing. It may see only one direction, or start in mid-session: a message
begins at a 354, or after DATA if no replies are visible, and ends at a lone dot. The list ends
where TLS begins: at a 220 to STARTTLS, or at what looks like a TLS record with a ClientHello or
ServerHello (RFC 8446 section 5.1).
"""

from __future__ import annotations

import re
from typing import Final

from nfinspect.esmtp.request import as_listed
from nfinspect.esmtp.session import REMEMBERED, without_ending
from nfinspect.events import CommandSeen, Connection, Event, ReplySeen

_TLS_HANDSHAKE: Final = (b"\x16\x03\x00", b"\x16\x03\x01", b"\x16\x03\x02", b"\x16\x03\x03")
_VERB = re.compile(rb"[A-Za-z0-9]*")
_BDAT = re.compile(rb"BDAT[ \t]+([0-9]{1,18})", re.IGNORECASE)


class Observer:
    """A ``StreamObserver`` (``tcp/connection.py``) that emits CommandSeen and ReplySeen."""

    __slots__ = (
        "authenticating",
        "chunk",
        "command",
        "connection",
        "data_sent",
        "events",
        "in_message",
        "over",
        "replies_seen",
        "reply_line",
        "starttls_sent",
    )

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.events: list[Event] = []
        self.command = bytearray()
        """The first bytes of the client's unfinished line."""
        self.reply_line = bytearray()
        self.replies_seen = False
        self.data_sent = False
        self.starttls_sent = False
        self.authenticating = False
        """The client's next line is the response to a 334."""
        self.in_message = False
        self.chunk = 0
        """Bytes of a BDAT chunk still to come."""
        self.over = False
        """TLS has begun: nothing more to list."""

    def request(self, data: bytes, packet_length: int, acknowledged: int) -> bytes:
        if not self.over and not self.command and data.startswith(_TLS_HANDSHAKE):
            self.over = True
        position, size = 0, len(data)
        while position < size and not self.over:
            if self.chunk:
                taken = min(self.chunk, size - position)
                self.chunk -= taken
                position += taken
                continue
            newline = data.find(b"\n", position)
            stop = size if newline < 0 else newline + 1
            room = REMEMBERED - len(self.command)
            self.command += data[position : min(stop, position + max(room, 0))]
            position = stop
            if newline >= 0:
                self._command(without_ending(bytes(self.command)))
                self.command.clear()
        return data

    def reply(self, data: bytes) -> bytes:
        if not self.over and not self.reply_line and data.startswith(_TLS_HANDSHAKE):
            self.over = True
        self.replies_seen = True
        position, size = 0, len(data)
        while position < size and not self.over:
            newline = data.find(b"\n", position)
            stop = size if newline < 0 else newline + 1
            room = REMEMBERED - len(self.reply_line)
            self.reply_line += data[position : min(stop, position + max(room, 0))]
            position = stop
            if newline >= 0:
                self._reply(without_ending(bytes(self.reply_line)))
                self.reply_line.clear()
        return data

    def _command(self, line: bytes) -> None:
        if self.in_message:
            self.in_message = line != b"."
            return
        if self.authenticating:
            self.authenticating = False
            self.events.append(CommandSeen(self.connection, b"***"))
            return
        self.events.append(CommandSeen(self.connection, as_listed(None, line)))
        found = _VERB.match(line)
        verb = found[0].upper() if found else b""
        self.data_sent = verb == b"DATA"
        self.starttls_sent = verb == b"STARTTLS"
        if self.data_sent and not self.replies_seen:
            self.in_message = True
        elif verb == b"BDAT" and (announced := _BDAT.match(line)):
            self.chunk = int(announced[1])

    def _reply(self, line: bytes) -> None:
        self.events.append(ReplySeen(self.connection, line))
        if line[3:4] == b"-":
            return
        code = line[:3]
        if code == b"354" and self.data_sent:
            self.in_message = True
        elif self.in_message and self.data_sent and code[:1] in (b"4", b"5"):
            self.in_message = False
        elif code == b"334":
            self.authenticating = True
        elif code == b"220" and self.starttls_sent:
            self.over = True
        self.data_sent = self.starttls_sent = False
