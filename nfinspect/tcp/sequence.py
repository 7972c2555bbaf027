"""Sequence numbers that do not wrap around (RFC 9293 section 3.4).

Everywhere else a sequence number is *absolute*: a plain integer that never wraps and equals the
32-bit number modulo 2**32, so that ordinary comparison, addition and subtraction are right. Where a packet is
written it is cut to its 32 bits again.
"""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = -1 << 61
"""In the place of an absolute number that is not known: lower than any. A number that may be None takes 32 bytes
more."""


def unwrap(number: int, near: int) -> int:
    """The absolute number nearest to ``near`` whose low 32 bits are those of ``number``."""
    return near + ((number - near + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000
