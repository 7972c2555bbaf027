"""Where captures with known causes are made: a lab without the filter, and mail software in it.

Everything is recorded as a user would do it: by tcpdump, on the path, outside the filter. Where a
capture shows another inspecting firewall, that is the filter of this project.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from nfinspect.lab import exim, postfix, topology
from nfinspect.lab.capture import RunningCapture
from nfinspect.lab.dialogue import ClientConnection, RecordingServer, Script
from nfinspect.lab.exim import Exim
from nfinspect.lab.lab import Lab
from nfinspect.lab.postfix import SERVER_SETTINGS, SERVICES, Postfix
from nfinspect.lab.stage import MESSAGE, RECIPIENT, SENDER
from nfinspect.lab.topology import CLIENT, FILTER, SERVER

MAIL, MAIL6 = topology.SERVER_ADDRESS, topology.SERVER_ADDRESS6
"""Postfix, which offers STARTTLS."""
EXIM = topology.EXIM_ADDRESS
"""Exim, which offers AUTH."""
SCRIPT = topology.SCRIPT_ADDRESS
"""For servers whose replies a capture chooses."""
NEEDS_TLS, HASTY, INTERNATIONAL, PROXIED = (f"198.51.100.{number}" for number in range(31, 35))
"""Postfix: accepts mail only over TLS; waits 5 seconds for a client; offers SMTPUTF8 and XCLIENT;
expects a load balancer in front of it."""

SPECIAL = {
    NEEDS_TLS: "smtpd_tls_security_level=encrypt",
    HASTY: "smtpd_timeout=5s -o smtpd_relay_restrictions=reject_unauth_destination",
    INTERNATIONAL: "smtputf8_enable=yes -o smtpd_authorized_xclient_hosts=192.0.2.0/24",
    PROXIED: "smtpd_upstream_proxy_protocol=haproxy",
}

PASSWORD = "correct-horse"
"""The only one that Exim accepts."""

LIBRARY = """\
import smtplib, sys
from email.message import EmailMessage
from email.policy import SMTP
"""
"""How a program of the client begins that sends by Python's library."""


class Bench:
    """A lab, its servers, and the clients that a capture may use."""

    def __init__(self, *, offloads: bool = False) -> None:
        self.lab = Lab(offloads=offloads)
        self._numbers = itertools.count(1)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.lab)
            for address in SPECIAL:
                words = f"address add {address}/24 dev eth0"
                self.lab.run(SERVER, ["ip", *words.split()])
            self._start_postfix()
            self._start_exim()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def _start_postfix(self) -> None:
        services = SERVICES + "".join(
            f"{address}:25 inet n - n - - smtpd -o {settings}\n"
            for address, settings in SPECIAL.items()
        )
        settings = SERVER_SETTINGS | postfix.tls(self.lab.directory)
        Postfix(self.lab, SERVER, "postfix-server", settings, services=services).start()

    def _start_exim(self) -> None:
        server = Exim(self.lab, SERVER)
        text = server.configuration.read_text()
        for name, given in (("plain", "$auth3"), ("login", "$auth2")):
            before, found, after = text.partition(f"\n{name}:\n")
            text = (
                before
                + found
                + after.replace(
                    "server_condition = true",
                    f"server_condition = ${{if eq{{{given}}}{{{PASSWORD}}}}}",
                    1,
                )
            )
        server.configuration.write_text(text)
        server.start()

    # ---- recording -----------------------------------------------------------------------------

    def tcpdump(
        self,
        file: Path,
        interface: str = "outside",
        where: str = FILTER,
        *,
        expression: str = "tcp port 25",
    ) -> RunningCapture:
        """Start a capture."""
        return self.lab.capture(file, interface, where, expression=expression)

    def end_connections(self) -> None:
        """End what the last capture has left, so that the next one does not show it."""
        for where in (CLIENT, SERVER):
            self.lab.run(where, ["ss", "-HKt", "( sport = :25 or dport = :25 )"])

    @contextmanager
    def firewall(self, config: str | None = None) -> Iterator[None]:
        """Another inspecting firewall on the path, with the default map or another."""
        running = self.lab.filter(self.file(config) if config is not None else None)
        try:
            yield
        finally:
            running.stop()

    # ---- clients -------------------------------------------------------------------------------

    def file(self, text: str) -> Path:
        """A file with this text, for a client."""
        path = self.lab.directory / f"file-{next(self._numbers)}"
        path.write_text(text)
        return path

    def swaks(self, *arguments: str, to: str = MAIL, message: str = MESSAGE) -> None:
        """One mail by swaks, whether or not it arrives."""
        given = dict(zip(arguments[::2], arguments[1::2], strict=False))
        words = ["swaks", "--server", to, "--helo", "client.example", "--timeout", "3"]
        words += ["--data", f"@{self.file(message.removesuffix(chr(10)))}"]
        words += [] if "--from" in given else ["--from", SENDER]
        words += [] if "--to" in given else ["--to", RECIPIENT]
        self.lab.run(CLIENT, [*words, *arguments], check=False)

    def smtp_source(self, *arguments: str, to: str = MAIL) -> None:
        """Mail by Postfix's load generator."""
        own = ["-M", "client.example", "-f", SENDER, "-t", RECIPIENT]
        self.lab.run(CLIENT, ["smtp-source", *own, *arguments, f"{to}:25"], check=False)

    def curl(self, *arguments: str, to: str = MAIL, message: str = MESSAGE) -> None:
        """One mail by curl."""
        words = ["curl", "-s", f"smtp://{to}/client.example", "--mail-from", SENDER]
        words += ["--mail-rcpt", RECIPIENT, "--crlf", "--upload-file", str(self.file(message))]
        self.lab.run(CLIENT, [*words, *arguments], check=False)

    def library(self, program: str, *arguments: str) -> None:
        """Run a program that sends by Python's smtplib."""
        words = [sys.executable, "-c", LIBRARY + program, *arguments]
        self.lab.run(CLIENT, words, check=False)

    def postfix(
        self,
        *,
        to: str = MAIL,
        message: str = MESSAGE,
        recipients: Sequence[str] = (RECIPIENT,),
        **settings: str,
    ) -> None:
        """One mail by Postfix, delivered or deferred."""
        name = f"postfix-client-{next(self._numbers)}"
        client = postfix.client(self.lab, CLIENT, name, to, settings)
        client.start()
        try:
            client.submit(message.encode(), SENDER, *recipients)
            client.wait_for("status=")
        finally:
            client.stop()

    def exim(self, transport: str = "", *, to: str = MAIL, message: str = MESSAGE) -> None:
        """One mail by Exim; *transport*: further lines for its smtp transport."""
        exim.send(
            self.lab,
            CLIENT,
            f"exim-client-{next(self._numbers)}",
            to,
            message,
            (SENDER, RECIPIENT),
            transport=transport,
        )

    @contextmanager
    def dialogue(
        self, to: str, greeting: str = "220", *, patience: float = 5.0
    ) -> Iterator[ClientConnection]:
        """A client that sends what the capture says, once the server has greeted."""
        with ClientConnection.open(self.lab, to, timeout=patience) as client:
            reply = client.reply()
            assert reply.startswith(greeting), reply
            yield client

    @contextmanager
    def server(self, script: Script) -> Iterator[RecordingServer]:
        """A server at `SCRIPT` that answers from *script*."""
        with RecordingServer(self.lab, SCRIPT, script) as server:
            yield server
