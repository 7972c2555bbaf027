"""Other numbers in a segment whose lengths stay: for a connection whose two ends have different ones."""

from __future__ import annotations

from struct import Struct
from typing import Final

from nfinspect.packet.checksum import ones_complement_sum
from nfinspect.packet.edit import complete
from nfinspect.packet.options import END_OF_OPTION_LIST, NO_OPERATION, SACK
from nfinspect.packet.segment import Segment

LARGEST_WINDOW: Final = 0xFFFF
_NUMBERS: Final = Struct("!LLHH")  # sequence, acknowledgment, offset and flags, window
_LONG: Final = Struct("!L")


def renumbered(
    segment: Segment,
    *,
    sequence: int,
    acknowledgment: int,
    window: int,
    options: bytes | None = None,
    verified: bool,
) -> Segment:
    """The segment with these numbers, as they are in the header, and *options* of the same length (None:
    its own).

    *verified*: its checksum is right, and is updated incrementally (RFC 1624); else it is made anew.
    """
    transport, payload = segment.transport, segment.payload
    head = bytearray(segment.datagram[:payload])
    before = bytes(head[transport:])
    control = before[12] << 8 | before[13]
    _NUMBERS.pack_into(head, transport + 4, sequence, acknowledgment, control, window)
    if options is not None:
        head[transport + 20 :] = options
    if verified:
        change = ones_complement_sum(head[transport:]) - ones_complement_sum(before)
        checksum = (segment.checksum - change) % 0xFFFF
        head[transport + 16 : transport + 18] = checksum.to_bytes(2, "big")
        datagram = bytes(head) + segment.datagram[payload:]
    else:
        datagram = complete(segment, head, segment.payload_bytes)
    return Segment(
        datagram,
        segment.version,
        transport,
        payload,
        segment.end,
        segment.key,
        sequence,
        acknowledgment,
        segment.flags,
        window,
        segment.urgent,
    )


def with_sack_shifted(options: bytes, by: int) -> bytes | None:
    """Options with *by* added to all edges of their SACK blocks; None if they have none. What follows an
    option of an impossible length is left as it is."""
    at, size = 0, len(options)
    changed: bytearray | None = None
    while at < size and options[at] != END_OF_OPTION_LIST:
        if options[at] == NO_OPERATION:
            at += 1
            continue
        length = options[at + 1] if at + 1 < size else 0
        if length < 2 or at + length > size:
            break
        if options[at] == SACK:
            changed = changed or bytearray(options)
            for place in range(at + 2, at + length - 3, 4):
                edge = (int.from_bytes(options[place : place + 4], "big") + by) & 0xFFFF_FFFF
                _LONG.pack_into(changed, place, edge)
        at += length
    return None if changed is None else bytes(changed)
