"""While segments behind a gap are held, the filter speaks for the receiver, which does not see them.

The sender has to hear of the gap as if they had arrived, or its fast retransmit waits for a timeout.
So it gets an acknowledgement for each (RFC 5681 section 3.2), with the receiver's own last number,
its window and its timestamps, and SACK blocks where both sides permit them (RFC 2018).

What makes that as good as the receiver's own words

- **In its time.** A segment is told once the receiver has acknowledged what had passed before it
  came. Earlier, the number would accuse bytes that are still on their way, and the sender would
  repeat them; later, even if the gap has filled meanwhile, the sender would stand still.
- **The receiver is asked.** It knows of no gap, so it may delay the acknowledgement that is waited
  for (RFC 5681 section 4.2), for longer than a round trip. The last byte that passed is repeated
  to it, as passed: a duplicate is acknowledged at once. Its report of the duplicate (RFC 2883) is
  kept from the sender, who repeated nothing.
- **The gap last.** When it fills, what was held passes first and what fills the gap last, so that
  the receiver acknowledges all of it in one step, as it would have. Step by step, the sender would
  take each for a receiver that has thrown away what it had told of (RFC 2018 section 8), and begin
  anew after a timeout.
- **Once.** What the receiver then says of the held segments, before the gap reaches it, the sender
  has heard.
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
from nfinspect.tcp.gap import Gap, Untold
from nfinspect.tcp.sequence import unwrap

Block = tuple[int, int]

BLOCKS_BESIDE_TIMESTAMPS, BLOCKS_ALONE = 3, 4
"""RFC 2018 section 3."""
MOST_AT_ONCE = 16
"""Acknowledgements without SACK that are sent together when the receiver has caught up. Three are
enough for fast retransmit; more only let the sender send more."""
LARGEST_WINDOW = 0xFFFF
MOST_PROBES = 8
"""Repetitions whose report is expected at a time. Of older ones the sender may hear."""
PROBE_LIFE = 1 << 18
"""Bytes after which a report is expected no longer: it got lost."""


def hold(core: Core, half: Half, held: Held, actions: list[Action]) -> None:
    """A segment of ``half`` is held: tell its sender, now or when the receiver has caught up."""
    if core.options.recorded or half.held[0].sequence <= half.next:
        return  # nothing reacts to us; or what is held waits for a reply, which is no gap
    gap = half.gap
    if gap is None:
        gap = half.gap = Gap()
    gap.untold.append(Untold(half.next, held.sequence, held.end, _segments(half, held)))
    if half.acknowledged >= half.next:
        _tell(half, gap, actions)
    else:
        _ask(half, gap, actions)


def repeat(half: Half, start: int, end: int, actions: list[Action]) -> None:
    """A held segment has come again: if the sender was told, that got lost, or came too late."""
    gap = half.gap
    if gap is not None and start > half.next and gap.told.around(start) is not None:
        _acknowledge(half, gap, [(start, end)] if start < end else (), actions)


def give_up(half: Half, held: Held) -> None:
    """The farthest of what is held is dropped, so the sender is told of it no more."""
    gap, cut = half.gap, held.sequence
    if gap is not None:
        gap.told.cut(cut)
        gap.latest = [min(number, cut - 1) for number in gap.latest]
        gap.untold = deque(each for each in gap.untold if each.start < cut)


def cut_short(half: Half, held: Held) -> None:
    """A held segment has passed in part, or not at all: the sender is told of the rest no more."""
    gap = half.gap
    decided = half.next if half.fin is None else half.fin
    if gap is not None and decided < held.end:
        gap.told.cut(decided)
        gap.untold = deque(each for each in gap.untold if each.start != held.sequence)


def fills(half: Half) -> bool:
    """Whether the segment that was just decided fills a gap, and is to pass last. Without SACK the
    sender expects the acknowledgements of what follows one after the other."""
    held = half.held
    return bool(
        half.gap is not None
        and held
        and held[0].sequence <= half.next
        and half.connection.sack_permitted
    )


def put_last(actions: list[Action], start: int, token: object) -> None:
    """Move the verdict by which this packet passes, among the actions from ``start`` on, to the
    end."""
    for at in range(start, len(actions)):
        action = actions[at]
        if isinstance(action, Accept | Replace) and action.token is token:
            actions.append(actions.pop(at))
            return


def part_filled(half: Half, gap: Gap, actions: list[Action]) -> None:
    """A part of what was missing has passed: have it acknowledged. (That of the last part need not
    be asked for: the receiver had got what lies behind.)"""
    if half.held and half.acknowledged < half.next:
        _ask(half, gap, actions)


def acknowledged(half: Half, gap: Gap, actions: list[Action]) -> None:
    """The receiver has acknowledged more, and its own words have gone to the sender: add what they
    lack."""
    reached = half.acknowledged
    told, untold = gap.told, gap.untold
    told.forget_below(reached)
    lacking = told.around(reached)
    if lacking is not None:
        # That has passed, and the receiver has not got it: it speaks for itself now.
        told.forget_below(lacking[1])
    while untold and untold[0].end <= reached:
        untold.popleft()
    if untold and untold[0].due <= reached:
        _tell(half, gap, actions)
    elif told and half.held:
        _acknowledge(half, gap, (), actions)
    elif not (told or untold) and (not gap.probes or reached > gap.probes[-1] + PROBE_LIFE):
        half.gap = None


def without_report(gap: Gap, segment: Segment) -> Segment:
    """The receiver's segment as the sender may see it: without the report of a repetition of ours."""
    for probe in gap.probes:
        options = without_sack_block(segment, probe & 0xFFFF_FFFF, probe + 1 & 0xFFFF_FFFF)
        if options is not None:
            gap.probes.remove(probe)
            silent = parse(rewrite(segment, options=options))
            return silent if isinstance(silent, Segment) else segment
    return segment


