"""Compares what a live filter did with what a replay of the same packets decided.

Compared are all datagrams that left the filter on either side, byte for byte and in their order, and
all events. What a difference is about is said in numbers of the captures' packets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, TypeVar

from nfinspect.events import Direction
from nfinspect.packet.segment import Segment, parse
from nfinspect.replay.tape import Sent

Item = TypeVar("Item", bound=Hashable)

SIDES = {Direction.REQUEST: "to the server", Direction.REPLY: "to the client"}
CONTEXT = 16
"""Bytes shown from the first that differs."""

Different = tuple[list[Item], list[Item]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that was expected and did not happen, or the other way round."""

    what: str
    """``packet``, ``event`` or ``input``."""
    side: str
    packets: tuple[int, ...]
    """Numbers in the captures; empty if it belongs to none."""
    expected: tuple[str, ...]
    """Datagrams in hexadecimal digits, or events in JSON."""
    found: tuple[str, ...]
    text: str

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "what": self.what,
            "side": self.side,
            "packets": list(self.packets),
            "expected": list(self.expected),
            "found": list(self.found),
            "text": self.text,
        }


def packets(
    direction: Direction,
    expected: Sequence[Sent],
    found: Sequence[bytes],
    *,
    by_connection: bool,
) -> list[Difference]:
    """The differences between the datagrams that should have left the filter and those that did;
    *by_connection*: in the order within each connection."""
    wanted = _apart(expected, lambda each: _connection(each.datagram), by_connection)
    came = _apart(found, _connection, by_connection)
    return [
        difference
        for connection in dict.fromkeys((*wanted, *came))
        for difference in _packets(direction, wanted.get(connection, []), came.get(connection, []))
    ]


def _packets(
    direction: Direction, expected: list[Sent], found: list[bytes]
) -> Iterator[Difference]:
    at = 0
    for wanted, came in different([each.datagram for each in expected], found):
        while at < len(expected) and wanted and expected[at].datagram != wanted[0]:
            at += 1
        about = expected[at : at + len(wanted)]
        if not about and at:
            about = expected[at - 1 : at]
        numbers = dict.fromkeys(each.packet for each in about)
        yield Difference(
            "packet",
            SIDES[direction],
            tuple(number for number in numbers if number),
            tuple(each.hex() for each in wanted),
            tuple(each.hex() for each in came),
            "\n".join(_told(wanted, came)),
        )
        at += len(wanted)


def events(
    expected: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]], *, numbered: bool
) -> list[Difference]:
    """The differences between events, as `tape.comparable` returns them, in the order within each
    connection; *numbered*: connections must have the same numbers."""
    wanted = _apart(expected, _ends, True)
    came = _apart(found, _ends, True)
    return [
        difference
        for ends in dict.fromkeys((*wanted, *came))
        for difference in _events(
            _texts(wanted.get(ends, []), numbered=numbered),
            _texts(came.get(ends, []), numbered=numbered),
        )
    ]


def _events(expected: list[str], found: list[str]) -> Iterator[Difference]:
    for wanted, came in different(expected, found):
        lines = [f"expected {each}" for each in wanted] + [f"but came {each}" for each in came]
        yield Difference("event", "", (), tuple(wanted), tuple(came), "\n".join(lines))


def _apart(
    items: Sequence[Any], connection: Callable[[Any], object], by_connection: bool
) -> dict[object, list[Any]]:
    """*items* by connection, or all together."""
    found: dict[object, list[Any]] = {}
    for item in items:
        found.setdefault(connection(item) if by_connection else None, []).append(item)
    return found


def _connection(datagram: bytes) -> object:
    segment = parse(datagram, len(datagram))
    if not isinstance(segment, Segment):
        return None
    return min(segment.key, segment.reverse_key)


def _ends(event: dict[str, Any]) -> object:
    one, other = (
        event.get(name, event.get(of_none))
        for name, of_none in (("client", "source"), ("server", "destination"))
    )
    return min(str(one), str(other)), max(str(one), str(other))


def _texts(values: Sequence[dict[str, Any]], *, numbered: bool) -> list[str]:
    return [
        json.dumps(
            {name: value for name, value in each.items() if numbered or name != "connection"},
            sort_keys=True,
        )
        for each in values
    ]


def different(expected: list[Item], found: list[Item]) -> Iterator[Different[Item]]:
    """The parts in which two lists differ."""
    start = 0
    shorter = min(len(expected), len(found))
    while start < shorter and expected[start] == found[start]:
        start += 1
    end = 0
    while end < shorter - start and expected[-1 - end] == found[-1 - end]:
        end += 1
    one, other = expected[start : len(expected) - end], found[start : len(found) - end]
    if not one and not other:
        return
    for tag, i, j, k, m in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if tag != "equal":
            yield one[i:j], other[k:m]


def _told(expected: Sequence[bytes], found: Sequence[bytes]) -> Iterator[str]:
    for position in range(max(len(expected), len(found))):
        wanted = expected[position] if position < len(expected) else None
        came = found[position] if position < len(found) else None
        if wanted is None and came is not None:
            yield f"also came {described(came)}"
        elif came is None and wanted is not None:
            yield f"did not come: {described(wanted)}"
        elif wanted is not None and came is not None:
            at = next(
                (
                    place
                    for place in range(min(len(wanted), len(came)))
                    if wanted[place] != came[place]
                ),
                min(len(wanted), len(came)),
            )
            yield f"expected {described(wanted)}"
            yield f"but came {described(came)}"
            yield (
                f"from byte {at}: expected {wanted[at : at + CONTEXT].hex(' ') or 'the end'},"
                f" came {came[at : at + CONTEXT].hex(' ') or 'the end'}"
            )


def described(datagram: bytes) -> str:
    """A datagram in few words."""
    segment = parse(datagram, len(datagram))
    if not isinstance(segment, Segment):
        return f"{len(datagram)} bytes that are no TCP segment ({segment.value})"
    flags = "".join(letter for bit, letter in enumerate("FSRPAUEC") if segment.flags & 1 << bit)
    payload = segment.payload_bytes
    shown = repr(payload[:40])[1:] + "…" * (len(payload) > 40)
    return (
        f"{flags or 'no flag'} {segment.source_port} > {segment.destination_port}"
        f" seq {segment.sequence} ack {segment.acknowledgment}, {len(payload)} bytes {shown}"
    )
