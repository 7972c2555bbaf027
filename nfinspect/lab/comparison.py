"""Compares both sides of the filter, line by line.

Inspection never changes lengths, so an offset in a stream means the same byte on both sides.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nfinspect.lab.conversation import REPLY, REQUEST, ByteStream, CapturedLine, Conversation, lines

PASSED, MASKED, BLANKED = "passed", "masked", "blanked"
DROPPED, CUT = "dropped", "in part"


@dataclass(frozen=True, slots=True)
class LinePair:
    """A line of a session, as it was sent and as it was received."""

    direction: str
    sent: bytes
    received: bytes | None
    """None if nothing of it arrived."""
    verdict: str
    cuts: tuple[int, ...] = ()
    """Boundaries of the sender's segments within the line."""
    tries: int = 1
    """How often the sender sent its first byte."""
    arrivals: int = 1
    """How often that byte left the filter."""
    packet: int = field(default=0, compare=False)
    """The sender's packet that completed it."""

    @property
    def repeats(self) -> str:
        """What happened to the repeats of a line that was sent more than once, in words."""
        count = self.tries - 1
        dropped = min(max(self.tries - max(self.arrivals, 1), 0), count)
        if self.verdict == DROPPED or dropped in (0, count):
            what = "too" if self.verdict == DROPPED or not dropped else "dropped"
            return f"{count} repeat{'s' * (count > 1)} {what}" if count else ""
        return f"of {count} repeats {dropped} dropped"


def rows(outside: Conversation, inside: Conversation) -> list[LinePair]:
    """Return the lines of one connection, in the order in which their senders sent them."""
    requests = [line for line in lines(outside) if line.direction == REQUEST]
    replies = [line for line in lines(inside) if line.direction == REPLY]
    coverage = {
        (side, direction): _Coverage(conversation, direction)
        for side, conversation in ((0, outside), (1, inside))
        for direction in (REQUEST, REPLY)
    }
    result = []
    for line in sorted([*requests, *replies], key=lambda line: line.time):
        sender = 0 if line.direction == REQUEST else 1
        result.append(
            _row(
                line,
                _stream((outside, inside)[1 - sender], line.direction),
                tries=coverage[sender, line.direction].times(line.offset),
                arrivals=coverage[1 - sender, line.direction].times(line.offset),
            )
        )
    return result


def _row(line: CapturedLine, arrived: ByteStream, *, tries: int, arrivals: int) -> LinePair:
    received = arrived.data[line.offset : line.offset + len(line.text)]
    end = line.offset + len(line.text) + 2 * line.complete
    if arrived.ends and arrived.ends[-1] >= end:
        verdict = _whole(line.text, received)
    elif arrived.ends and arrived.ends[-1] > line.offset:
        verdict = CUT
    else:
        verdict = DROPPED
    shown = None if verdict == DROPPED else received
    return LinePair(
        line.direction, line.text, shown, verdict, line.cuts, max(tries, 1), arrivals, line.packet
    )


def _whole(sent: bytes, received: bytes) -> str:
    """The verdict on a line that has arrived completely."""
    if received == sent:
        return PASSED
    changed = [pair for pair in zip(sent, received, strict=True) if pair[0] != pair[1]]
    blanked = all(old in b"<>|" and new == ord(" ") for old, new in changed)
    return BLANKED if blanked else MASKED


class _Coverage:
    """How often a byte of one direction is in one side's capture."""

    def __init__(self, side: Conversation, direction: str) -> None:
        pieces = [each for each in side.segments if each.direction == direction]
        self._starts = sorted(each.offset for each in pieces)
        self._ends = sorted(each.offset + len(each.payload) for each in pieces)

    def times(self, offset: int) -> int:
        """How many segments contain the byte at this offset."""
        return bisect_right(self._starts, offset) - bisect_right(self._ends, offset)


def _stream(conversation: Conversation, direction: str) -> ByteStream:
    return conversation.request if direction == REQUEST else conversation.reply


def pairs(
    outside: Sequence[Conversation], inside: Sequence[Conversation]
) -> Iterator[tuple[Conversation, Conversation]]:
    """Yield the connections of both captures in pairs, matched by their addresses and ports."""
    by_ends = {(each.client, each.server): each for each in inside}
    for each in outside:
        other = by_ends.get((each.client, each.server))
        yield each, other or Conversation(each.client, each.server)
