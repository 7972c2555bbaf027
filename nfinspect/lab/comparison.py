"""Both sides of the filter, line by line: what came, what went on, and what that means.

Inspection never changes a length, so the same offset in a stream is the same byte on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nfinspect.lab.streams import REPLY, REQUEST, Conversation, Line, Stream, lines

PASSED, MASKED, DROPPED, CUT = "passed", "masked", "dropped", "in part"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a session, as its sender sent it and as its receiver got it."""

    direction: str
    sent: bytes
    received: bytes | None
    """None if nothing of it arrived."""
    verdict: str
    cuts: tuple[int, ...] = ()
    """Where within the line one of the sender's segments ended and the next began."""
    tries: int = 1
    """How often its sender sent its first byte."""


def rows(outside: Conversation, inside: Conversation) -> list[Row]:
    """Return the lines of one connection, in the order in which their senders sent them."""
    requests = [line for line in lines(outside) if line.direction == REQUEST]
    replies = [line for line in lines(inside) if line.direction == REPLY]
    result = []
    for line in sorted([*requests, *replies], key=lambda line: line.time):
        sender, receiver = (outside, inside) if line.direction == REQUEST else (inside, outside)
        result.append(_row(line, sender, _stream(receiver, line.direction)))
    return result


def _row(line: Line, sender: Conversation, arrived: Stream) -> Row:
    received = arrived.data[line.offset : line.offset + len(line.text)]
    end = line.offset + len(line.text) + 2 * line.complete
    if arrived.ends and arrived.ends[-1] >= end:
        verdict = PASSED if received == line.text else MASKED
    elif arrived.ends and arrived.ends[-1] > line.offset:
        verdict = CUT
    else:
        verdict = DROPPED
    tries = sum(
        each.direction == line.direction
        and each.offset <= line.offset < each.offset + len(each.payload)
        for each in sender.segments
    )
    shown = None if verdict == DROPPED else received
    return Row(line.direction, line.text, shown, verdict, line.cuts, max(tries, 1))


def _stream(conversation: Conversation, direction: str) -> Stream:
    return conversation.request if direction == REQUEST else conversation.reply


def pairs(
    outside: Sequence[Conversation], inside: Sequence[Conversation]
) -> Iterator[tuple[Conversation, Conversation]]:
    """Return the connections of both captures that are the same one, by their ends."""
    by_ends = {(each.client, each.server): each for each in inside}
    for each in outside:
        other = by_ends.get((each.client, each.server))
        yield each, other or Conversation(each.client, each.server)
