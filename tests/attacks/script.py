"""What an attack says: packets of a client, relative to its connection, and what becomes of each.

A script knows no clock and no wire: ``model`` and ``linux`` bring those. The client that plays it
builds every packet itself, so any field may lie.
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
"""The client's initial sequence number: what it says runs over the wrap."""


class Left:
    """What becomes of a packet that passes as it is, and of one that is held."""

    SAME = "same"
    HELD = "held"
    UNSEEN = "unseen"
    """The kernel in front of the filter throws it away."""
    ANY = "any"
    """Whatever the rule for bytes makes of it; what the server reads is what counts."""


Verdict = bytes | DropReason | str
"""The payload that it passes with, why it is dropped, or a word of ``Left``."""


@dataclass(frozen=True, slots=True)
class Send:
    """One packet. Numbers are offsets: 0 is the first byte that the script sends, -1 of a script
    without greeting the SYN; ``ack`` is added to the right acknowledgement."""

    payload: bytes = b""
    becomes: Verdict = Left.SAME
    at: int | None = None
    """None: where the last packet without a place of its own ended."""
    flags: int = DATA
    ack: int = 0
    window: int = 60000
    options: bytes = b""
    stamp: int | None = 0
    """Added to the timestamp, if the connection has them; None: without."""
    ttl: int = 64
    bad_checksum: bool = False
    urgent: int = 0
    reserved: int = 0
    data_offset: int | None = None
    """In words, if it lies."""
    length: int = 0
    """Added to the length in the IP header."""
    ip_options: bytes = b""
    chain: tuple[int, ...] = ()
    """IPv6 extension headers, by number, in front of the TCP header."""
    pieces: tuple[tuple[int, int], ...] = ()
    """Sent as IP fragments: each from and to where, in bytes of the IP payload."""
    noise: bytes = b""
    """Fills every second fragment, in place of what belongs there."""
    released: tuple[Verdict, ...] = ()
    """What becomes at this packet of those that had been held."""
    leaves: dict[str, Any] = field(default_factory=dict)
    """Other fields that it has when it passes: ``flags``, ``options``, ``hop_limit``, ``urgent``."""
    forged: bool = False
    """In the server's name, from where the client is; ``at`` counts from the server's next byte."""
    by_server: bool = False
    """The server itself sends it: only for attacks that servers are part of, and only by model."""
    before_answer: bool = False
    """It comes before what the server says to the packet in front of it."""


@dataclass(frozen=True, slots=True)
class Hear:
    """Go on when the server's reply with this code has come; without a code: its SYN-ACK."""

    code: bytes = b""
    end: bool = False
    """Its FIN instead."""


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float
    live: bool = True
    """Whether it has to be waited for really."""


@dataclass(frozen=True, slots=True)
class Again:
    """Begin another connection on the same port; its numbers are so much higher."""

    higher: int


@dataclass(frozen=True, slots=True)
class Here:
    """From here the offsets of a script count."""


Step = Send | Hear | Wait | Again | Here

HANDSHAKE: tuple[Step, ...] = (Send(flags=SYN, at=-1), Hear(), Send(flags=ACK))
GREETING: tuple[Step, ...] = (
    *HANDSHAKE,
    Hear(b"220"),
    Send(b"HELO a\r\n"),
    Hear(b"250"),
    Here(),
)
ALIVE: tuple[Step, ...] = (Send(b"NOOP\r\n"), Hear(b"250"))
"""The connection still works."""


@dataclass(frozen=True, slots=True)
class Script:
    """One way to perform an attack."""

    steps: tuple[Step, ...]
    received: tuple[bytes, ...]
    """What the server has read when all is over, of each connection."""
    name: str = ""
    greeting: bool = True
    """Begin with the handshake and HELO; ``received`` is then without it."""
    timestamps: bool = False
    family: int = 0
    """4 or 6, if it needs that one."""
    port: int = 0
    """The client's, if it must be a certain one."""
    live: bool = True
    server: bool = True
    """There is one that answers, besides what the script has ``by_server``."""
    bites: bool = False
    """Without the filter the Linux server reads the line that the filter masks."""


def expected_of(script: Script) -> tuple[bytes, ...]:
    """What the server reads, the greeting too."""
    if not script.greeting:
        return script.received
    first, *others = script.received
    return (b"HELO a\r\n" + first, *others)


@dataclass(frozen=True, slots=True)
class Attack:
    name: str
    sources: tuple[str, ...]
    outcome: str
    """For the document: what is passed, dropped or normalised."""
    scripts: tuple[Script, ...]


def option(kind: int, value: bytes = b"") -> bytes:
    return bytes((kind, 2 + len(value))) + value


def timestamps(value: int, echo: int) -> bytes:
    return b"\1\1" + option(8, struct.pack("!LL", value & 0xFFFFFFFF, echo & 0xFFFFFFFF))


