"""A server with just enough SMTP to be a target, which records what it reads."""

from __future__ import annotations

GREETING = b"220 ready\r\n"
KNOWN = (b"HELO", b"MAIL", b"RCPT", b"NOOP", b"RSET", b"QUIT", b"XEVL")
"""XEVL is what the filter must not let pass, as it is no permitted verb."""


class Mail:
    """One connection of the server, without I/O."""

    def __init__(self) -> None:
        self.read = bytearray()
        self.commands: list[bytes] = []
        self.over = False
        self._line = b""
        self._in_message = False

    def feed(self, data: bytes) -> bytes:
        """Read *data* and return the replies."""
        self.read += data
        self._line += data
        answers = b""
        while b"\r\n" in self._line and not self.over:
            line, _, self._line = self._line.partition(b"\r\n")
            answers += self._answer(line)
        return answers

    def _answer(self, line: bytes) -> bytes:
        if self._in_message:
            self._in_message = line != b"."
            return b"" if self._in_message else b"250 taken\r\n"
        self.commands.append(line)
        verb = line[:4].upper()
        if verb == b"EHLO":
            return b"250-ready\r\n250 PIPELINING\r\n"
        if verb == b"DATA":
            self._in_message = True
            return b"354 go on\r\n"
        if verb == b"QUIT":
            self.over = True
            return b"221 bye\r\n"
        return b"250 ok\r\n" if verb in KNOWN else b"500 what\r\n"
