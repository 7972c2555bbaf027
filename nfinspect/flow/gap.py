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

from collections import deque
from collections.abc import Iterable

from nfinspect.actions import Accept, Action, Inject, Replace
from nfinspect.events import Direction
from nfinspect.flow.core import Core
from nfinspect.packet.craft import craft_acknowledgment
from nfinspect.packet.edit import rewrite
from nfinspect.packet.options import (
    first_sack_block,
    sack_option,
    timestamps_in,
    timestamps_option,
    without_sack_block,
)
from nfinspect.packet.segment import Segment, parse, reverse_key
from nfinspect.tcp.connection import Half, Held
from nfinspect.tcp.gap import Gap, Unreported
from nfinspect.tcp.sequence import unwrap

Block = tuple[int, int]

BLOCKS_BESIDE_TIMESTAMPS, BLOCKS_ALONE = 3, 4
"""RFC 2018 section 3."""
MAX_DUPLICATE_ACKS = 16
"""Duplicate ACKs without SACK sent together when the receiver has caught up. Three trigger fast
retransmit; more only let the sender send more."""
LARGEST_WINDOW = 0xFFFF
MAX_PROBES = 8
"""Probes remembered per gap. The D-SACK of an older one may reach the sender."""
PROBE_LIFE = 1 << 18
"""Once the receiver has acknowledged this many bytes beyond a probe, its D-SACK counts as lost."""


def hold(core: Core, half: Half, held: Held, actions: list[Action]) -> None:
    """Report a held segment to its sender, now or when the receiver has caught up."""
    if core.options.recorded or half.held[0].sequence <= half.next:
        return  # a capture cannot react; or the packet waits for a reply, and there is no gap
    gap = half.gap
    if gap is None:
        gap = half.gap = Gap()
    limits = core.options.limits
    if gap.counted >= limits.reports or core.ledger.reports >= limits.reports_total:
        return
    gap.unreported.append(Unreported(half.next, held.sequence, held.end, _segments(half, held)))
    if half.acknowledged >= half.next:
        _report(half, gap, actions)
    else:
        _probe(half, gap, actions)
    _count(core, gap)


def repeat(half: Half, start: int, end: int, actions: list[Action]) -> None:
    """A held segment has been retransmitted: if it was reported, the ACK was lost or late."""
    gap = half.gap
    if gap is not None and start > half.next and gap.reported.containing(start) is not None:
        _acknowledge(half, gap, [(start, end)] if start < end else (), actions)


def evicted(core: Core, half: Half, held: Held) -> None:
    """The farthest held segment is dropped: stop reporting it."""
    gap, cut = half.gap, held.sequence
    if gap is not None:
        gap.reported.cut(cut)
        gap.latest = [min(number, cut - 1) for number in gap.latest]
        gap.unreported = deque(each for each in gap.unreported if each.start < cut)
        _count(core, gap)


def cut_short(core: Core, half: Half, held: Held) -> None:
    """A held segment has passed only in part, or not at all: stop reporting the rest."""
    gap = half.gap
    decided = half.next if half.fin is None else half.fin
    if gap is not None and decided < held.end:
        gap.reported.cut(decided)
        gap.unreported = deque(each for each in gap.unreported if each.start != held.sequence)
        _count(core, gap)


def forget(core: Core, half: Half) -> None:
    """The connection has ended, or is no longer inspected."""
    if half.gap is not None:
        core.ledger.reports -= half.gap.counted
        half.gap = None


def fills(half: Half) -> bool:
    """Whether the segment just decided fills a gap and must pass last. Without SACK the sender
    expects separate acknowledgements of the segments that follow."""
    held = half.held
    return bool(
        half.gap is not None
        and held
        and held[0].sequence <= half.next
        and half.connection.sack_permitted
    )


def put_last(actions: list[Action], start: int, token: object) -> None:
    """Move this packet's Accept or Replace, among the actions from ``start`` on, to the end."""
    for at in range(start, len(actions)):
        action = actions[at]
        if isinstance(action, Accept | Replace) and action.token is token:
            actions.append(actions.pop(at))
            return


def partly_filled(half: Half, gap: Gap, actions: list[Action]) -> None:
    """Part of the gap has been filled: have the receiver acknowledge it. (The last part needs no
    probe: the receiver already has the bytes beyond it.)"""
    if half.held and half.acknowledged < half.next:
        _probe(half, gap, actions)


def acknowledged(core: Core, half: Half, gap: Gap, actions: list[Action]) -> None:
    """The receiver's own ACK of new data has gone to the sender: report what it leaves out."""
    reached = half.acknowledged
    reported, unreported = gap.reported, gap.unreported
    reported.forget_below(reached)
    lost = reported.containing(reached)
    if lost is not None:
        # This has passed but did not reach the receiver, whose own ACKs report it from now on.
        reported.forget_below(lost[1])
    while unreported and unreported[0].end <= reached:
        unreported.popleft()
    if unreported and unreported[0].due <= reached:
        _report(half, gap, actions)
    elif reported and half.held:
        _acknowledge(half, gap, (), actions)
    elif not (reported or unreported) and (not gap.probes or reached > gap.probes[-1] + PROBE_LIFE):
        half.gap = None
    _count(core, gap)


