"""One mail from a client to a sink, two processes that together verify what arrived.

``python -m bench.transfer sink ADDRESS`` answers sessions until SIGTERM. ``python -m bench.transfer
send ADDRESS FILE CONTROL`` sends the mail in FILE with that congestion control, and prints as JSON
how long it took and TCP's counters. The SMTP is just enough for a valid mail; the reply to the end of
data contains a digest of what arrived.
"""

from __future__ import annotations

import json
import socket
import sys
from hashlib import sha256
from pathlib import Path
from time import perf_counter

from bench.loads import RECIPIENT, SENDER
from nfinspect.lab import topology

PATIENCE = 300.0
"""Seconds that either waits for the other."""

END = b"\r\n.\r\n"
REPLIES = {
    b"EHLO": b"250-mail.example\r\n250 8BITMIME\r\n",
    b"DATA": b"354 go ahead\r\n",
    b"QUIT": b"221 bye\r\n",
}


def serve(address: str) -> None:
    """Answer sessions one after another, for ever."""
    listening = socket.create_server((address, 25))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        connection, _ = listening.accept()
        connection.settimeout(PATIENCE)
        with connection:
            _answer(connection)


def _answer(connection: socket.socket) -> None:
    connection.sendall(b"220 mail.example ESMTP\r\n")
    while line := _line(connection):
        connection.sendall(REPLIES.get(line[:4], b"250 ok\r\n"))
        if line.startswith(b"DATA"):
            connection.sendall(b"250 " + _digest_of_message(connection).encode() + b"\r\n")


def _digest_of_message(connection: socket.socket) -> str:
    digest = sha256()
    tail = b""
    while not tail.endswith(END):
        data = connection.recv(1 << 17)
        if not data:
            return "ended early"
        digest.update(data)
        tail = (tail + data)[-len(END) :]
    return digest.hexdigest()


def send(address: str, file: Path, control: str) -> dict[str, float]:
    """Send the mail. Return the seconds from the SYN to the reply to its end, and TCP's counters.

    Raises ValueError if something else arrived.
    """
    message = file.read_bytes() + END[2:]
    before = counters()
    started = perf_counter()
    with socket.socket() as connection:
        connection.settimeout(PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, control.encode())
        connection.connect((address, 25))
        _expect(connection, b"220")
        for command in (
            f"EHLO {topology.CLIENT_NAME}",
            f"MAIL FROM:<{SENDER}>",
            f"RCPT TO:<{RECIPIENT}>",
        ):
            connection.sendall(command.encode() + b"\r\n")
            _expect(connection, b"250")
        connection.sendall(b"DATA\r\n")
        _expect(connection, b"354")
        connection.sendall(message)
        _expect(connection, b"250 " + sha256(message).hexdigest().encode())
        seconds = perf_counter() - started
        connection.sendall(b"QUIT\r\n")
        _expect(connection, b"221")
    after = counters()
    return {"seconds": seconds, **{name: after[name] - before[name] for name in COUNTERS}}


def _line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        line += byte
    return line


def _expect(connection: socket.socket, beginning: bytes) -> None:
    while (line := _line(connection))[3:4] == b"-":
        pass
    if not line.startswith(beginning):
        raise ValueError(f"{line!r} instead of {beginning!r}")


COUNTERS = (
    "RetransSegs",
    "TCPFastRetrans",
    "TCPSlowStartRetrans",
    "TCPTimeouts",
    "TCPLossProbes",
    "TCPLossProbeRecovery",
    "TCPLostRetransmit",
    "TCPSackRecovery",
    "TCPDSACKRecv",
    "TCPDSACKUndo",
    "TCPFullUndo",
    "TCPSpuriousRTOs",
    "TCPSACKReneging",
    "TCPSACKReorder",
)
"""The sender's counters that are reported, with the kernel's names (nstat)."""


def counters() -> dict[str, int]:
    """The counters of this network namespace, by name."""
    found: dict[str, int] = {}
    for table in ("snmp", "netstat"):
        lines = Path(f"/proc/self/net/{table}").read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            found.update(zip(names.split()[1:], map(int, values.split()[1:]), strict=True))
    return found


if __name__ == "__main__":
    if sys.argv[1] == "sink":
        serve(sys.argv[2])
    else:
        sys.stdout.write(json.dumps(send(sys.argv[2], Path(sys.argv[3]), sys.argv[4])) + "\n")
