"""TCP options: what a SYN offers, timestamps, SACK, and the cleaning of every segment's options.

The appliance's normalizer passes the options it knows and overwrites all others with NOP
(docs/appliance.md, section 5).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Final

from nfinspect.packet.segment import Segment

# Option kinds, RFC 9293 section 3.2, RFC 7323, RFC 2018.
END_OF_OPTION_LIST: Final = 0
NO_OPERATION: Final = 1
MAXIMUM_SEGMENT_SIZE: Final = 2
WINDOW_SCALE: Final = 3
SACK_PERMITTED: Final = 4
SACK: Final = 5
TIMESTAMPS: Final = 8

# The kinds that pass, each with its valid lengths.
_LENGTHS: Final = {
    MAXIMUM_SEGMENT_SIZE: (4,),
    WINDOW_SCALE: (3,),
    SACK_PERMITTED: (2,),
    SACK: (10, 18, 26, 34),
    TIMESTAMPS: (10,),
}

MAXIMUM_WINDOW_SCALE: Final = 14
"""A larger shift count is read as this one (RFC 7323 section 2.3)."""

_USUAL_TIMESTAMPS: Final = bytes((NO_OPERATION, NO_OPERATION, TIMESTAMPS, 10))
_USUAL_SACK: Final = bytes((NO_OPERATION, NO_OPERATION, SACK))
_CACHED: Final = 8
"""Cached results: the options of one segment are examined in several steps."""
_LONG: Final = Struct("!L")
_TWO_LONGS: Final = Struct("!LL")
_OPTION_MSS: Final = Struct("!BBH")


@dataclass(frozen=True, slots=True)
class SynOptions:
    """What the options of a SYN offer. Options that cleaning removes do not count."""

    mss: int | None = None
    window_scale: int | None = None
    sack_permitted: bool = False
    timestamps: bool = False


def with_segment_size(segment: Segment, size: int) -> bytes | None:
    """The options, cleaned and in the same length, with this MSS; None if they have that one, or
    none."""
    options = _clean(segment.options)
    at = 0
    while at < len(options) and options[at] != END_OF_OPTION_LIST:
        if options[at] == MAXIMUM_SEGMENT_SIZE:
            changed = options[: at + 2] + size.to_bytes(2, "big") + options[at + 4 :]
            return None if changed == options else changed
        at += 1 if options[at] == NO_OPERATION else options[at + 1]
    return None


def plain_options(segment: Segment) -> bool:
    """Whether the segment has no options, or only timestamps in the usual layout, as most have."""
    size = segment.payload - segment.transport
    return size == 20 or (
        size == 32
        and segment.datagram[segment.transport + 20 : segment.transport + 24] == _USUAL_TIMESTAMPS
    )


def clean_options(segment: Segment) -> bytes | None:
    """The options as they may pass, in the same length; None if they may pass unchanged.

    NOP overwrites kinds 6, 7 and 9 to 255, a known kind with an invalid length, and a repeated
    kind. From an option with an impossible length on (0, 1, or beyond the end), everything is NOP,
    as receivers may disagree about what follows. Whatever follows an End of Option List is zeroed.
    """
    options = segment.options
    if not options or (options.startswith(_USUAL_TIMESTAMPS) and _ends_as_usual(options)):
        return None
    cleaned = _clean(options)
    return None if cleaned == options else cleaned


def _ends_as_usual(options: bytes) -> bool:
    """Whether nothing follows the timestamps, or only SACK."""
    size = len(options)
    return size == 12 or (
        size in (24, 32, 40) and options.startswith(_USUAL_SACK, 12) and options[15] == size - 14
    )


def syn_options(segment: Segment) -> SynOptions:
    """What a SYN or SYN-ACK offers."""
    return _syn_options(segment.options)


@lru_cache(_CACHED)
def _syn_options(options: bytes) -> SynOptions:
    values = _values(options)
    mss = values.get(MAXIMUM_SEGMENT_SIZE)
    scale = values.get(WINDOW_SCALE)
    return SynOptions(
        mss=None if mss is None else int.from_bytes(mss, "big"),
        window_scale=None if scale is None else min(scale[0], MAXIMUM_WINDOW_SCALE),
        sack_permitted=SACK_PERMITTED in values,
        timestamps=TIMESTAMPS in values,
    )


def opening_options(offered: SynOptions) -> bytes:
    """The options of a SYN or SYN-ACK that offers this, except timestamps."""
    options = b"" if offered.mss is None else _OPTION_MSS.pack(MAXIMUM_SEGMENT_SIZE, 4, offered.mss)
    if offered.sack_permitted:
        options += bytes((NO_OPERATION, NO_OPERATION, SACK_PERMITTED, 2))
    if offered.window_scale is not None:
        options += bytes((NO_OPERATION, WINDOW_SCALE, 3, offered.window_scale))
    return options


def timestamps(segment: Segment) -> tuple[int, int] | None:
    """Timestamp value and echo reply, if the segment carries them (RFC 7323 section 3.2)."""
    return timestamps_in(segment.options)


def timestamps_in(options: bytes) -> tuple[int, int] | None:
    """Timestamp value and echo reply, if these options include them."""
    if options.startswith(_USUAL_TIMESTAMPS) and len(options) >= 12:
        value, echo = _TWO_LONGS.unpack_from(options, 4)
        return value, echo
    found = _values(options).get(TIMESTAMPS)
    if found is None:
        return None
    value, echo = _TWO_LONGS.unpack(found)
    return value, echo


def with_newer_timestamp(segment: Segment, value: int) -> bytes | None:
    """The options, cleaned, with the older timestamp value replaced by *value*; None if theirs is
    not older, or they have none."""
    options = _clean(segment.options)
    at = 0
    while at < len(options) and options[at] != END_OF_OPTION_LIST:
        if options[at] == TIMESTAMPS:
            (own,) = _LONG.unpack_from(options, at + 2)
            if 0 < (value - own) & 0xFFFF_FFFF < 0x8000_0000:
                return options[: at + 2] + _LONG.pack(value) + options[at + 6 :]
            return None
        at += 1 if options[at] == NO_OPERATION else options[at + 1]
    return None


def timestamps_option(value: int, echo: int) -> bytes:
    """A timestamps option, padded to 12 bytes with NOPs in front (RFC 7323, appendix A)."""
    return _USUAL_TIMESTAMPS + _TWO_LONGS.pack(value, echo)


def sack_option(blocks: Iterable[tuple[int, int]]) -> bytes:
    """A SACK option of (left edge, right edge) blocks, padded to a multiple of 4 bytes with NOPs in
    front.

    There is room for four blocks, or for three together with timestamps (RFC 2018 section 3).
    """
    edges = b"".join(_TWO_LONGS.pack(left, right) for left, right in blocks)
    return _USUAL_SACK + bytes((2 + len(edges),)) + edges if edges else b""


def first_sack_block(segment: Segment) -> tuple[int, int] | None:
    """The first block of a SACK option that is alone or follows timestamps."""
    options = segment.options
    at = 12 if options.startswith(_USUAL_TIMESTAMPS) else 0
    sack = options[at:].lstrip(bytes((NO_OPERATION,)))
    if len(sack) < 10 or sack[0] != SACK:
        return None
    left, right = _TWO_LONGS.unpack_from(sack, 2)
    return left, right


def without_sack_block(segment: Segment, left: int, right: int) -> bytes | None:
    """The options, cleaned and in the same length, without this block of their SACK option; None if
    they have no such block."""
    block = _TWO_LONGS.pack(left, right)
    if block not in segment.options:
        return None
    options = _clean(segment.options)
    at = 0
    while at < len(options) and options[at] != END_OF_OPTION_LIST:
        if options[at] == NO_OPERATION:
            at += 1
            continue
        end = at + options[at + 1]
        if options[at] == SACK:
            blocks = [options[place : place + 8] for place in range(at + 2, end, 8)]
            if block not in blocks:
                return None
            blocks.remove(block)
            edges = b"".join(blocks)
            rest = bytes((SACK, 2 + len(edges))) + edges if edges else b""
            padding = bytes((NO_OPERATION,)) * (end - at - len(rest))
            return options[:at] + padding + rest + options[end:]
        at = end
    return None


@lru_cache(_CACHED)
def _clean(options: bytes) -> bytes:
    """The result of ``clean_options``, also if nothing changes."""
    cleaned = bytearray((NO_OPERATION,)) * len(options)
    seen = set()
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == NO_OPERATION:
            at += 1
            continue
        if kind == END_OF_OPTION_LIST:
            cleaned[at:] = bytes(len(options) - at)
            break
        end = at + options[at + 1] if at + 1 < len(options) else 0
        if end < at + 2 or end > len(options):
            break
        if end - at in _LENGTHS.get(kind, ()) and kind not in seen:
            seen.add(kind)
            cleaned[at:end] = options[at:end]
        at = end
    return bytes(cleaned)


def _values(options: bytes) -> dict[int, bytes]:
    """The values of the cleaned options, by kind."""
    options = _clean(options)
    values = {}
    at = 0
    while at < len(options) and options[at] != END_OF_OPTION_LIST:
        if options[at] == NO_OPERATION:
            at += 1
            continue
        end = at + options[at + 1]
        values[options[at]] = options[at + 2 : end]
        at = end
    return values
