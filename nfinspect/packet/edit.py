"""Changing a segment: a new datagram with a different payload, flags, options or hop limit.

Sequence numbers never shift, so a payload keeps its length or is cut short.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from nfinspect.packet.checksum import ipv4_header_checksum, ones_complement_sum, tcp_checksum
from nfinspect.packet.segment import URG, Segment, parse

LARGEST_LENGTH: Final = 0xFFFF
"""Of an IPv4 datagram, or of an IPv6 payload, in its length field."""

_WORD: Final = Struct("!H")
_LONG: Final = Struct("!L")


def rewrite(
    segment: Segment,
    *,
    payload: bytes | None = None,
    clear_flags: int = 0,
    options: bytes | None = None,
    hop_limit: int | None = None,
) -> bytes:
    """The datagram of *segment* with the given changes (None: unchanged), lengths and checksums
    updated.

    *payload* may be shorter than the old one; *options* must be of the same length; clearing URG
    clears the urgent pointer too. Link padding is removed.
    """
    transport = segment.transport
    head = bytearray(segment.datagram[: segment.payload])
    if hop_limit is not None:
        head[8 if segment.version == 4 else 7] = hop_limit
    if clear_flags:
        head[transport + 13] &= ~clear_flags
        if clear_flags & URG:
            _WORD.pack_into(head, transport + 18, 0)
    if options is not None:
        head[transport + 20 :] = options
    return complete(segment, head, segment.payload_bytes if payload is None else payload)


def with_options(segment: Segment, options: bytes) -> Segment:
    """The segment with other *options* of the same length. Its checksum must be correct.

    Cheaper than `rewrite`, as the checksum is updated incrementally (RFC 1624).
    """
    datagram, transport = segment.datagram, segment.transport
    change = ones_complement_sum(options) - ones_complement_sum(segment.options)
    pieces = (
        datagram[: transport + 16],
        _WORD.pack((segment.checksum - change) % 0xFFFF),
        datagram[transport + 18 : transport + 20],
        options,
        datagram[segment.payload : segment.end],
    )
    return Segment(
        b"".join(pieces),
        segment.version,
        transport,
        segment.payload,
        segment.end,
        segment.key,
        segment.sequence,
        segment.acknowledgment,
        segment.flags,
        segment.window,
        segment.urgent,
    )


def readdress(segment: Segment, key: bytes) -> bytes:
    """The datagram of *segment* with the addresses and ports of *key* (see ``Segment.key``)."""
    transport = segment.transport
    head = bytearray(segment.datagram[: segment.payload])
    start = 12 if segment.version == 4 else 8
    head[start : start + len(key) - 4] = key[:-4]
    head[transport : transport + 4] = key[-4:]
    return complete(segment, head, segment.payload_bytes)


def without_beginning(segment: Segment, count: int) -> Segment:
    """The segment without the first *count* bytes of its payload."""
    head = bytearray(segment.datagram[: segment.payload])
    _LONG.pack_into(head, segment.transport + 4, (segment.sequence + count) & 0xFFFF_FFFF)
    datagram = complete(segment, head, segment.payload_bytes[count:])
    rest = parse(datagram, len(datagram))
    assert isinstance(rest, Segment)
    return rest


def complete(segment: Segment, head: bytearray, payload: bytes) -> bytes:
    """A datagram of *head*, the changed headers of *segment*, and *payload*, with lengths and
    checksums set. Modifies *head*. A length that does not fit its field is written as 0, as for
    BIG TCP."""
    transport = segment.transport
    length = len(head) + len(payload)
    if segment.version == 4:
        _WORD.pack_into(head, 2, length if length <= LARGEST_LENGTH else 0)
        _WORD.pack_into(head, 10, ipv4_header_checksum(head[:transport]))
    else:
        _WORD.pack_into(head, 4, length - 40 if length - 40 <= LARGEST_LENGTH else 0)
    _WORD.pack_into(head, transport + 16, 0)
    addresses = bytes(head[12:20] if segment.version == 4 else head[8:40])
    checksum = tcp_checksum(addresses, head[transport:], payload)
    _WORD.pack_into(head, transport + 16, checksum)
    return b"".join((head, payload))
