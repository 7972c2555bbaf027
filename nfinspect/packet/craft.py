"""Segments that the filter itself originates: SYN, RST and ACK, over IPv4 or IPv6, with checksums.

Each is made from the key of its direction (see ``Segment.key``), whose length implies the IP
version.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from nfinspect.packet.checksum import ipv4_header_checksum, tcp_checksum
from nfinspect.packet.segment import ACK, FIN, PSH, RST, SYN, TCP_PROTOCOL

HOP_LIMIT: Final = 64
"""Linux's default."""

_DONT_FRAGMENT: Final = 0x4000
# Version and header length, type of service, total length, identification (0 is right for a packet
# that is never fragmented, RFC 6864), flags, time to live, protocol, checksum; addresses follow.
_IPV4: Final = Struct("!BBHHHBBH")
# Version, traffic class and flow label, payload length, next header, hop limit; addresses follow.
_IPV6: Final = Struct("!LHBB")
# After the ports: sequence, acknowledgment, data offset, flags, window, checksum, urgent pointer.
_TCP: Final = Struct("!LLBBHHH")


def craft_reset(
    key: bytes, *, sequence: int, acknowledgment: int | None = None, hop_limit: int = HOP_LIMIT
) -> bytes:
    """An RST; with *acknowledgment* an RST-ACK, the answer to a SYN (RFC 9293 section 3.10.7.1)."""
    flags = RST if acknowledgment is None else RST | ACK
    return _craft(key, flags, sequence, acknowledgment or 0, 0, b"", hop_limit)


def craft_acknowledgment(
    key: bytes,
    *,
    sequence: int,
    acknowledgment: int,
    window: int,
    options: bytes = b"",
    payload: bytes = b"",
    hop_limit: int = HOP_LIMIT,
) -> bytes:
    """An ACK. *window* is the field's value, unscaled; *options* (see options.py) are padded to a
    multiple of 4 bytes."""
    return _craft(key, ACK, sequence, acknowledgment, window, options, hop_limit, payload)


def craft_opening(
    key: bytes,
    *,
    sequence: int,
    acknowledgment: int | None,
    window: int,
    options: bytes,
    hop_limit: int = HOP_LIMIT,
) -> bytes:
    """A SYN; with *acknowledgment* a SYN-ACK. *window* is not scaled (RFC 7323 section 2.2)."""
    flags = SYN if acknowledgment is None else SYN | ACK
    return _craft(key, flags, sequence, acknowledgment or 0, window, options, hop_limit)


def craft_farewell(
    key: bytes,
    *,
    sequence: int,
    acknowledgment: int,
    window: int,
    options: bytes,
    payload: bytes,
    hop_limit: int,
) -> bytes:
    """The last segment of its direction: *payload* and a FIN; otherwise as `craft_acknowledgment`."""
    flags = ACK | PSH | FIN
    return _craft(key, flags, sequence, acknowledgment, window, options, hop_limit, payload)


def _craft(
    key: bytes,
    flags: int,
    sequence: int,
    acknowledgment: int,
    window: int,
    options: bytes,
    hop_limit: int,
    payload: bytes = b"",
) -> bytes:
    addresses, ports = key[:-4], key[-4:]
    size = 20 + len(options)

    def header(checksum: int) -> bytes:
        offset = size // 4 << 4  # in 4-byte words, in the upper half of the byte
        fields = _TCP.pack(sequence, acknowledgment, offset, flags, window, checksum, 0)
        return ports + fields + options + payload

    tcp = header(tcp_checksum(addresses, header(0)))
    if len(addresses) == 32:
        return _IPV6.pack(6 << 28, len(tcp), TCP_PROTOCOL, hop_limit) + addresses + tcp
    ip = bytearray(
        _IPV4.pack(0x45, 0, 20 + len(tcp), 0, _DONT_FRAGMENT, hop_limit, TCP_PROTOCOL, 0)
        + addresses
    )
    ip[10:12] = ipv4_header_checksum(ip).to_bytes(2, "big")
    return bytes(ip) + tcp
