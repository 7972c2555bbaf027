"""Compares both sides of the filter, line by line.

Inspection never changes lengths, so an offset in a stream means the same byte on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nfinspect.lab.streams import REPLY, REQUEST, Conversation, Line, Stream, lines

PASSED, MASKED, BLANKED = "passed", "masked", "blanked"
DROPPED, CUT = "dropped", "in part"


@dataclass(frozen=True, slots=True)
class Row:
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

    @property
    def repeats(self) -> str:
        """What happened to the repeats of a line that was sent more than once, in words."""
        count = self.tries - 1
        dropped = min(max(self.tries - max(self.arrivals, 1), 0), count)
        if self.verdict == DROPPED or dropped in (0, count):
            what = "too" if self.verdict == DROPPED or not dropped else "dropped"
            return f"{count} repeat{'s' * (count > 1)} {what}" if count else ""
        return f"of {count} repeats {dropped} dropped"


def rows(outside: Conversation, inside: Conversation) -> list[Row]:
    """Return the lines of one connection, in the order in which their senders sent them."""
    requests = [line for line in lines(outside) if line.direction == REQUEST]
    replies = [line for line in lines(inside) if line.direction == REPLY]
    result = []
    for line in sorted([*requests, *replies], key=lambda line: line.time):
        sender, receiver = (outside, inside) if line.direction == REQUEST else (inside, outside)
        result.append(_row(line, sender, receiver))
    return result


def _row(line: Line, sender: Conversation, receiver: Conversation) -> Row:
    arrived = _stream(receiver, line.direction)
    received = arrived.data[line.offset : line.offset + len(line.text)]
    end = line.offset + len(line.text) + 2 * line.complete
    if arrived.ends and arrived.ends[-1] >= end:
        verdict = _whole(line.text, received)
    elif arrived.ends and arrived.ends[-1] > line.offset:
        verdict = CUT
    else:
        verdict = DROPPED
    shown = None if verdict == DROPPED else received
    tries, arrivals = _times(line, sender), _times(line, receiver)
    return Row(line.direction, line.text, shown, verdict, line.cuts, max(tries, 1), arrivals)


def _whole(sent: bytes, received: bytes) -> str:
    """The verdict on a line that has arrived completely."""
    if received == sent:
        return PASSED
    changed = [pair for pair in zip(sent, received, strict=True) if pair[0] != pair[1]]
    blanked = all(old in b"<>|" and new == ord(" ") for old, new in changed)
    return BLANKED if blanked else MASKED


def _times(line: Line, side: Conversation) -> int:
    """How often the first byte of *line* is in that side's capture."""
    return sum(
        each.direction == line.direction
        and each.offset <= line.offset < each.offset + len(each.payload)
        for each in side.segments
    )


def _stream(conversation: Conversation, direction: str) -> Stream:
    return conversation.request if direction == REQUEST else conversation.reply


def pairs(
    outside: Sequence[Conversation], inside: Sequence[Conversation]
) -> Iterator[tuple[Conversation, Conversation]]:
    """Yield the connections of both captures in pairs, matched by their addresses and ports."""
    by_ends = {(each.client, each.server): each for each in inside}
    for each in outside:
        other = by_ends.get((each.client, each.server))
        yield each, other or Conversation(each.client, each.server)
