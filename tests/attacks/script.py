"""The notation for attacks: the packets of a client, relative to its connection, and the verdict on
each.

A script has no clock and no network; ``model`` and ``linux`` provide these. The client that plays it
builds every packet itself, so any field may have a wrong value.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nfinspect.actions import DropReason
from tests.model.wire import internet_sum

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
DATA = ACK | PSH

INITIAL = 2**32 - 20
"""The client's initial sequence number: its stream crosses the wrap."""


class Fate:
    """What happens to a packet, other than that it passes with another payload or is dropped."""

    SAME = "same"
    """It passes unchanged."""
    HELD = "held"
    UNSEEN = "unseen"
    """The kernel discards it before the filter."""
    ANY = "any"
    """Not checked: what the server reads in the end counts."""


Verdict = bytes | DropReason | str
"""The payload with which it passes, why it is dropped, or one of ``Fate``."""


@dataclass(frozen=True, slots=True)
class Send:
    """One packet. Numbers are offsets: 0 is the first byte that the script sends; in a script without
    greeting, -1 is the SYN. ``ack`` is added to the correct acknowledgment number."""

    payload: bytes = b""
    becomes: Verdict = Fate.SAME
    at: int | None = None
    """None: where the last packet without an ``at`` ended."""
    flags: int = DATA
    ack: int = 0
    window: int = 60000
    options: bytes = b""
    stamp: int | None = 0
    """Added to the timestamp, if the connection has timestamps; None: without a timestamp."""
    ttl: int = 64
    bad_checksum: bool = False
    urgent: int = 0
    reserved: int = 0
    data_offset: int | None = None
    """In 32-bit words, if it is to be wrong."""
    length: int = 0
    """Added to the length in the IP header."""
    ip_options: bytes = b""
    chain: tuple[int, ...] = ()
    """IPv6 extension headers before the TCP header, by number."""
    pieces: tuple[tuple[int, int], ...] = ()
    """Sent as IP fragments: start and end of each, in bytes of the IP payload."""
    noise: bytes = b""
    """Fills every second fragment instead of the proper bytes."""
    released: tuple[Verdict, ...] = ()
    """The verdicts that held packets get at this packet."""
    leaves: dict[str, Any] = field(default_factory=dict)
    """Fields of the packet as it leaves: ``flags``, ``options``, ``hop_limit``, ``urgent``."""
    forged: bool = False
    """Sent in the server's name, from the client's side; ``at`` counts from the server's next byte."""
    by_server: bool = False
    """Sent by the server: only for attacks in which the server takes part, and only in ``model``."""
    before_answer: bool = False
    """It overtakes the server's answer to the packet before it."""


@dataclass(frozen=True, slots=True)
class Expect:
    """Wait for the server's reply, which must have this code; without a code, for its SYN-ACK."""

    code: bytes = b""
    end: bool = False
    """Wait for its FIN instead."""


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float
    live: bool = True
    """Whether the wait is also needed in real time."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Start another connection on the same port, with an initial number this much higher."""

    higher: int


@dataclass(frozen=True, slots=True)
class Origin:
    """The offsets of the script count from here."""


Step = Send | Expect | Wait | Reconnect | Origin

HANDSHAKE: tuple[Step, ...] = (Send(flags=SYN, at=-1), Expect(), Send(flags=ACK))
GREETING: tuple[Step, ...] = (
    *HANDSHAKE,
    Expect(b"220"),
    Send(b"HELO a\r\n"),
    Expect(b"250"),
    Origin(),
)
ALIVE: tuple[Step, ...] = (Send(b"NOOP\r\n"), Expect(b"250"))
"""Checks that the connection still works."""


@dataclass(frozen=True, slots=True)
class Script:
    """One variant of an attack."""

    steps: tuple[Step, ...]
    received: tuple[bytes, ...]
    """What the server has read in the end, per connection."""
    name: str = ""
    greeting: bool = True
    """Start with the handshake and HELO, which ``received`` then does not include."""
    timestamps: bool = False
    family: int = 0
    """4 or 6, if it works over only one of them."""
    port: int = 0
    """The client's port, if it matters."""
    live: bool = True
    server: bool = True
    """Whether a server answers, apart from the packets sent ``by_server``."""
    effective: bool = False
    """Whether the Linux server reads the evil line without the filter."""


def expected_of(script: Script) -> tuple[bytes, ...]:
    """What the server should read, including the greeting."""
    if not script.greeting:
        return script.received
    first, *others = script.received
    return (b"HELO a\r\n" + first, *others)


@dataclass(frozen=True, slots=True)
class Attack:
    name: str
    sources: tuple[str, ...]
    outcome: str
    """For the document: what passes, is dropped or normalized."""
    scripts: tuple[Script, ...]


def option(kind: int, value: bytes = b"") -> bytes:
    return bytes((kind, 2 + len(value))) + value


def timestamps(value: int, echo: int) -> bytes:
    return b"\1\1" + option(8, struct.pack("!LL", value & 0xFFFFFFFF, echo & 0xFFFFFFFF))


