"""Splitting a large segment into small ones, as a network card does with a GSO packet.

A verdict cannot shorten a GSO packet, so the filter injects its approved part as small segments.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from nfinspect.packet.edit import complete
from nfinspect.packet.segment import CWR, FIN, PSH, Segment

_WORD: Final = Struct("!H")
_LONG: Final = Struct("!L")


def split(segment: Segment, largest: int) -> list[bytes]:
    """Datagrams that together carry the segment's payload, at most ``largest`` bytes each.

    FIN and PSH are set on the last one only, CWR on the first only (RFC 3168 section 6.1.2); the
    IPv4 identification counts up, as with segmentation offload.
    """
    last = max(0, segment.length - 1) // largest
    return [_piece(segment, number, largest, number == last) for number in range(last + 1)]


def _piece(segment: Segment, number: int, largest: int, is_last: bool) -> bytes:
    transport, start = segment.transport, segment.payload
    at = number * largest
    payload = segment.datagram[start + at : min(start + at + largest, segment.end)]
    flags = segment.flags
    if not is_last:
        flags &= ~(FIN | PSH)
    if number:
        flags &= ~CWR
    head = bytearray(segment.datagram[:start])
    head[transport + 13] = flags
    _LONG.pack_into(head, transport + 4, (segment.sequence + at) & 0xFFFF_FFFF)
    if segment.version == 4:
        identification = int.from_bytes(head[4:6], "big") + number
        _WORD.pack_into(head, 4, identification & 0xFFFF)
    return complete(segment, head, payload)
