"""A scripted client and a recording server, both of which send exactly the given bytes.

Real mail software chooses its own words and segments. These two are for cases in which a test or
the demo must choose: a verb typed letter by letter, a command split over two segments, a server
with replies that no honest server would send.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from nfinspect.lab.topology import CLIENT, SERVER, LabError

if TYPE_CHECKING:
    from nfinspect.lab.lab import Lab

SMTP_PORT = 25


class ClientConnection:
    """A client's connection to port 25; each ``send`` makes its own segment."""

    def __init__(self, connection: socket.socket, timeout: float) -> None:
        self.socket = connection
        self.timeout = timeout
        self.received = b""
        """Everything received so far."""
        self._read = 0

    @classmethod
    def open(cls, lab: Lab, address: str, *, port: int = SMTP_PORT, timeout: float = 5.0) -> Self:
        """Connect from the client's namespace; *timeout* (seconds) applies to every wait.

        Raises TimeoutError if there is no answer, ConnectionError if the connection is refused.
        """
        connection = lab.socket(CLIENT, _family(address))
        connection.settimeout(timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.connect((address, port))
        except OSError:
            connection.close()
            raise
        lab.at_close(connection.close)
        return cls(connection, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send *data*, as one segment if it fits."""
        self.socket.sendall(data)

    def command(self, line: str | bytes) -> str:
        """Send a command line, with CR LF added, and return the complete reply."""
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self.reply()

    def reply(self) -> str:
        """Return the next reply, with all its lines (RFC 5321 section 4.2.1), separated by LF.

        Raises TimeoutError if it does not come, ConnectionError if the connection ends first.
        """
        lines = []
        while True:
            line = self._line()
            lines.append(line.decode("latin-1"))
            if line[3:4] != b"-":
                return "\n".join(lines)

    def _line(self) -> bytes:
        while (end := self.received.find(b"\r\n", self._read)) < 0:
            self._receive()
        line = self.received[self._read : end]
        self._read = end + 2
        return line

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"the server has closed; unread: {self.received[self._read :]!r}")
        self.received += data

    def start_tls(self) -> None:
        """Start TLS, as after the server's 220 to STARTTLS; the certificate is not verified."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket)

    def rest(self) -> bytes:
        """Return what arrives until the connection ends, in whatever way."""
        with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
            while True:
                self._receive()
        rest = self.received[self._read :]
        self._read = len(self.received)
        return rest

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()


@dataclass
class Script:
    """The replies of a `RecordingServer`."""

    greeting: bytes = b"220 mail.example ESMTP lab\r\n"
    replies: Mapping[bytes, bytes] = field(default_factory=dict)
    """By verb in upper case; override `REPLIES`. If empty, no reply is sent."""
    after_data: bytes = b"250 2.0.0 taken\r\n"
    """The reply to the end of a message."""

    def reply(self, line: bytes) -> bytes:
        """Return the reply to a command line."""
        verb = line.split(b" ")[0].upper()
        if verb in self.replies:
            return self.replies[verb]
        return REPLIES.get(verb, b"500 5.5.1 Command unknown: '" + line + b"'\r\n")


REPLIES = {
    b"HELO": b"250 mail.example\r\n",
    b"EHLO": b"250-mail.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-STARTTLS\r\n"
    b"250 8BITMIME\r\n",
    b"MAIL": b"250 2.1.0 ok\r\n",
    b"RCPT": b"250 2.1.5 ok\r\n",
    b"DATA": b"354 go ahead\r\n",
    b"RSET": b"250 2.0.0 ok\r\n",
    b"NOOP": b"250 2.0.0 ok\r\n",
    b"VRFY": b"252 2.0.0 maybe\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}
"""Default replies by verb; other verbs are unknown."""


@dataclass
class Recording:
    """A connection as the server saw it."""

    received: bytearray = field(default_factory=bytearray)
    ended: bool = False
    """The client has closed or reset the connection."""


class RecordingServer:
    """Serves port 25 in the server's namespace with scripted replies, and records every byte.

    Like any server it reads line by line, and after DATA a message up to the dot; its replies
    depend only on the `Script`.
    """

    def __init__(
        self, lab: Lab, address: str, script: Script | None = None, *, port: int = SMTP_PORT
    ) -> None:
        """Start listening; ends with ``close`` or with the lab."""
        self.script = script or Script()
        self.recordings: list[Recording] = []
        self._sockets: list[socket.socket] = []
        self._changed = threading.Condition()
        self._listening = lab.socket(SERVER, _family(address))
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind((address, port))
        self._listening.listen(64)
        self._listening.settimeout(0.2)
        self._stopping = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        lab.at_close(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving and close every connection."""
        self._stopping = True
        self._thread.join()
        self._listening.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def wait(self, count: int = 1, *, ended: bool = True, timeout: float = 5.0) -> list[Recording]:
        """Wait until *count* connections have been made (and, if *ended*, ended); returns all.

        Raises LabError on timeout.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while sum(each.ended or not ended for each in self.recordings) < count:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise LabError(f"{self.recordings} after {timeout} s, not {count} connections")
            return list(self.recordings)

    def _accept(self) -> None:
        while not self._stopping:
            try:
                connection, _ = self._listening.accept()
            except TimeoutError:
                continue
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            recording = Recording()
            with self._changed:
                self.recordings.append(recording)
                self._sockets.append(connection)
                self._changed.notify_all()
            threading.Thread(target=self._serve, args=(connection, recording), daemon=True).start()

    def _serve(self, connection: socket.socket, recording: Recording) -> None:
        try:
            self._converse(connection, recording)
        except OSError:
            pass  # reset by the client, or closed here; what arrived is recorded
        finally:
            connection.close()
            with self._changed:
                recording.ended = True
                self._changed.notify_all()

    def _converse(self, connection: socket.socket, recording: Recording) -> None:
        connection.sendall(self.script.greeting)
        pending = b""
        in_data = False
        while data := connection.recv(65536):
            recording.received += data
            pending += data
            while pending:
                end = b"\r\n.\r\n" if in_data else b"\r\n"
                if in_data and pending.startswith(b".\r\n"):
                    pending = pending[3:]  # the CR LF before this dot ended DATA itself
                elif end in pending:
                    line, _, pending = pending.partition(end)
                else:
                    break
                if in_data:
                    in_data = False
                    connection.sendall(self.script.after_data)
                    continue
                answer = self.script.reply(line)
                if answer:
                    connection.sendall(answer)
                in_data = answer.startswith(b"354")
                if answer.startswith(b"221"):
                    return


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
