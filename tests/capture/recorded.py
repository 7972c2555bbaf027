"""Conversations recorded without a filter in the path: packets as the two hosts would send them."""

from __future__ import annotations

from click.testing import CliRunner

from nfinspect import cli
from tests.property.test_captures import with_checksums
from tests.unit.replay.mail import datagram

GREETING = ("<", b"220 mail.example.net ESMTP\r\n")
HELO = ((">", b"HELO client.example.net\r\n"), ("<", b"250 mail.example.net\r\n"))
ENVELOPE = (
    (">", b"MAIL FROM:<a@example.net>\r\n"),
    ("<", b"250 2.1.0 Ok\r\n"),
    (">", b"RCPT TO:<b@example.net>\r\n"),
    ("<", b"250 2.1.5 Ok\r\n"),
    (">", b"DATA\r\n"),
    ("<", b"354 go\r\n"),
)
QUIT = ((">", b"QUIT\r\n"), ("<", b"221 2.0.0 Bye\r\n"))
LONG_HEADER = b"X-Long: " + b"a" * 1200 + b"\r\n"
LONG_MAIL = ((">", LONG_HEADER + b"\r\nHello.\r\n.\r\n"), ("<", b"250 2.0.0 Ok: queued\r\n"))
MAIL = ((">", b"Subject: test\r\n\r\nHello.\r\n.\r\n"), ("<", b"250 2.0.0 Ok: queued\r\n"))

EHLO = (
    (">", b"EHLO client.example.net\r\n"),
    ("<", b"250-mail.example.net\r\n250-PIPELINING\r\n250 STARTTLS\r\n"),
)
CLEAN = (GREETING, *HELO, *ENVELOPE, *MAIL, *QUIT)
LONG = (GREETING, *HELO, *ENVELOPE, *LONG_MAIL, *QUIT)
HEADER = "match header line length gt 998"
"""The clause that closes `LONG`."""


def replayed(*arguments: object) -> str:
    """What ``nfinspect replay`` prints; it must succeed."""
    words = ["replay", *map(str, arguments)]
    done = CliRunner().invoke(cli.main, words, prog_name="nfinspect")
    assert done.exit_code == 0, done.output
    return done.stdout


def conversation(
    dialogue: tuple[tuple[str, bytes], ...], *, port: int = 40_001, six: bool = False
) -> list[bytes]:
    """From SYN to the last ACK. Each line acknowledges what has been sent, and is acknowledged by a
    packet of its own."""

    def send(direction: str, flags: str, payload: bytes = b"") -> bytes:
        own, other = (0, 1) if direction == ">" else (1, 0)
        packet = datagram(
            direction, flags, numbers[own], numbers[other] if "A" in flags else 0, payload,
            port=port, six=six,
        )  # fmt: skip
        numbers[own] += len(payload) + ("S" in flags) + ("F" in flags)
        return packet

    numbers = [1000, 5000]
    packets = [send(">", "S"), send("<", "SA"), send(">", "A")]
    for direction, payload in dialogue:
        packets.append(send(direction, "PA", payload))
        packets.append(send("<" if direction == ">" else ">", "A"))
    packets += [send(">", "FA"), send("<", "FA"), send(">", "A")]
    return packets


def from_client(packet: bytes) -> bool:
    transport = 20 if packet[0] >> 4 == 4 else 40
    return packet[transport + 2 : transport + 4] == b"\x00\x19"


def with_field(packet: bytes, at: int, value: int) -> bytes:
    """The packet with another 16-bit field."""
    return packet[:at] + value.to_bytes(2, "big") + packet[at + 2 :]


def length_0(packet: bytes) -> bytes:
    """The packet with the IP length that segmentation offload leaves, checksums right."""
    return with_checksums(with_field(packet, 2 if packet[0] >> 4 == 4 else 4, 0))
