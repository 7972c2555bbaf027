"""Timestamps of packets that were held.

A retransmission that fills a gap is younger than what waits behind it, and reaches the receiver
first. The receiver keeps its timestamp and would take the held ones for old duplicates (PAWS, RFC
7323 section 5), which without the filter would have come before it. So a held packet passes with a
timestamp that is not older than the youngest one which has passed meanwhile.
"""

from __future__ import annotations

from nfinspect.actions import DropReason
from nfinspect.packet.edit import rewrite, with_options
from nfinspect.packet.options import timestamps_in, with_younger_timestamp
from nfinspect.packet.segment import Segment, parse
from nfinspect.tcp.connection import Half
from nfinspect.tcp.sequence import unwrap


def note_timestamp(half: Half, options: bytes) -> None:
    """A segment with these options has passed while others of its direction are held."""
    stamps = timestamps_in(options)
    if stamps is None:
        return
    value = stamps[0]
    if half.youngest is None or unwrap(value, half.youngest) > half.youngest:
        half.youngest = value


def rejuvenated(half: Half, segment: Segment, *, verified: bool) -> Segment:
    """The segment, whose turn has come, as it may pass: itself, or with a younger timestamp.

    ``verified``: its checksum is right, so that it is enough to keep it so.
    """
    if half.youngest is not None:
        options = with_younger_timestamp(segment, half.youngest)
        if options is not None:
            if verified:
                return with_options(segment, options)
            younger = parse(rewrite(segment, options=options))
            return segment if isinstance(younger, DropReason) else younger
    note_timestamp(half, segment.options)
    return segment
