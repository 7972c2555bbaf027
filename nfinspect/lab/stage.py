"""What a case can use: the servers, each started when first needed, and the clients.

A stage belongs to one lab and serves many cases, one after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from nfinspect.lab import exim, postfix, topology
from nfinspect.lab.dialogue import ClientConnection, RecordingServer, Script
from nfinspect.lab.exim import Exim
from nfinspect.lab.mailbox import Maildir
from nfinspect.lab.topology import CLIENT, FILTER, SERVER, LabError

if TYPE_CHECKING:
    from nfinspect.lab.lab import Lab

SENDER, RECIPIENT = "sender@client.example", "box@inside.example"

MESSAGE = f"""\
Date: Mon, 2 Nov 2026 09:00:00 +0000
From: Sender <{SENDER}>
To: Box <{RECIPIENT}>
Subject: The harbour at night
Message-Id: <harbour@client.example>

The lamps are lit at nine.
.A line that begins with a dot is sent with two.
Good night.
"""
"""An ordinary mail as its author sees it: lines end with LF, and dots are not stuffed."""

PATIENCE = 2
"""Seconds for which the clients wait for a reply; short, as some replies never come."""

EXIM_PATIENCE = f"""\
  command_timeout = {PATIENCE}s
  data_timeout = {PATIENCE}s
  final_timeout = {PATIENCE}s
"""

ADDRESSES = {
    ("postfix", 4): topology.SERVER_ADDRESS,
    ("postfix", 6): topology.SERVER_ADDRESS6,
    ("exim", 4): topology.EXIM_ADDRESS,
    ("exim", 6): topology.EXIM_ADDRESS6,
    ("script", 4): topology.SCRIPT_ADDRESS,
    ("script", 6): topology.SCRIPT_ADDRESS6,
}
"""The address of each server, by IP version."""


class MailStage:
    """The servers and clients of one lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._numbers = itertools.count(1)
        self.server, self.version = "postfix", 4
        """The server of the current case, and the IP version."""
        self.said: list[str] = []
        """What the clients have reported since ``set``."""

    def set(self, server: str, version: int) -> None:
        """Prepare for a case with this server and IP version."""
        self._end_connections()
        self.server, self.version, self.said = server, version, []
        if server != "script":
            self.mailbox.clear()

    def _end_connections(self) -> None:
        # A client without an answer has exited, but its kernel would retransmit for minutes, into
        # the next case.
        for where in (CLIENT, SERVER):
            self.lab.run(where, ["ss", "-HKt", "( sport = :25 or dport = :25 )"])

    @property
    def address(self) -> str:
        """The address of the current case's server."""
        return ADDRESSES[self.server, self.version]

    @property
    def client_address(self) -> str:
        return topology.CLIENT_ADDRESS if self.version == 4 else topology.CLIENT_ADDRESS6

    @property
    def mailbox(self) -> Maildir:
        """The mailbox of the current case's server."""
        return self.exim.mailbox if self.server == "exim" else self.postfix.mailbox

    @cached_property
    def postfix(self) -> postfix.Postfix:
        """The Postfix server, which offers STARTTLS."""
        server = postfix.server(self.lab, SERVER, postfix.tls(self.lab.directory))
        server.start()
        return server

    @cached_property
    def exim(self) -> Exim:
        """The Exim server, which offers AUTH."""
        server = Exim(self.lab, SERVER)
        server.start()
        return server

    def swaks(self, *arguments: str, message: str = MESSAGE) -> None:
        """Send *message* with swaks, whether or not it succeeds; its complaints go to `said`."""
        topology.require_programs("swaks")
        file = self.lab.directory / f"message-{next(self._numbers)}"
        file.write_text(message.removesuffix("\n"))  # swaks adds the last line ending
        words = ["swaks", "--server", self.address, "--helo", topology.CLIENT_NAME]
        words += ["--timeout", str(PATIENCE), "--from", SENDER, "--data", f"@{file}"]
        if "--to" not in arguments:
            words += ["--to", RECIPIENT]
        done = self.lab.run(CLIENT, [*words, *arguments], check=False)
        said = [line for line in done.stdout.splitlines() if line.startswith(("***", "<**"))]
        self.said += [*said, *done.stderr.splitlines()]

    @contextmanager
    def dialogue(self, greeting: str | None = "220") -> Iterator[ClientConnection]:
        """Connect a `ClientConnection`, and read the greeting, which must begin with *greeting*."""
        with ClientConnection.open(self.lab, self.address, timeout=PATIENCE) as client:
            if greeting is not None:
                reply = client.reply()
                if not reply.startswith(greeting):
                    raise LabError(f"greeted with '{reply}', not '{greeting}'")
            yield client

    @contextmanager
    def script(self, script: Script) -> Iterator[RecordingServer]:
        """Run a server that answers from *script*."""
        with RecordingServer(self.lab, self.address, script) as server:
            yield server

    def send_by_postfix(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        message: str = MESSAGE,
        recipients: Sequence[str] = (RECIPIENT,),
    ) -> None:
        """Send *message* with a Postfix client, and wait until it is done."""
        name = f"postfix-client-{next(self._numbers)}"
        client = postfix.client(self.lab, CLIENT, name, self.address, settings)
        client.start()
        try:
            client.submit(message.encode(), SENDER, *recipients)
            client.wait_for("status=")
            self.said += [
                line.partition(": ")[2]
                for line in client.log().splitlines()
                if any(word in line for word in ("status=", "workarounds", "warning", "fatal"))
            ]
        finally:
            client.stop()

    def send_by_exim(self, *, message: str = MESSAGE, transport: str = "") -> None:
        """Send *message* with Exim, trying once; what it logs goes to `said`."""
        log = exim.send(
            self.lab,
            CLIENT,
            f"exim-client-{next(self._numbers)}",
            self.address,
            message,
            (SENDER, RECIPIENT),
            transport=EXIM_PATIENCE + transport,
        )
        self.said += [line.split(" ", 3)[-1] for line in log.splitlines()]

    def nmap(self) -> None:
        """Ask nmap which server it is; its answer goes to `said`."""
        topology.require_programs("nmap")
        words = ["nmap", "-n", "-Pn", "-p", "25", "-sV", self.address]
        words += [
            "--max-retries",
            "0",
            "--initial-rtt-timeout",
            "5s",
        ]  # one SYN, however busy we are
        done = self.lab.run(CLIENT, words)
        self.said += [line for line in done.stdout.splitlines() if line.startswith("25/tcp")]

    @contextmanager
    def loss(self, every: int) -> Iterator[None]:
        """Drop every *every*-th packet with data, in both directions, on both sides of the filter.

        The choice is deterministic, counted from now. Packets are dropped before the filter's queue
        and at the receiver.
        """
        counted = f"-p tcp -m length --length 200:65535 -m statistic --mode nth --every {every}"
        on = "-m physdev --physdev-in" if self.lab.bridge else "-i"
        places = (
            (FILTER, f"{on} outside", every // 2),
            (FILTER, f"{on} inside", every // 2),
            (SERVER, "-i eth0", every - 1),
            (CLIENT, "-i eth0", every - 1),
        )
        program = "iptables" if self.version == 4 else "ip6tables"

        def change(word: str) -> None:
            for where, interface, offset in places:
                rule = f"{interface} {counted} --packet {offset} -j DROP"
                self.lab.run(
                    where, [program, "-w", "-t", "mangle", word, "PREROUTING", *rule.split()]
                )

        change("-A")
        try:
            yield
        finally:
            change("-D")