def without_probe_report(gap: Gap, segment: Segment) -> Segment:
    """The receiver's segment without the D-SACK that reports one of our probes."""
    for probe in gap.probes:
        options = without_sack_block(segment, probe & 0xFFFF_FFFF, probe + 1 & 0xFFFF_FFFF)
        if options is not None:
            gap.probes.remove(probe)
            stripped = parse(rewrite(segment, options=options))
            return stripped if isinstance(stripped, Segment) else segment
    return segment


def already_reported(half: Half, gap: Gap, segment: Segment, *, answers_probe: bool) -> bool:
    """Whether a duplicate ACK tells the sender nothing new: it only answers a probe
    (``answers_probe``), or the first SACK block, which holds the segment that triggered the ACK
    (RFC 2018 section 4), has been reported."""
    block = first_sack_block(segment)
    if block is None:
        return answers_probe
    left, right = (unwrap(edge, half.next) for edge in block)
    reported = gap.reported.containing(left)
    return reported is not None and right <= reported[1]


def _report(half: Half, gap: Gap, actions: list[Action]) -> None:
    """Report all segments that are due, in the order in which they arrived, as the receiver would.
    With SACK one ACK reports adjacent segments together."""
    unreported, reported, reached = gap.unreported, gap.reported, half.acknowledged
    sack = half.connection.sack_permitted
    count = 0
    while unreported and unreported[0].due <= reached:
        _, start, end, segments = unreported.popleft()
        if start <= reached:
            continue  # it has passed meanwhile; if the receiver lacks it, it is lost
        count += segments
        if sack and end > start:
            reported.add(start, end)
            left, right = reported.containing(start) or (start, end)
            others = [other for other in gap.latest if not left <= other < right]
            gap.latest = [start, *others[: BLOCKS_ALONE - 1]]
            if not unreported or unreported[0].start != end or unreported[0].due > reached:
                _acknowledge(half, gap, (), actions)
    if count and not sack:
        before = len(actions)
        _acknowledge(half, gap, (), actions)
        actions += actions[before:] * (min(count, MAX_DUPLICATE_ACKS) - 1)


def _count(core: Core, gap: Gap) -> None:
    """Keep the ledger after reports were added or removed."""
    counted = len(gap.unreported) + len(gap.reported)
    core.ledger.reports += counted - gap.counted
    gap.counted = counted


def _segments(half: Half, held: Held) -> int:
    if not held.arrival.gso:
        return 1
    return max(1, -(-held.segment.length // half.largest_segment))


def _acknowledge(half: Half, gap: Gap, first: Iterable[Block], actions: list[Action]) -> None:
    """Send a duplicate of the receiver's last ACK, with ``first`` and the latest SACK blocks."""
    receiver = half.peer
    stamps = timestamps_in(receiver.options)
    options = b"" if stamps is None else timestamps_option(*stamps)
    if half.connection.sack_permitted:
        room = BLOCKS_ALONE if stamps is None else BLOCKS_BESIDE_TIMESTAMPS
        ranges = dict.fromkeys(gap.reported.containing(number) for number in gap.latest)
        blocks = [*first, *(block for block in ranges if block is not None)]
        options += sack_option(
            (left & 0xFFFF_FFFF, right & 0xFFFF_FFFF) for left, right in blocks[:room]
        )
    datagram = craft_acknowledgment(
        _key(receiver),
        sequence=receiver.next & 0xFFFF_FFFF,
        acknowledgment=half.acknowledged & 0xFFFF_FFFF,
        window=_window(receiver),
        options=options,
        hop_limit=receiver.hop_limit,
    )
    actions.append(
        Inject(datagram, receiver.direction, half.port, half.link_source, receiver.link_source)
    )


def _probe(half: Half, gap: Gap, actions: list[Action]) -> None:
    """Make the receiver acknowledge what has passed by repeating the last byte; once per byte."""
    last = half.next - 1
    if last in gap.probes or half.memory.end != half.next:
        return  # already probed, or the last to pass was a FIN, which is acknowledged at once
    gap.probes = [*gap.probes[1 - MAX_PROBES :], last]
    stamps = timestamps_in(half.options)
    options = b""
    if stamps is not None:
        value, echo = stamps
        options = timestamps_option(
            value if half.newest_timestamp is None else half.newest_timestamp, echo
        )
    receiver = half.peer
    datagram = craft_acknowledgment(
        _key(half),
        sequence=last & 0xFFFF_FFFF,
        acknowledgment=receiver.acknowledged & 0xFFFF_FFFF,
        window=_window(half),
        options=options,
        payload=half.memory.recall(last, half.next),
        hop_limit=half.hop_limit,
    )
    actions.append(
        Inject(datagram, half.direction, receiver.port, receiver.link_source, half.link_source)
    )


def _window(speaker: Half) -> int:
    """The window field of an ACK in the speaker's name: what remains up to the right edge it has
    announced. (The last window field may belong to an older ACK than the one we repeat.)"""
    stream = speaker.peer
    edge = stream.acknowledged if stream.edge is None else stream.edge
    return min(max(0, edge - stream.acknowledged) >> speaker.scale, LARGEST_WINDOW)


def _key(half: Half) -> bytes:
    """The key of packets in this direction."""
    key = half.connection.key
    return key if half.direction is Direction.REQUEST else reverse_key(key)
