"""The Internet checksum: RFC 1071 in full, RFC 1624 incrementally.

One's complement addition of 16-bit words is addition modulo 65535, and Python divides one big
integer far faster than it adds many small ones. Modulo 65535 the two zeros of one's complement,
0x0000 and 0xffff, are the same. Words that are not all zero add up to 0xffff, never to 0x0000; and
no header is all zero, so a checksum, the complement of a sum, is never 0xffff.
"""

from __future__ import annotations

from typing import Final

from nfinspect.packet.segment import TCP_PROTOCOL, Segment

_PIECE: Final = 2048
"""Bytes. Larger data is summed in pieces of this size before the division, which is twice as fast.
Even, so that every piece begins at a word boundary."""


def ones_complement_sum(data: bytes | bytearray | memoryview) -> int:
    """The one's complement sum of *data* as 16-bit words; an odd last byte is padded with zero."""
    size = len(data)
    if size & 1:
        data = bytes(data) + b"\0"
    if size <= _PIECE:
        number = int.from_bytes(data, "big")
    else:
        pieces = (data[at : at + _PIECE] for at in range(0, size, _PIECE))
        number = sum(int.from_bytes(piece, "big") for piece in pieces)
    return number % 0xFFFF or (0xFFFF if number else 0)


def tcp_checksum(addresses: bytes, header: bytes | bytearray, payload: bytes = b"") -> int:
    """The checksum of a segment whose *header* has 0 in its checksum field.

    *addresses* is source and destination, concatenated. RFC 9293 section 3.1, RFC 8200 section 8.1.
    """
    total = (
        _pseudo_header_sum(addresses, len(header) + len(payload))
        + ones_complement_sum(header)
        + ones_complement_sum(payload)
    )
    return -total % 0xFFFF


def tcp_checksum_valid(segment: Segment) -> bool:
    """Whether the TCP checksum is correct, computed over the whole segment."""
    datagram, transport, end = segment.datagram, segment.transport, segment.end
    total = _pseudo_header_sum(segment.addresses, end - transport)
    return (total + ones_complement_sum(datagram[transport:end])) % 0xFFFF == 0


def offloaded(segment: Segment) -> bool:
    """Whether the TCP checksum was left to the network card (checksum offload).

    The field then holds only the sum of the pseudo-header, not complemented, to which the card adds
    the segment. Seen in captures made on the sending machine. With segmentation offload the sum may
    lack the length, which differs for each segment that the card makes.
    """
    expected = _pseudo_header_sum(segment.addresses, 0)
    difference = (segment.checksum - expected) % 0xFFFF
    return difference in (0, (segment.end - segment.transport) % 0xFFFF)


def ipv4_header_checksum(header: bytes | bytearray) -> int:
    """The checksum of an IPv4 header with its options; its checksum field is ignored."""
    field = int.from_bytes(header[10:12], "big")
    return (field - ones_complement_sum(header)) % 0xFFFF


def ip_header_valid(datagram: bytes) -> bool:
    """Whether an IPv4 header checksum is correct, or 0 (left to the network card).

    IPv6 headers have none, and ``parse`` finds all other faults. Only captures need this check:
    live, the kernel has dropped bad headers before the queue.
    """
    if datagram[0] >> 4 == 6:
        return True
    header = datagram[: (datagram[0] & 15) << 2]
    return header[10:12] == bytes(2) or ones_complement_sum(header) == 0xFFFF


def update(checksum: int, old: int, new: int) -> int:
    """*checksum* after one 16-bit word changed from *old* to *new* (RFC 1624, equation 3)."""
    total = (checksum ^ 0xFFFF) + (old ^ 0xFFFF) + new
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _pseudo_header_sum(addresses: bytes, length: int) -> int:
    """The sum of the TCP pseudo-header, the same for IPv4 and IPv6; not reduced to 16 bits."""
    return ones_complement_sum(addresses) + TCP_PROTOCOL + length
