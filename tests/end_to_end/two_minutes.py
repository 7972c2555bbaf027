"""Connections that inspection closes, and two minutes of the client kernel's retransmissions."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from nfinspect.lab import expected_lines
from nfinspect.lab.capture import RunningCapture
from nfinspect.lab.dialogue import ClientConnection, RecordingServer
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT_ADDRESS, SCRIPT_ADDRESS
from nfinspect.policy import default_text

LENGTH = 120.0
"""Seconds."""


@dataclass(frozen=True)
class Closing:
    """How inspection closes a connection."""

    name: str
    before: tuple[str, ...]
    """Commands that pass."""
    last: bytes
    """What closes it; the client hears nothing of that."""
    syslog: tuple[expected_lines.Template, ...]


ENVELOPE = ("EHLO client.example", "MAIL FROM:<a@client.example>", "RCPT TO:<b@inside.example>")

CLOSINGS = (
    Closing(
        "command line",
        ENVELOPE[:1],
        b"NOOP " + b"n" * 600 + b"\r\n",
        expected_lines.dropped("1: cmd line length gt 512"),
    ),
    Closing(
        "header line",
        (*ENVELOPE, "DATA"),
        b"X-Long: " + b"x" * 1200 + b"\r\n\r\nhello\r\n.\r\n",
        expected_lines.dropped("4: header line length gt 998"),
    ),
    Closing(
        "pipe",
        ENVELOPE[:2],
        b"RCPT TO:<|sh@inside.example>\r\n",
        (
            expected_lines.BUILT,
            expected_lines.malicious("TO:<|sh@inside.example>"),
            expected_lines.TERMINATED,
            expected_lines.CLOSED,
        ),
    ),
)


@dataclass
class TwoMinutes:
    """A lab in which these connections have been closed, with captures on both sides."""

    started: float
    running: RunningFilter
    outside: RunningCapture
    inside: RunningCapture
    server: RecordingServer
    clients: list[ClientConnection]
    passed: list[bytes]
    """What each client had sent before; nothing else may have reached the server."""
    _stack: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def begin(cls, *, restarts: bool = False) -> TwoMinutes:
        """``restarts``: the filter is killed, started with another configuration, stopped and started
        again, while the clients retransmit; the rules stay in place."""
        with ExitStack() as stack:
            lab = stack.enter_context(Lab(offloads=False))
            state = ("--state", str(lab.directory / "closed"))
            running = lab.filter(arguments=state)
            outside = lab.capture(lab.directory / "outside.pcap", "outside")
            inside = lab.capture(lab.directory / "inside.pcap", "inside")
            server = RecordingServer(lab, SCRIPT_ADDRESS)
            clients, passed = [], []
            for number, closing in enumerate(CLOSINGS, 1):
                client = ClientConnection.open(lab, SCRIPT_ADDRESS)
                client.reply()
                for line in closing.before:
                    client.command(line)
                lawful = "".join(f"{line}\r\n" for line in closing.before).encode()
                client.send(closing.last)
                clients.append(client)
                passed.append(lawful)
                lines = sum(len(each.syslog) for each in CLOSINGS[:number])
                running.wait(lambda lines=lines: len(running.syslog) >= lines, 5)  # type: ignore[misc]
            if restarts:
                os.kill(running.pid, signal.SIGKILL)
                running.end()
                changed = lab.directory / "changed.cfg"
                changed.write_text(default_text().replace("mask-banner", "no mask-banner"))
                lab.filter(changed, arguments=state).end()
                running = lab.filter(arguments=state)
            return cls(
                time.monotonic(), running, outside, inside, server, clients, passed, stack.pop_all()
            )

    def wait(self) -> None:
        """Wait until the two minutes are over, and stop the captures."""
        time.sleep(max(0.0, self.started + LENGTH - time.monotonic()))
        self.outside.stop()
        self.inside.stop()

    def end(self) -> None:
        self._stack.close()

    def syslog_differences(self) -> list[str]:
        templates = [line for closing in CLOSINGS for line in closing.syslog]
        return expected_lines.differences(
            self.running.syslog, templates, client=CLIENT_ADDRESS, server=SCRIPT_ADDRESS
        )
