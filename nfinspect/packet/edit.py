"""Changing a segment: a new datagram with another payload, flags, options or hop limit.

Sequence numbers never move, so a payload keeps its length or loses its end.
"""

from __future__ import annotations

from struct import Struct

from nfinspect.packet.checksum import ipv4_header_checksum, tcp_checksum
from nfinspect.packet.options import SynOptions, clean_options, syn_options, timestamps
from nfinspect.packet.segment import URG, Segment

__all__ = ["SynOptions", "clean_options", "rewrite", "syn_options", "timestamps"]

_WORD = Struct("!H")


def rewrite(
    segment: Segment,
    *,
    payload: bytes | None = None,
    clear_flags: int = 0,
    options: bytes | None = None,
    hop_limit: int | None = None,
) -> bytes:
    """The datagram of *segment* with what is given changed, lengths and checksums right.

    *payload* may be shorter than before; *options* are as long as before; clearing URG clears the
    urgent pointer too. What is None stays. Link padding is gone.
    """
    transport, start = segment.transport, segment.payload
    if payload is None:
        payload = segment.payload_bytes
    head = bytearray(segment.datagram[:start])
    length = start + len(payload)

    if segment.version == 4:
        _WORD.pack_into(head, 2, length)
        if hop_limit is not None:
            head[8] = hop_limit
        _WORD.pack_into(head, 10, ipv4_header_checksum(head[:transport]))
    else:
        _WORD.pack_into(head, 4, length - 40)
        if hop_limit is not None:
            head[7] = hop_limit

    if clear_flags:
        head[transport + 13] &= ~clear_flags
        if clear_flags & URG:
            _WORD.pack_into(head, transport + 18, 0)
    if options is not None:
        head[transport + 20 :] = options
    _WORD.pack_into(head, transport + 16, 0)
    checksum = tcp_checksum(segment.addresses, head[transport:], payload)
    _WORD.pack_into(head, transport + 16, checksum)
    return b"".join((head, payload))
