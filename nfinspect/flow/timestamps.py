"""Timestamps of packets that were held.

A retransmission that fills a gap carries a newer timestamp than the held segments beyond the gap.
If it passes first, the receiver remembers its timestamp and discards the held segments as old
duplicates (PAWS, RFC 7323 section 5). So a held packet passes with the newest timestamp that has
passed in the meantime, if that is newer than its own.
"""

from __future__ import annotations

from nfinspect.actions import DropReason
from nfinspect.flow.passage import Passage
from nfinspect.packet.edit import rewrite, with_options
from nfinspect.packet.options import with_newer_timestamp
from nfinspect.packet.segment import parse


def renew_timestamp(passage: Passage, *, verified: bool) -> None:
    """A held packet, now in order, takes the newest timestamp if its own is older.

    ``verified``: its checksum is known to be right, so it can be updated incrementally.
    """
    stream, segment = passage.stream, passage.segment
    newest = stream.newest_timestamp
    if newest is not None:
        options = with_newer_timestamp(segment, newest)
        if options is not None:
            if verified:
                passage.rewrite(with_options(segment, options))
                return
            newer = parse(rewrite(segment, options=options))
            if not isinstance(newer, DropReason):
                passage.rewrite(newer)
            return
    stream.pass_timestamp(segment.options)
