"""Lists the visible commands and replies of a connection that is not inspected.

It changes and decides nothing. It may see only one direction, start in mid-session, or miss bytes: a
message begins at a 354, or after DATA if no replies are visible, and ends at a lone dot. While it
is not known what the client's next line is, no line is listed: it could be mail text, or a
credential. The next reply tells. The list ends where TLS begins: at a 220 to STARTTLS, or at what
looks like a TLS record with a ClientHello or ServerHello (RFC 8446 section 5.1).
"""

from __future__ import annotations

import re
from typing import Final

from nfinspect.esmtp.request import announced_blob, as_listed, begins_auth, looks_like_command
from nfinspect.esmtp.session import REMEMBERED, without_ending
from nfinspect.events import CommandSeen, Connection, ReplySeen
from nfinspect.tcp.inspection import StreamWatcher

_TLS_HANDSHAKE: Final = (b"\x16\x03\x00", b"\x16\x03\x01", b"\x16\x03\x02", b"\x16\x03\x03")
_VERB: Final = re.compile(rb"[A-Za-z0-9]*")
_BDAT: Final = re.compile(rb"BDAT[ \t]+([0-9]{1,18})", re.IGNORECASE)


class Observer(StreamWatcher):
    """Emits CommandSeen and ReplySeen."""

    __slots__ = (
        "after_auth",
        "authenticating",
        "blob",
        "chunk",
        "command",
        "connection",
        "data_sent",
        "in_message",
        "over",
        "replies_seen",
        "reply_line",
        "starttls_sent",
        "unknown",
    )

    def __init__(self, connection: Connection, *, unknown: bool = False) -> None:
        super().__init__()
        self.connection = connection
        self.command = bytearray()
        """The first bytes of the client's unfinished line."""
        self.reply_line = bytearray()
        self.unknown = unknown
        """What the client's next line is will be known after a reply or a lone dot."""
        self.replies_seen = False
        self.data_sent = False
        self.starttls_sent = False
        self.authenticating = False
        """The client's next line is the response to a 334, or may be one."""
        self.after_auth = unknown
        """AUTH was seen, or may have been: a line that is no command may be a response that the server did not ask
        for."""
        self.in_message = False
        self.blob = 0
        """Bytes that the last command, an XEXCH50, will send after its 354."""
        self.chunk = 0
        """Bytes still to come that are no commands: of a BDAT chunk, for example."""
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

    def masked_accepted(self, code: bytes, blob: int) -> None:
        """The server has answered a line that would have been masked, an XEXCH50 of *blob* bytes if
        that is not 0, with this *code*."""
        self.replies_seen = True
        self.authenticating = code == b"334"
        if code == b"354":
            self.chunk = blob
            self.in_message = not blob

    def missed(self) -> None:
        """Bytes of the client are missing, and the server has not answered them."""
        self.command.clear()
        self.unknown = self.unknown or not self.in_message
        self.after_auth = True

    def _command(self, line: bytes) -> None:
        if self.unknown or self.in_message:
            if line == b".":
                self.unknown = self.in_message = False
            return
        if self.authenticating:
            self.authenticating = not self.replies_seen
            if self.replies_seen or not looks_like_command(line):
                self.events.append(CommandSeen(self.connection, b"***"))
                return
            self.authenticating = False
        if self.after_auth and not (looks_like_command(line) or begins_auth(line)):
            self.events.append(CommandSeen(self.connection, b"***"))
            return
        self.events.append(CommandSeen(self.connection, as_listed(None, line)))
        auth = begins_auth(line)
        self.after_auth = self.after_auth or auth
        found = _VERB.match(line)
        verb = found[0].upper() if found else b""
        self.data_sent = verb == b"DATA"
        self.starttls_sent = verb == b"STARTTLS"
        self.blob = announced_blob(line)
        if not self.replies_seen:
            self.in_message = self.data_sent
            self.authenticating = auth
            self.chunk = self.blob
        if verb == b"BDAT" and (announced := _BDAT.match(line)):
            self.chunk = int(announced[1])

    def _reply(self, line: bytes) -> None:
        self.events.append(ReplySeen(self.connection, line))
        if line[3:4] == b"-":
            return
        code = line[:3]
        if self.unknown:
            self.unknown = False
            self.command.clear()
        if code == b"354":
            self.chunk = self.blob
            self.in_message = not self.blob
        elif self.in_message and (not self.data_sent or code[:1] in (b"4", b"5")):
            self.in_message = False  # this answers the message, or DATA
        elif code == b"334":
            self.authenticating = True
        elif code == b"220" and self.starttls_sent:
            self.over = True
        self.data_sent = self.starttls_sent = False
        self.blob = 0
