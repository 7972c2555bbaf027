"""While segments beyond a gap are held, the filter sends ACKs in place of the receiver.

The receiver does not see the held segments, so it sends no duplicate ACKs, and the sender would
have to wait for its retransmission timeout. So the filter reports each held segment to the sender
with a duplicate ACK (RFC 5681 section 3.2): the receiver's own last acknowledgment number, window
and timestamps, and SACK blocks if both sides permit them (RFC 2018).

The sender sees what it would see without the filter:

- **Timing.** A held segment is reported once the receiver has acknowledged everything that passed
  before the segment arrived. Earlier, the duplicate ACK would make the sender retransmit bytes that
  are still in flight. It is reported even if the gap has been filled meanwhile, or the sender would
  stall.
- **Probe.** The receiver sees no gap, so it may delay that acknowledgement (RFC 5681 section 4.2)
  for longer than a round trip. To get it at once, the filter repeats the last byte that passed, as
  passed: a receiver acknowledges a duplicate immediately. The D-SACK (RFC 2883) in its answer is
  removed, as the sender repeated nothing.
- **Gap last.** When the gap is filled, the held segments pass first and the segment that fills it
  passes last, so that the receiver acknowledges everything at once, as it would without the filter.
  From step-by-step acknowledgements the sender would conclude that the receiver has reneged
  (RFC 2018 section 8), and would start over after a timeout.
- **No repetition.** Once the held segments pass, the receiver's own ACKs report them again until
  the segment that fills the gap arrives; these ACKs are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nfinspect.actions import DropReason
from nfinspect.flow.core import Core
from nfinspect.flow.passage import Passage
from nfinspect.packet.craft import craft_acknowledgment
from nfinspect.packet.edit import rewrite
from nfinspect.packet.options import (
    first_sack_block,
    sack_option,
    timestamps_in,
    timestamps_option,
    without_sack_block,
)
from nfinspect.packet.segment import parse
from nfinspect.tcp.gap import MOST_BLOCKS, Gap, Unreported
from nfinspect.tcp.sequence import unwrap
from nfinspect.tcp.stream import Stream

Block = tuple[int, int]

BLOCKS_BESIDE_TIMESTAMPS: Final = 3
"""RFC 2018 section 3."""
MAX_DUPLICATE_ACKS: Final = 16
"""Duplicate ACKs without SACK sent together when the receiver has caught up. Three trigger fast
retransmit; more only let the sender send more."""


def report(passage: Passage) -> None:
    """Report a held segment to its sender, now or when the receiver has caught up."""
    core, stream = passage.core, passage.stream
    if core.permissions.nobody_reacts or stream.held[0].sequence <= stream.next:
        return  # or the packet waits for a reply, and there is no gap
    gap = stream.open_gap()
    limits = core.options.limits
    if gap.counted >= limits.reports or core.ledger.reports >= limits.reports_total:
        return
    gap.add(Unreported(stream.next, passage.sequence, passage.end, _segments(passage)))
    if stream.acknowledged >= stream.next:
        _report(core, stream, gap)
    else:
        _probe(core, stream, gap)


def report_again(passage: Passage) -> None:
    """A held segment has been retransmitted: if it was reported, the ACK was lost or late."""
    stream, start, end = passage.stream, passage.sequence, passage.end
    gap = stream.gap
    if gap is not None and start > stream.next and gap.reported.containing(start) is not None:
        _acknowledge(passage.core, stream, gap, [(start, end)] if start < end else ())


def evicted(passage: Passage) -> None:
    """The farthest held segment is dropped: stop reporting it."""
    gap = passage.stream.gap
    if gap is not None:
        gap.retract(passage.sequence)


def cut_short(passage: Passage) -> None:
    """A held segment has passed only in part, or not at all: stop reporting the rest."""
    stream = passage.stream
    gap = stream.gap
    decided = stream.next if stream.fin is None else stream.fin
    if gap is not None and decided < passage.end:
        gap.retract_rest(passage.sequence, decided)


def filled(stream: Stream) -> bool:
    """Whether the segment just decided fills a gap and must pass last. Without SACK the sender
    expects separate acknowledgements of the segments that follow."""
    held = stream.held
    return bool(
        stream.gap is not None
        and held
        and held[0].sequence <= stream.next
        and stream.connection.sack_permitted
    )


def partly_filled(core: Core, stream: Stream, gap: Gap) -> None:
    """Part of the gap has been filled: have the receiver acknowledge it. (The last part needs no
    probe: the receiver already has the bytes beyond it.)"""
    if stream.held and stream.acknowledged < stream.next:
        _probe(core, stream, gap)


def acknowledged(core: Core, stream: Stream, gap: Gap) -> None:
    """The receiver's own ACK of new data has gone to the sender: report what it leaves out."""
    reached = stream.acknowledged
    gap.acknowledge(reached)
    unreported = gap.unreported
    if unreported and unreported[0].due <= reached:
        _report(core, stream, gap)
    elif gap.reported and stream.held:
        _acknowledge(core, stream, gap)
    elif gap.is_over(reached):
        stream.close_gap()


