"""An email gateway (ESA) that sends a mail: ``python -m nfinspect.lab.gateway_sender SERVER FROM TO…``.

It reads the mail from stdin, whose lines end with LF, tries once to deliver it, and writes the `mail_log` to
stdout. The exit status is 0 if the mail was delivered, else 1.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import socket
import sys
from collections.abc import Sequence

from nfinspect.lab import mail_log
from nfinspect.lab.mail_log import MailLog

SMTP_PORT = 25
TIMEOUT = 30.0
"""Seconds for which bytes may stay unacknowledged, or a command unanswered."""
SYN_RETRIES = 1
"""A SYN without an answer is repeated after a second; two seconds later the kernel gives up."""
HOST = "esa.example"

DCID, MID = 8, 6
"""Those of the sample in Cisco's note 118232."""


class RefusedError(Exception):
    """The server has refused a command; the argument is its reply."""


class Delivery:
    """One attempt to deliver one message."""

    def __init__(self, server: str, log: MailLog, timeout: float) -> None:
        """*timeout* in seconds."""
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        self._server = server
        self._interface = _source(server, family)
        self._mail_log = log
        self._timeout = timeout
        self._connection = socket.socket(family, socket.SOCK_STREAM)
        # The kernel's own timeouts, shorter: what the firewall drops ends in its ETIMEDOUT.
        tcp = socket.IPPROTO_TCP
        self._connection.setsockopt(tcp, socket.TCP_SYNCNT, SYN_RETRIES)
        self._connection.setsockopt(tcp, socket.TCP_USER_TIMEOUT, round(timeout * 900))
        self._pending = b""

    def deliver(self, sender: str, recipients: Sequence[str], message: bytes) -> bool:
        """Whether the message was delivered."""
        rids = str(list(range(len(recipients)))).replace(" ", "")
        try:
            with self._connection:
                self._connection.connect((self._server, SMTP_PORT))
                self._connection.settimeout(self._timeout)
                self._log(mail_log.CONNECTED)
                self._log(mail_log.DELIVERY, rids=rids)
                reply = self._converse(sender, recipients, message)
        except OSError as error:
            domain = recipients[0].rpartition("@")[2]
            words = mail_log.error_words(error)
            self._log(mail_log.CONNECTION_ERROR, domain=domain, error=words)
            reason = f"4.4.0 - Other network problem ('000', ['{words}']) []"
            self._for_each(recipients, mail_log.DELAYED, reason)
            return False
        except RefusedError as refusal:
            code, text = str(refusal)[:3], str(refusal)[4:]
            line = mail_log.BOUNCED if code.startswith("5") else mail_log.DELAYED
            reason = f"{code[0]}.1.0 - Unknown address error ('{code}', ['{text}']) []"
            self._for_each(recipients, line, reason)
            self._log(mail_log.CONNECTED_CLOSE)
            return False
        self._log(mail_log.DONE, rids=rids)
        self._log(mail_log.RESPONSE, rids=rids, reply=reply[4:])
        self._log(mail_log.FINISHED)
        self._log(mail_log.CONNECTED_CLOSE)
        return True

    def _converse(self, sender: str, recipients: Sequence[str], message: bytes) -> str:
        """The server's reply to the message."""
        self._reply()
        lines = [f"EHLO {HOST}", f"MAIL FROM:<{sender}>"]
        for line in itertools.chain(lines, (f"RCPT TO:<{each}>" for each in recipients), ["DATA"]):
            self._connection.sendall(line.encode() + b"\r\n")
            self._reply()
        stuffed = (b"\n" + message).replace(b"\n.", b"\n..")[1:]
        self._connection.sendall(stuffed.replace(b"\n", b"\r\n") + b".\r\n")
        reply = self._reply()
        self._connection.sendall(b"QUIT\r\n")
        self._reply()
        return reply

    def _reply(self) -> str:
        """The last line of the next reply; raises RefusedError if it is one of 4xx and 5xx."""
        while True:
            while b"\r\n" not in self._pending:
                data = self._connection.recv(65536)
                if not data:
                    raise ConnectionResetError(errno.ECONNRESET, "closed by the server")
                self._pending += data
            line, _, self._pending = self._pending.partition(b"\r\n")
            if line[3:4] != b"-":
                break
        if line[:1] in b"45":
            raise RefusedError(line.decode("latin-1"))
        return line.decode("latin-1")

    def _for_each(self, recipients: Sequence[str], line: str, reason: str) -> None:
        for rid, _ in enumerate(recipients):
            self._log(line, rid=rid, reason=reason)

    def _log(self, line: str, **fields: object) -> None:
        fields |= {"dcid": DCID, "mid": MID, "peer": self._server, "port": SMTP_PORT}
        self._mail_log.write(line, interface=self._interface, **fields)


def _source(server: str, family: socket.AddressFamily) -> str:
    """The address from which this host sends to *server*; nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((server, SMTP_PORT))
        source: str = probe.getsockname()[0]
        return source


def main() -> None:
    """Deliver the mail on stdin."""
    parser = argparse.ArgumentParser(prog="python -m nfinspect.lab.gateway_sender")
    parser.add_argument("server", help="address")
    parser.add_argument("sender")
    parser.add_argument("recipients", nargs="+")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, metavar="SECONDS")
    options = parser.parse_args()
    delivery = Delivery(options.server, MailLog(sys.stdout), options.timeout)
    message = sys.stdin.buffer.read()
    sys.exit(not delivery.deliver(options.sender, options.recipients, message))


if __name__ == "__main__":
    main()