@dataclass(slots=True)
class Client:
    """The attacker's side of one connection."""

    address: bytes
    port: int
    server: bytes
    server_port: int = 25
    initial: int = INITIAL
    base: int = 0
    """Where the script's offsets start, counted from the first payload byte."""
    next: int = 0
    stamps: int | None = None
    """Its timestamp clock, if it sends timestamps."""
    server_initial: int | None = None
    replies: bytearray = field(default_factory=bytearray)
    """The bytes received from the server, in order."""
    ahead: dict[int, bytes] = field(default_factory=dict)
    server_fin: int | None = None
    echo: int = 0
    checked: int = 0
    """How many bytes of the replies have been waited for."""
    synchronized: bool = False
    server_next: int | None = None
    """The server's acknowledgment number: the sequence number that it expects next."""

    @property
    def family(self) -> int:
        return 4 if len(self.address) == 4 else 6

    @property
    def acknowledgment(self) -> int:
        if self.server_initial is None:
            return 0
        fin = self.server_fin is not None and self.server_fin <= len(self.replies)
        return self.server_initial + 1 + len(self.replies) + fin

    def has_received(self, expected: Expect) -> bool:
        """Whether what is expected has arrived; fail if a reply has another code."""
        code = expected.code
        if expected.end:
            return self.server_fin is not None and self.server_fin <= len(self.replies)
        if not code:
            return self.synchronized
        line, end, _ = bytes(self.replies[self.checked :]).partition(b"\r\n")
        if not end:
            return False
        assert line.startswith(code), f"{line!r} instead of {code!r}"
        self.checked += len(line) + 2
        return True

    def asked_by(self, packet: Segment) -> bool:
        """Whether it is an ACK with an old number, as a keep-alive has, which a TCP answers (RFC 9293 section
        3.8.4)."""
        if self.server_initial is None or packet.flags & (FIN | SYN | RST) or packet.payload:
            return False
        return 0 < (self.acknowledgment - packet.sequence) % 2**32 < 2**31

    def receive(self, packet: Segment) -> None:
        """Process a packet from the server."""
        stamps = packet.stamps()
        if stamps is not None:
            self.echo = stamps[0]
        if packet.flags & ACK:
            self.server_next = packet.acknowledgment
        if packet.flags & SYN:
            if packet.flags & ACK and packet.acknowledgment == (self.initial + 1) % 2**32:
                self.server_initial = packet.sequence
                self.synchronized = True
            return
        if self.server_initial is None or packet.flags & RST:
            return
        at = (packet.sequence - self.server_initial - 1 + 2**31) % 2**32 - 2**31
        if packet.payload:
            self.ahead.setdefault(at, packet.payload)
        if packet.flags & FIN:
            self.server_fin = at + len(packet.payload)
        moved = True
        while moved:
            moved = False
            for start, payload in sorted(self.ahead.items()):
                if start <= len(self.replies) < start + len(payload):
                    self.replies += payload[len(self.replies) - start :]
                    moved = True
            self.ahead = {s: p for s, p in self.ahead.items() if s + len(p) > len(self.replies)}

    def build(self, send: Send) -> list[bytes]:
        """The datagram, or its fragments."""
        if send.forged or send.by_server:
            return self._in_the_servers_name(send)
        if send.at is None:
            at = self.next
            self.next += len(send.payload) + (1 if send.flags & FIN else 0)
        else:
            at = self.base + send.at
        options = send.options
        if send.flags & SYN:
            options = option(2, b"\5\xb4") + options
        if self.stamps is not None and send.stamp is not None:
            self.stamps += 10
            options = timestamps(self.stamps + send.stamp, self.echo) + options
        acknowledgment = self.acknowledgment + send.ack if send.flags & ACK else 0
        segment = Segment(
            (self.address, self.port),
            (self.server, self.server_port),
            self.initial + 1 + at,
            acknowledgment,
            send.flags,
            send.window,
            send.payload,
            options,
            send.urgent,
        )
        return build(segment, send)

    def _in_the_servers_name(self, send: Send) -> list[bytes]:
        segment = Segment(
            (self.server, self.server_port),
            (self.address, self.port),
            self.acknowledgment + (send.at or 0),
            self.initial + 1 + self.next + send.ack,
            send.flags,
            send.window,
            send.payload,
            send.options,
        )
        return build(segment, send)


@dataclass(slots=True)
class Segment:
    """A TCP segment with its addresses, of either IP version."""

    source: tuple[bytes, int]
    destination: tuple[bytes, int]
    sequence: int
    acknowledgment: int
    flags: int
    window: int
    payload: bytes = b""
    options: bytes = b""
    urgent: int = 0
    hop_limit: int = 64

    def stamps(self) -> tuple[int, int] | None:
        """Timestamp value and echo."""
        value = parse_options(self.options).get(8)
        return None if value is None else struct.unpack("!LL", value)