@dataclass(slots=True)
class Client:
    """The attacker's end of one connection."""

    address: bytes
    port: int
    server: bytes
    server_port: int = 25
    initial: int = INITIAL
    base: int = 0
    """Of a script's offsets, from the first payload byte."""
    next: int = 0
    stamps: int | None = None
    """Its timestamp clock, if it has one."""
    server_initial: int | None = None
    replies: bytearray = field(default_factory=bytearray)
    """The server's bytes in order."""
    ahead: dict[int, bytes] = field(default_factory=dict)
    server_fin: int | None = None
    echo: int = 0
    said: int = 0
    """Up to where the replies have been asked for."""
    synchronized: bool = False
    expected: int | None = None
    """The number that the server expects next, as it has said."""

    @property
    def family(self) -> int:
        return 4 if len(self.address) == 4 else 6

    @property
    def acknowledgment(self) -> int:
        if self.server_initial is None:
            return 0
        fin = self.server_fin is not None and self.server_fin <= len(self.replies)
        return self.server_initial + 1 + len(self.replies) + fin

    def hears(self, hear: Hear) -> bool:
        """Whether it has come; a reply has to have the code that is waited for."""
        code = hear.code
        if hear.end:
            return self.server_fin is not None and self.server_fin <= len(self.replies)
        if not code:
            return self.synchronized
        line, end, _ = bytes(self.replies[self.said :]).partition(b"\r\n")
        if not end:
            return False
        assert line.startswith(code), f"{line!r} instead of {code!r}"
        self.said += len(line) + 2
        return True

    def receive(self, packet: Segment) -> None:
        """Take a packet of the server's."""
        stamps = packet.stamps()
        if stamps is not None:
            self.echo = stamps[0]
        if packet.flags & ACK:
            self.expected = packet.acknowledgment
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
    """A TCP segment as it stands in a packet, of either IP version."""

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


def build(segment: Segment, lies: Send | None = None) -> list[bytes]:
    """The datagram of a segment; with *lies*, as that wants it."""
    lies = lies or Send()
    options = segment.options + b"\1" * (-len(segment.options) % 4)
    words = (20 + len(options)) // 4 if lies.data_offset is None else lies.data_offset
    tcp = struct.pack(
        "!HHLLBBHHH",
        segment.source[1],
        segment.destination[1],
        segment.sequence & 0xFFFFFFFF,
        segment.acknowledgment & 0xFFFFFFFF,
        words << 4 | lies.reserved,
        segment.flags,
        segment.window,
        0,
        segment.urgent,
    )
    tcp += options + segment.payload
    addresses = segment.source[0] + segment.destination[0]
    checksum = 0xFFFF ^ internet_sum(addresses + struct.pack("!HH", 6, len(tcp)) + tcp)
    if lies.bad_checksum:
        checksum ^= 0x5555
    tcp = tcp[:16] + struct.pack("!H", checksum) + tcp[18:]
    if len(addresses) == 8:
        return _ipv4(addresses, tcp, lies)
    return _ipv6(addresses, tcp, lies)


def _ipv4(addresses: bytes, tcp: bytes, lies: Send) -> list[bytes]:
    options = lies.ip_options + bytes(-len(lies.ip_options) % 4)
    words = 5 + len(options) // 4

    def datagram(body: bytes, control: int) -> bytes:
        length = words * 4 + len(body) + lies.length
        number = int.from_bytes(tcp[:2], "big")  # unlike that of any other connection
        head = struct.pack("!BBHHHBBH", 0x40 | words, 0, length, number, control, lies.ttl, 6, 0)
        head += addresses + options
        checksum = struct.pack("!H", 0xFFFF ^ internet_sum(head))
        return head[:10] + checksum + head[12:] + body

    if not lies.pieces:
        return [datagram(tcp, 0x4000)]
    return [
        datagram(body, (0x2000 if end < len(tcp) else 0) | start // 8)
        for start, end, body in _fragments(tcp, lies)
    ]


def _ipv6(addresses: bytes, tcp: bytes, lies: Send) -> list[bytes]:
    def datagram(body: bytes, following: int) -> bytes:
        head = struct.pack("!LHBB", 6 << 28, len(body) + lies.length, following, lies.ttl)
        return head + addresses + body

    body, following = tcp, 6
    number = int.from_bytes(tcp[:2], "big")
    for header in reversed(lies.chain):
        # Eight bytes: what follows, no length beyond these, and a PadN option, or no segments left.
        if header == 44:
            rest = struct.pack("!HL", 0, number)
        else:
            rest = bytes(6) if header == 43 else b"\1\4\0\0\0\0"
        body, following = bytes((following, 0)) + rest + body, header
    if not lies.pieces:
        return [datagram(body, following)]
    return [
        datagram(
            bytes((6, 0)) + struct.pack("!HL", start | (end < len(tcp)), number) + piece,
            44,
        )
        for start, end, piece in _fragments(tcp, lies)
    ]


def _fragments(tcp: bytes, lies: Send) -> Sequence[tuple[int, int, bytes]]:
    found = []
    for number, (start, end) in enumerate(lies.pieces):
        end = min(end, len(tcp))
        piece = tcp[start:end]
        if lies.noise and number % 2:
            piece = (lies.noise * len(piece))[: len(piece)]
        found.append((start, end, piece))
    return found


def read(datagram: bytes) -> Segment | None:
    """As a receiver's stack reads it: None for what it throws away."""
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
