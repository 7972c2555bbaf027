"""Measures the sender's address as it arrives (docs/appliance.md, section 10).

The address is what stands between ``<`` and ``>``. Many servers accept an address without brackets,
so without them it is the first word after the colon (a quoted string may contain blanks, RFC 5321
section 4.1.2). If a bracket follows a word, as in ``MAIL FROM:name <address>``, both are measured.
The colon may be missing.
"""

from __future__ import annotations

import enum
import re
from typing import Final, NamedTuple


class Place(enum.IntEnum):
    """Where in the argument of MAIL the next byte is."""

    VERB = 0
    """Before the colon."""
    COLON = 1
    """After the colon, or blanks that follow it."""
    BRACKET = 2
    """Between ``<`` and ``>``."""
    WORD = 3
    QUOTED = 4
    """In a quoted string of a word."""
    ESCAPED = 5
    """After a backslash in a quoted string."""
    AFTER_WORD = 6
    """After a word."""
    OVER = 7
    """Nothing more to measure."""


class Measured(NamedTuple):
    """An address, or a part of one, in the given data."""

    start: int
    """Position of its first byte in the data."""
    before: int
    """How many of its bytes had arrived before."""
    length: int
    """How many of its bytes have arrived so far."""


_COLON_OR_BRACKET: Final = re.compile(rb"[:<]")
_NOT_BLANK: Final = re.compile(rb"[^ \t]")
_BLANK_OR_QUOTE: Final = re.compile(rb'[ \t"]')
_QUOTE_OR_ESCAPE: Final = re.compile(rb'["\\]')


def measure(
    place: Place, length: int, data: bytes, position: int, end: int
) -> tuple[Place, int, list[Measured]]:
    """Measure ``data[position:end]``, beginning at ``place`` with ``length`` bytes of an unfinished
    address. Returns the new place, the length of the address then unfinished, and the addresses
    found."""
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
        elif place == Place.COLON or place == Place.AFTER_WORD:
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
                place = Place.AFTER_WORD
    if place in _OPEN:
        length = before + end - start
        found.append(Measured(start, before, length))
    return place, length, found


_OPEN: Final = frozenset({Place.BRACKET, Place.WORD, Place.QUOTED, Place.ESCAPED})
"""The places within an address."""
