"""The only place that knows that sequence numbers wrap (RFC 9293 section 3.4).

Everywhere behind it a sequence number is an *absolute* number: a plain integer that grows without
end and equals the 32-bit number modulo 2**32. Absolute numbers compare, add and subtract plainly.
"""

from __future__ import annotations


def unwrap(number: int, near: int) -> int:
    """The absolute number nearest to ``near`` whose low 32 bits are those of ``number``."""
    return near + ((number - near + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000
