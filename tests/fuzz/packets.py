"""Packets in the volume path: a few fields, built and read at the speed of big integers.

``tests.model.wire`` does the same word by word; the session lets it judge a sample of what leaves
the filter, so that the two sums do not err together.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
FLAGS: Final = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
MASK: Final = 0xFFFF_FFFF

_V4 = Struct("!BBHHHBBH8s")
_V6 = Struct("!LHBB32s")
_TCP = Struct("!HHLLBBHHH")


class Packet(NamedTuple):
    """What an end sends: numbers as on the wire."""

    sequence: int
    acknowledgment: int
    flags: int
    window: int
    options: bytes = b""
    payload: bytes = b""

    @property
    def reach(self) -> int:
        """How many sequence numbers it takes."""
        return len(self.payload) + (self.flags & SYN > 0) + (self.flags & FIN)


class Path:
    """Addresses and ports of one direction, and what they add to a checksum."""

    __slots__ = ("addresses", "ports", "pseudo", "version")

    def __init__(self, source: tuple[bytes, int], destination: tuple[bytes, int]) -> None:
        self.addresses = source[0] + destination[0]
        self.ports = (source[1], destination[1])
        self.version = 4 if len(self.addresses) == 8 else 6
        self.pseudo = int.from_bytes(self.addresses, "big") % 0xFFFF + 6

    def build(
        self, packet: Packet, *, damage: int = 0, ready: bool = True, hop_limit: int = 64
    ) -> bytes:
        """The datagram; ``damage`` is XORed to its checksum. Not ``ready``: the checksum is left
        for the card, as the kernel hands such packets over."""
        sequence, acknowledgment, flags, window, options, payload = packet
        head = 20 + len(options)
        size = head + len(payload)
        body = options + payload
        if size & 1:
            body += b"\0"
        tcp = _TCP.pack(*self.ports, sequence, acknowledgment, head << 2, flags, window, 0, 0)
        pseudo = self.pseudo + size
        if ready:
            checksum = -(pseudo + int.from_bytes(tcp + body, "big")) % 0xFFFF ^ damage
        else:
            checksum = pseudo % 0xFFFF
        tcp = b"%b%b\0\0%b%b" % (tcp[:16], checksum.to_bytes(2, "big"), options, payload)
        if self.version == 6:
            return _V6.pack(6 << 28, size, 6, hop_limit, self.addresses) + tcp
        ip = _V4.pack(0x45, 0, 20 + size, 0, 0x4000, hop_limit, 6, 0, self.addresses)
        checksum = -int.from_bytes(ip, "big") % 0xFFFF
        return b"%b%b%b%b" % (ip[:10], checksum.to_bytes(2, "big"), ip[12:], tcp)

    def hop_limit_of(self, datagram: bytes) -> int:
        return datagram[8 if self.version == 4 else 7]

    def read(self, datagram: bytes, *, ready: bool = True) -> Packet:
        """What the receiver reads; AssertionError if it would throw the datagram away."""
        if self.version == 4:
            start = 20
            assert int.from_bytes(datagram[:20], "big") % 0xFFFF == 0, "IPv4 header checksum"
            length = int.from_bytes(datagram[2:4], "big")
        else:
            start = 40
            length = 40 + int.from_bytes(datagram[4:6], "big")
        assert length == len(datagram), "length"
        tcp = datagram[start:]
        if ready:
            padded = tcp + b"\0" if len(tcp) & 1 else tcp
            total = self.pseudo + len(tcp) + int.from_bytes(padded, "big")
            assert total % 0xFFFF == 0, "TCP checksum"
        source, destination, sequence, acknowledgment, offset, flags, window, _, urgent = (
            _TCP.unpack_from(tcp)
        )
        assert (source, destination) == self.ports, "ports"
        assert not urgent, "urgent pointer"
        head = offset >> 2 & 0x3C
        return Packet(sequence, acknowledgment, flags, window, tcp[20:head], tcp[head:])