def parse_options(options: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(options) and options[at]:
        if options[at] == 1:
            at += 1
            continue
        if at + 1 >= len(options) or options[at + 1] < 2 or at + options[at + 1] > len(options):
            break
        found.setdefault(options[at], options[at + 2 : at + options[at + 1]])
        at += options[at + 1]
    return found


def build(segment: Segment, overrides: Send | None = None) -> list[bytes]:
    """The datagram of a segment, or its fragments, with the faults in *overrides*."""
    overrides = overrides or Send()
    options = segment.options + b"\1" * (-len(segment.options) % 4)
    words = (20 + len(options)) // 4 if overrides.data_offset is None else overrides.data_offset
    tcp = struct.pack(
        "!HHLLBBHHH",
        segment.source[1],
        segment.destination[1],
        segment.sequence & 0xFFFFFFFF,
        segment.acknowledgment & 0xFFFFFFFF,
        words << 4 | overrides.reserved,
        segment.flags,
        segment.window,
        0,
        segment.urgent,
    )
    tcp += options + segment.payload
    addresses = segment.source[0] + segment.destination[0]
    checksum = 0xFFFF ^ internet_sum(addresses + struct.pack("!HH", 6, len(tcp)) + tcp)
    if overrides.bad_checksum:
        checksum ^= 0x5555
    tcp = tcp[:16] + struct.pack("!H", checksum) + tcp[18:]
    if len(addresses) == 8:
        return _ipv4(addresses, tcp, overrides)
    return _ipv6(addresses, tcp, overrides)


def _ipv4(addresses: bytes, tcp: bytes, overrides: Send) -> list[bytes]:
    options = overrides.ip_options + bytes(-len(overrides.ip_options) % 4)
    words = 5 + len(options) // 4

    def datagram(body: bytes, control: int) -> bytes:
        length = words * 4 + len(body) + overrides.length
        number = int.from_bytes(tcp[:2], "big")  # the port: different for each connection
        head = struct.pack(
            "!BBHHHBBH", 0x40 | words, 0, length, number, control, overrides.ttl, 6, 0
        )
        head += addresses + options
        checksum = struct.pack("!H", 0xFFFF ^ internet_sum(head))
        return head[:10] + checksum + head[12:] + body

    if not overrides.pieces:
        return [datagram(tcp, 0x4000)]
    return [
        datagram(body, (0x2000 if end < len(tcp) else 0) | start // 8)
        for start, end, body in _fragments(tcp, overrides)
    ]


def _ipv6(addresses: bytes, tcp: bytes, overrides: Send) -> list[bytes]:
    def datagram(body: bytes, following: int) -> bytes:
        head = struct.pack("!LHBB", 6 << 28, len(body) + overrides.length, following, overrides.ttl)
        return head + addresses + body

    body, following = tcp, 6
    number = int.from_bytes(tcp[:2], "big")
    for header in reversed(overrides.chain):
        # Eight bytes: next header, length 0, and a PadN option or no segments left.
        if header == 44:
            rest = struct.pack("!HL", 0, number)
        else:
            rest = bytes(6) if header == 43 else b"\1\4\0\0\0\0"
        body, following = bytes((following, 0)) + rest + body, header
    if not overrides.pieces:
        return [datagram(body, following)]
    return [
        datagram(
            bytes((6, 0)) + struct.pack("!HL", start | (end < len(tcp)), number) + piece,
            44,
        )
        for start, end, piece in _fragments(tcp, overrides)
    ]


def _fragments(tcp: bytes, overrides: Send) -> Sequence[tuple[int, int, bytes]]:
    found = []
    for number, (start, end) in enumerate(overrides.pieces):
        end = min(end, len(tcp))
        piece = tcp[start:end]
        if overrides.noise and number % 2:
            piece = (overrides.noise * len(piece))[: len(piece)]
        found.append((start, end, piece))
    return found


def read(datagram: bytes) -> Segment | None:
    """Parse a datagram as a receiver does; None if it would discard it."""
    if len(datagram) < 20:
        return None
    if datagram[0] >> 4 == 4:
        start = (datagram[0] & 15) << 2
        end = int.from_bytes(datagram[2:4], "big")
        if internet_sum(datagram[:start]) != 0xFFFF or datagram[9] != 6 or datagram[6] & 0x3F:
            return None
        addresses, hop_limit = (datagram[12:16], datagram[16:20]), datagram[8]
    else:
        following, start, hop_limit = datagram[6], 40, datagram[7]
        end = 40 + int.from_bytes(datagram[4:6], "big")
        addresses = (datagram[8:24], datagram[24:40])
        while following in (0, 43, 60):
            following, start = datagram[start], start + (datagram[start + 1] + 1) * 8
        if following != 6:
            return None
    tcp = datagram[start:end]
    if end > len(datagram) or len(tcp) < 20:
        return None
    pseudo = b"".join(addresses) + struct.pack("!HH", 6, len(tcp))
    offset = tcp[12] >> 4 << 2
    if internet_sum(pseudo + tcp) != 0xFFFF or not 20 <= offset <= len(tcp):
        return None
    source, destination, sequence, acknowledgment = struct.unpack("!HHLL", tcp[:12])
    flags, window, urgent = tcp[13], *struct.unpack("!H2xH", tcp[14:20])
    return Segment(
        (addresses[0], source),
        (addresses[1], destination),
        sequence,
        acknowledgment,
        flags,
        window,
        tcp[offset:],
        tcp[20:offset],
        urgent,
        hop_limit,
    )
