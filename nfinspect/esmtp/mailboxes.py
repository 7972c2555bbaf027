"""Counts the addresses in an address field (RFC 5322 section 3.4).

What stands between commas and semicolons is one address if there is anything but blanks and comments.
Commas in quotes, in comments and between ``<`` and ``>`` (a route) separate nothing.
"""

from __future__ import annotations

import re
from typing import Final

from nfinspect.esmtp.field import LINE_BREAK, without_comments

_TOKEN: Final = re.compile(
    rb'(?P<quoted>"(?:[^"\\]|\\.)*+"?)|(?P<angle><[^<>"]*+>?)|(?P<separator>[,;])|[^\s",;<]++',
    re.DOTALL,
)


def addresses(field: bytes) -> int:
    """How many addresses a field has; 1 if none, as the field itself counts."""
    value = without_comments(LINE_BREAK.sub(b"", field[field.find(b":") + 1 :]))
    count = 0
    begun = False
    for token in _TOKEN.finditer(value):
        if token.lastgroup == "separator":
            begun = False
        elif not begun:
            begun = True
            count += 1
    return max(count, 1)
