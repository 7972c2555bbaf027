"""Measures the sender's address while it arrives (docs/appliance.md, section 10).

The length is what stands between ``<`` and ``>``. A client that leaves the brackets out is
understood by many servers, so then it is the first word behind the colon (a quoted string may hold
blanks, RFC 5321 section 4.1.2); and where a word is followed by a bracket, as in
``MAIL FROM:name <address>``, both are measured. A colon that is missing is not missed.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple


class Place(enum.IntEnum):
    """Where in the argument of MAIL the next byte stands."""

    VERB = 0
    """Before the colon."""
    COLON = 1
    """Behind it; blanks may follow."""
    BRACKET = 2
    WORD = 3
    QUOTED = 4
    """In a quoted string of a word."""
    ESCAPED = 5
    """Behind a backslash there."""
    BEHIND = 6
    """Behind a word."""
    OVER = 7


class Measured(NamedTuple):
    """A piece of an address in the bytes at hand."""

    start: int
    """Position of its first byte at hand."""
    before: int
    """Bytes of it that had come before."""
    length: int
    """Bytes of it until now."""


_COLON_OR_BRACKET = re.compile(rb"[:<]")
_NOT_BLANK = re.compile(rb"[^ \t]")
_BLANK_OR_QUOTE = re.compile(rb'[ \t"]')
_QUOTE_OR_ESCAPE = re.compile(rb'["\\]')


def measure(
    place: Place, length: int, data: bytes, position: int, end: int
) -> tuple[Place, int, list[Measured]]:
    """Go on with ``data[position:end]``: the new place, the length of the piece that is open, and
    the pieces found here. ``length`` is that of the piece which was open before."""
    found: list[Measured] = []
    start, before = position, length
    while position < end and place != Place.OVER:
        if place == Place.VERB:
            match = _COLON_OR_BRACKET.search(data, position, end)
            if match is None:
                break
            position = start = match.end()
            before = length = 0
            place = Place.COLON if match[0] == b":" else Place.BRACKET
        elif place == Place.COLON or place == Place.BEHIND:
            match = _NOT_BLANK.search(data, position, end)
            if match is None:
                break
            position = start = match.start()
            before = length = 0
            if match[0] == b"<":
                position = start = position + 1
                place = Place.BRACKET
            else:
                place = Place.WORD if place == Place.COLON else Place.OVER
        elif place == Place.BRACKET:
            close = data.find(b">", position, end)
            if close < 0:
                break
            found.append(Measured(start, before, before + close - start))
            place = Place.OVER
        elif place == Place.ESCAPED:
            position += 1
            place = Place.QUOTED
        else:
            stops = _BLANK_OR_QUOTE if place == Place.WORD else _QUOTE_OR_ESCAPE
            match = stops.search(data, position, end)
            if match is None:
                break
            if match[0] == b'"':
                position = match.end()
                place = Place.QUOTED if place == Place.WORD else Place.WORD
            elif match[0] == b"\\":
                position = match.end()
                place = Place.ESCAPED
            else:
                position = match.start()
                found.append(Measured(start, before, before + position - start))
                place = Place.BEHIND
    if place in _OPEN:
        length = before + end - start
        found.append(Measured(start, before, length))
    return place, length, found


_OPEN = frozenset({Place.BRACKET, Place.WORD, Place.QUOTED, Place.ESCAPED})
"""The places within a piece."""