def remove_probe_report(passage: Passage, gap: Gap) -> None:
    """Remove the D-SACK that reports one of our probes from the receiver's segment."""
    for probe in gap.probes:
        options = without_sack_block(passage.segment, probe & 0xFFFF_FFFF, probe + 1 & 0xFFFF_FFFF)
        if options is not None:
            gap.probe_answered(probe)
            stripped = parse(rewrite(passage.segment, options=options))
            if not isinstance(stripped, DropReason):
                passage.rewrite(stripped)
            return


def already_reported(passage: Passage, gap: Gap) -> bool:
    """Whether a duplicate ACK tells the sender nothing new: it only answers a probe, or the first SACK block, which holds the segment that triggered the ACK
    (RFC 2018 section 4), has been reported."""
    block = first_sack_block(passage.segment)
    if block is None:
        return passage.rewritten  # its D-SACK has been removed
    next_expected = passage.stream.peer.next
    left, right = (unwrap(edge, next_expected) for edge in block)
    reported = gap.reported.containing(left)
    return reported is not None and right <= reported[1]


def _report(core: Core, stream: Stream, gap: Gap) -> None:
    """Report all segments that are due, in the order in which they arrived, as the receiver would.
    With SACK one ACK reports adjacent segments together."""
    reached = stream.acknowledged
    sack = stream.connection.sack_permitted
    count = 0
    while (due := gap.next_due(reached)) is not None:
        if due.start <= reached:
            continue  # it has passed meanwhile; if the receiver lacks it, it is lost
        count += due.segments
        if sack and due.end > due.start:
            gap.report(due.start, due.end)
            if not gap.continues(due.end, reached):
                _acknowledge(core, stream, gap)
    if count and not sack:
        for _ in range(min(count, MAX_DUPLICATE_ACKS)):
            _acknowledge(core, stream, gap)


def _segments(passage: Passage) -> int:
    if not passage.arrival.gso:
        return 1
    return max(1, -(-passage.segment.length // passage.stream.largest_segment))


def _acknowledge(core: Core, stream: Stream, gap: Gap, first: Iterable[Block] = ()) -> None:
    """Send a duplicate of the receiver's last ACK, with ``first`` and the latest SACK blocks."""
    receiver = stream.peer
    stamps = timestamps_in(receiver.options)
    options = b"" if stamps is None else timestamps_option(*stamps)
    if stream.connection.sack_permitted:
        room = MOST_BLOCKS if stamps is None else BLOCKS_BESIDE_TIMESTAMPS
        blocks = [*first, *gap.blocks]
        options += sack_option(
            (left & 0xFFFF_FFFF, right & 0xFFFF_FFFF) for left, right in blocks[:room]
        )
    datagram = craft_acknowledgment(
        receiver.key,
        sequence=receiver.on_the_wire(receiver.next),
        acknowledgment=stream.acknowledged & 0xFFFF_FFFF,
        window=stream.window_field,
        options=options,
        hop_limit=receiver.hop_limit,
    )
    core.inject(receiver, datagram)


def _probe(core: Core, stream: Stream, gap: Gap) -> None:
    """Make the receiver acknowledge what has passed by repeating the last byte; once per byte."""
    last = stream.next - 1
    if last in gap.probes or stream.memory.end != stream.next:
        return  # already probed, or the last to pass was a FIN, which is acknowledged at once
    gap.probe(last)
    stamps = timestamps_in(stream.options)
    options = b""
    if stamps is not None:
        value, echo = stamps
        newest = stream.newest_timestamp
        options = timestamps_option(value if newest is None else newest, echo)
    receiver = stream.peer
    datagram = craft_acknowledgment(
        stream.key,
        sequence=stream.on_the_wire(last),
        acknowledgment=receiver.acknowledged & 0xFFFF_FFFF,
        window=receiver.window_field,
        options=options,
        payload=stream.memory.recall(last, stream.next),
        hop_limit=stream.hop_limit,
    )
    core.inject(stream, datagram)