def already_told(half: Half, gap: Gap, segment: Segment, *, asked: bool) -> bool:
    """Whether a bare acknowledgement that acknowledges nothing more says nothing else either: it
    only answers our question (``asked``), or the first of its blocks, which is its news (RFC 2018
    section 4), has been told."""
    block = first_sack_block(segment)
    if block is None:
        return asked
    left, right = (unwrap(edge, half.next) for edge in block)
    told = gap.told.around(left)
    return told is not None and right <= told[1]


def _tell(half: Half, gap: Gap, actions: list[Action]) -> None:
    """Tell of all that is due, as the receiver would have: one after the other. With SACK one
    acknowledgement says what is to be said of neighbours."""
    untold, told, reached = gap.untold, gap.told, half.acknowledged
    sack = half.connection.sack_permitted
    count = 0
    while untold and untold[0].due <= reached:
        _, start, end, segments = untold.popleft()
        if start <= reached:
            continue  # it has passed; if the receiver lacks it, it is lost
        count += segments
        if sack and end > start:
            told.add(start, end)
            first, behind = told.around(start) or (start, end)
            others = [other for other in gap.latest if not first <= other < behind]
            gap.latest = [start, *others[: BLOCKS_ALONE - 1]]
            if not untold or untold[0].start != end or untold[0].due > reached:
                _acknowledge(half, gap, (), actions)
    if count and not sack:
        before = len(actions)
        _acknowledge(half, gap, (), actions)
        actions += actions[before:] * (min(count, MOST_AT_ONCE) - 1)


def _segments(half: Half, held: Held) -> int:
    if not held.arrival.gso:
        return 1
    return max(1, -(-held.segment.length // half.largest_segment))


def _acknowledge(half: Half, gap: Gap, first: Iterable[Block], actions: list[Action]) -> None:
    """Say the receiver's last number again, with the blocks that were told last."""
    receiver = half.peer
    stamps = timestamps_in(receiver.options)
    options = b"" if stamps is None else timestamps_option(*stamps)
    if half.connection.sack_permitted:
        room = BLOCKS_ALONE if stamps is None else BLOCKS_BESIDE_TIMESTAMPS
        ranges = dict.fromkeys(gap.told.around(number) for number in gap.latest)
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


def _ask(half: Half, gap: Gap, actions: list[Action]) -> None:
    """Have the receiver acknowledge what has passed, by a repetition of its last byte; once."""
    last = half.next - 1
    if last in gap.probes or half.memory.end != half.next:
        return  # the second: a FIN has passed last, which is acknowledged at once
    gap.probes = [*gap.probes[1 - MOST_PROBES :], last]
    stamps = timestamps_in(half.options)
    options = b""
    if stamps is not None:
        value, echo = stamps
        options = timestamps_option(value if half.youngest is None else half.youngest, echo)
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
    """What is left of the window that it has announced, as on the wire. The edge is what counts: the
    window that it announced last may belong to an older acknowledgement than the one we repeat."""
    stream = speaker.peer
    edge = stream.acknowledged if stream.edge is None else stream.edge
    return min(max(0, edge - stream.acknowledged) >> speaker.scale, LARGEST_WINDOW)


def _key(half: Half) -> bytes:
    """Of the packets of this direction."""
    key = half.connection.key
    return key if half.direction is Direction.REQUEST else reverse_key(key)
