"""IPv4 TCP packets as the model endpoints build and parse them."""

from __future__ import annotations

import struct
from dataclasses import dataclass

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
CLIENT, SERVER = (bytes([192, 0, 2, 1]), 40000), (bytes([198, 51, 100, 25]), 25)


def internet_sum(data: bytes) -> int:
    """The sum of RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass(slots=True)
class Packet:
    """The fields that matter; the others have their usual values."""

    source: tuple[bytes, int]
    destination: tuple[bytes, int]
    sequence: int
    acknowledgment: int = 0
    flags: int = ACK
    window: int = 65535
    payload: bytes = b""
    options: bytes = b""
    hop_limit: int = 64

    def build(self, *, bad_checksum: bool = False) -> bytes:
        options = self.options + b"\1" * (-len(self.options) % 4)
        tcp = struct.pack(
            "!HHIIBBHHH",
            self.source[1],
            self.destination[1],
            self.sequence & 0xFFFFFFFF,
            self.acknowledgment & 0xFFFFFFFF,
            (20 + len(options)) // 4 << 4,
            self.flags,
            self.window,
            0,
            0,
        )
        tcp += options + self.payload
        addresses = self.source[0] + self.destination[0]
        checksum = 0xFFFF ^ internet_sum(addresses + struct.pack("!HH", 6, len(tcp)) + tcp)
        if bad_checksum:
            checksum ^= 0x5555
        tcp = tcp[:16] + struct.pack("!H", checksum) + tcp[18:]
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0x4000, self.hop_limit, 6, 0)
        header += addresses
        checksum = 0xFFFF ^ internet_sum(header)
        return header[:10] + struct.pack("!H", checksum) + header[12:] + tcp


def read(datagram: bytes) -> Packet | None:
    """Parse a datagram as a receiver does; None if it would discard it."""
    header, tcp = datagram[:20], datagram[20:]
    if internet_sum(header) != 0xFFFF or struct.unpack("!H", header[2:4])[0] != len(datagram):
        return None
    pseudo = header[12:20] + struct.pack("!HH", 6, len(tcp))
    if internet_sum(pseudo + tcp) != 0xFFFF:
        return None
    source, destination, sequence, acknowledgment, offset, flags, window = struct.unpack(
        "!HHIIBBH", tcp[:16]
    )
    start = offset >> 4 << 2
    return Packet(
        (header[12:16], source),
        (header[16:20], destination),
        sequence,
        acknowledgment,
        flags,
        window,
        tcp[start:],
        tcp[20:start],
        header[8],
    )
