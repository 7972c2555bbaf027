"""An email gateway (ESA) that receives mail: ``python -m nfinspect.lab.gateway_receiver ADDRESS``.

It accepts all mail, keeps none, and writes the `mail_log` to stdout until SIGTERM; with ``--log FILE`` to a file,
and in the background as soon as it listens. `TIMEOUT` is AsyncOS's
"Timeout for Unsuccessful Inbound Connections", five minutes there by default.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import socket
import ssl
import sys
import threading
from pathlib import Path
from types import FrameType

from nfinspect.lab import mail_log
from nfinspect.lab.mail_log import MailLog

SMTP_PORT = 25
TIMEOUT = 300.0
"""Seconds for which a client may be silent."""
INTERFACE, HOST = "Data 1", "esa.example"


class LostError(Exception):
    """The client is silent, or the connection has ended before QUIT."""


class Listener:
    """Serves port 25 of an address."""

    def __init__(
        self, address: str, log: MailLog, timeout: float, tls: ssl.SSLContext | None = None
    ) -> None:
        """Listen; with *tls*, STARTTLS is offered."""
        self.log = log
        self.timeout = timeout
        self.tls = tls
        self.messages = itertools.count(1)
        """The next MID."""
        self._connections = itertools.count(1)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listening = socket.create_server((address, SMTP_PORT), family=family)

    def serve(self) -> None:
        """Accept connections for ever; each has a thread."""
        while True:
            connection, _ = self._listening.accept()
            incoming = Incoming(self, next(self._connections), connection)
            threading.Thread(target=incoming.serve, daemon=True).start()


class Incoming:
    """A connection that was accepted."""

    def __init__(self, listener: Listener, icid: int, connection: socket.socket) -> None:
        self._listener = listener
        self._icid = icid
        self._connection = connection
        connection.settimeout(listener.timeout)
        self._pending = b""
        self._mid: int | None = None
        """The message that has begun and not ended."""
        self._sender = ""
        self._recipients = 0

    def serve(self) -> None:
        """Receive mail until the client says QUIT or is lost."""
        own, peer = (
            name()[0] for name in (self._connection.getsockname, self._connection.getpeername)
        )
        self._log(mail_log.ACCEPTED, interface=INTERFACE, own=own, peer=peer)
        with self._connection:
            try:
                self._say(f"220 {HOST} ESMTP")
                while self._answer(self._until(b"\r\n").decode("latin-1")):
                    pass
                self._abort(mail_log.ABORTED_BY_SENDER)
            except (OSError, LostError):
                # The note lists `lost` for a firewall that sends nothing, so a timeout is one too.
                self._log(mail_log.LOST)
                self._abort(mail_log.ABORTED)
        self._log(mail_log.ACCEPTED_CLOSE)

    def _answer(self, line: str) -> bool:
        """Answer a command; false after QUIT."""
        verb, _, argument = line.partition(" ")
        match verb.upper():
            case "EHLO":
                keywords = ("8BITMIME", "SIZE 33554432", *["STARTTLS"] * bool(self._listener.tls))
                self._say(
                    *(f"250-{each}" for each in (HOST, *keywords[:-1])), f"250 {keywords[-1]}"
                )
            case "HELO":
                self._say(f"250 {HOST}")
            case "STARTTLS" if self._listener.tls is not None:
                self._say("220 Go ahead with TLS")
                self._connection = self._listener.tls.wrap_socket(
                    self._connection, server_side=True
                )
            case "MAIL":
                self._begin(_address(argument))
            case "RCPT" if self._mid is not None:
                self._log(mail_log.TO, rid=self._recipients, address=_address(argument))
                self._recipients += 1
                self._say(f"250 recipient {_address(argument)} ok")
            case "DATA" if self._recipients:
                self._receive()
            case "RSET" | "NOOP":
                if verb.upper() == "RSET":
                    self._abort(mail_log.ABORTED_BY_SENDER)
                self._say("250 ok")
            case "QUIT":
                self._say(f"221 {HOST}")
                return False
            case "RCPT" | "DATA":
                self._say("503 Bad sequence of commands")
            case _:
                self._say("500 #5.5.1 command not recognized")
        return True

    def _begin(self, address: str) -> None:
        self._abort(mail_log.ABORTED_BY_SENDER)
        self._mid, self._sender, self._recipients = next(self._listener.messages), address, 0
        self._log(mail_log.STARTED)
        self._log(mail_log.FROM, address=address)
        self._say(f"250 sender {address} ok")

    def _receive(self) -> None:
        self._say("354 go ahead")
        self._pending = b"\r\n" + self._pending  # a message may be the final dot alone
        message = self._until(b"\r\n.\r\n").removeprefix(b"\r\n")
        self._log(mail_log.READY, size=len(message), address=self._sender)
        self._say(f"250 ok:  Message {self._mid} accepted")
        self._mid, self._recipients = None, 0

    def _abort(self, line: str) -> None:
        if self._mid is not None:
            self._log(line)
            self._log(mail_log.FINISHED_ABORTED)
        self._mid, self._recipients = None, 0

    def _until(self, end: bytes) -> bytes:
        while end not in self._pending:
            data = self._connection.recv(65536)
            if not data:
                raise LostError
            self._pending += data
        found, _, self._pending = self._pending.partition(end)
        return found

    def _say(self, *lines: str) -> None:
        self._connection.sendall("".join(f"{line}\r\n" for line in lines).encode("latin-1"))

    def _log(self, line: str, **fields: object) -> None:
        self._listener.log.write(line, icid=self._icid, mid=self._mid, **fields)


def _address(argument: str) -> str:
    """The address of an argument of MAIL or RCPT, with its brackets."""
    return argument.partition(":")[2].strip().partition(" ")[0]


def main() -> None:
    """Run until SIGTERM."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, stop)
    parser = argparse.ArgumentParser(prog="python -m nfinspect.lab.gateway_receiver")
    parser.add_argument("address")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, metavar="SECONDS")
    parser.add_argument("--tls", nargs=2, metavar=("KEY", "CERTIFICATE"), help="offer STARTTLS")
    parser.add_argument("--log", type=Path, metavar="FILE", help="log there; in the background")
    options = parser.parse_args()
    tls = None
    if options.tls:
        key, certificate = options.tls
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate, key)
    stream = options.log.open("a") if options.log else sys.stdout
    try:
        listener = Listener(options.address, MailLog(stream), options.timeout, tls)
    except OSError as error:
        parser.exit(1, f"{options.address}, port 25: {error.strerror} (is a gateway running?)\n")
    if options.log and os.fork() != 0:
        return
    listener.serve()


if __name__ == "__main__":
    main()
