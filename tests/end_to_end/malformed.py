"""Malformed segments inside live sessions: ``python -m tests.end_to_end.malformed SECONDS`` as root.

A client sends ordinary commands. Between them come copies of its own segments, on the same connection,
with random faults: flags, numbers, options, lengths, checksums, other bytes with unsupported commands.
The filter must live, and the server must never read such a command unmasked.
"""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import time
from dataclasses import dataclass, field

from nfinspect.lab.dialogue import ClientConnection, RecordingServer
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab, orderly_end
from nfinspect.lab.topology import CLIENT, SCRIPT_ADDRESS
from nfinspect.packet.checksum import ipv4_header_checksum, tcp_checksum

HIDDEN = (b"XCLIENT ADDR=1\r\n", b"EXPN all\r\n", b"STARTTLS\r\n", b"BDAT 5 LAST\r\n", b"VERB\r\n")
COMMANDS = (
    "EHLO c.example",
    "NOOP",
    "MAIL FROM:<a@b.example>",
    "RCPT TO:<c@d.example>",
    "RSET",
    "VRFY a",
)
TCP = 34
"""Offset of the TCP header in a frame with an IPv4 header of 20 bytes."""


@dataclass
class Outcome:
    sessions: int = 0
    malformed: int = 0
    read: list[bytes] = field(default_factory=list)
    """What the server read, by connection."""

    def hidden(self) -> list[bytes]:
        """Unsupported commands that the server read."""
        verbs = {each.split()[0] for each in HIDDEN}
        return [
            line
            for text in self.read
            for line in text.split(b"\r\n")
            if line.split(b" ")[0].upper() in verbs
        ]


def distort(chance: random.Random, frame: bytes) -> bytes:
    """A copy of a frame with faults, and often with a correct checksum."""
    copy = bytearray(frame)
    header = (copy[TCP + 12] >> 4) * 4
    if chance.random() < 0.6:
        payload = chance.choice((*HIDDEN, chance.randbytes(chance.randrange(60)), b"\0" * 9))
        copy = copy[: TCP + header] + payload
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        at = chance.choice(
            (TCP + 4 + chance.randrange(16), TCP + chance.randrange(len(copy) - TCP))
        )
        copy[at] = chance.randrange(256)
    if chance.random() < 0.5:  # near the right number
        number = int.from_bytes(frame[TCP + 4 : TCP + 8], "big") + chance.randrange(-40, 80)
        copy[TCP + 4 : TCP + 8] = (number % 2**32).to_bytes(4, "big")
    if chance.random() < 0.1:
        copy = copy[: chance.randrange(TCP, len(copy))]
    if chance.random() < 0.95:
        copy[16:18] = (len(copy) - 14).to_bytes(2, "big")
    if chance.random() < 0.8 and len(copy) >= TCP + 20:
        copy[TCP + 16 : TCP + 18] = bytes(2)
        checksum = tcp_checksum(bytes(copy[26:TCP]), copy[TCP:])
        copy[TCP + 16 : TCP + 18] = checksum.to_bytes(2, "big")
    copy[24:26] = ipv4_header_checksum(copy[14:TCP]).to_bytes(2, "big")
    return bytes(copy)


def run(lab: Lab, seconds: float, seed: int) -> Outcome:
    """Play sessions for so many seconds."""
    chance = random.Random(seed)
    outcome = Outcome()
    cable = lab.socket(CLIENT, socket.AF_PACKET, socket.SOCK_RAW)
    cable.bind(("eth0", 3))  # ETH_P_ALL: what the client itself sends, too
    cable.setblocking(False)
    until = time.monotonic() + seconds
    with RecordingServer(lab, SCRIPT_ADDRESS) as server, contextlib.closing(cable):
        while time.monotonic() < until:
            outcome.sessions += 1
            with (
                contextlib.suppress(OSError),
                ClientConnection.open(lab, SCRIPT_ADDRESS, timeout=0.3) as client,
            ):
                client.reply()
                for command in chance.choices(COMMANDS, k=8):
                    client.send(command.encode() + b"\r\n")
                    for frame in _own(cable):
                        for _ in range(chance.randrange(6)):
                            with contextlib.suppress(OSError):
                                cable.send(distort(chance, frame))
                                outcome.malformed += 1
                    client.reply()
        outcome.read = [bytes(each.received) for each in server.recordings]
    return outcome


def _own(cable: socket.socket) -> list[bytes]:
    """The client's latest segments to port 25."""
    frames = []
    with contextlib.suppress(BlockingIOError):
        while True:
            frame, address = cable.recvfrom(2048)
            if address[2] == socket.PACKET_OUTGOING and frame[TCP + 2 : TCP + 4] == b"\0\x19":
                frames.append(frame)
    return frames[-3:]


def main() -> None:
    seconds = float(sys.argv[1])
    with orderly_end(), Lab(offloads=False) as lab:
        running: RunningFilter = lab.filter()
        outcome = run(lab, seconds, seed=int(time.time()))
        state = running.show_json("queue")
        running.end()
    print(
        f"{outcome.sessions} sessions, {outcome.malformed} malformed segments, server read"
        f" {sum(map(len, outcome.read))} bytes, unsupported commands among them:"
        f" {len(outcome.hidden())}; dropped {state['dropped']}"
    )
    sys.exit(bool(outcome.hidden()))


if __name__ == "__main__":
    main()
