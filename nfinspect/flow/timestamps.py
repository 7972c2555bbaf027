"""Timestamps of packets that were held.

A retransmission that fills a gap carries a newer timestamp than the held segments beyond the gap.
If it passes first, the receiver remembers its timestamp and discards the held segments as old
duplicates (PAWS, RFC 7323 section 5). So a held packet passes with the newest timestamp that has
passed in the meantime, if that is newer than its own.
"""

from __future__ import annotations

from nfinspect.actions import DropReason
from nfinspect.packet.edit import rewrite, with_options
from nfinspect.packet.options import timestamps_in, with_newer_timestamp
from nfinspect.packet.segment import Segment, parse
from nfinspect.tcp.connection import Half
from nfinspect.tcp.sequence import unwrap


def note_timestamp(half: Half, options: bytes) -> None:
    """Note the timestamp of a segment that passes while others of its direction are held."""
    stamps = timestamps_in(options)
    if stamps is None:
        return
    value = stamps[0]
    if (
        half.newest_timestamp is None
        or unwrap(value, half.newest_timestamp) > half.newest_timestamp
    ):
        half.newest_timestamp = value


def with_newest_timestamp(half: Half, segment: Segment, *, verified: bool) -> Segment:
    """The held segment, now in order, as it may pass: unchanged, or with a newer timestamp.

    ``verified``: its checksum is known to be right, so it can be updated incrementally.
    """
    if half.newest_timestamp is not None:
        options = with_newer_timestamp(segment, half.newest_timestamp)
        if options is not None:
            if verified:
                return with_options(segment, options)
            newer = parse(rewrite(segment, options=options))
            return segment if isinstance(newer, DropReason) else newer
    note_timestamp(half, segment.options)
    return segment
