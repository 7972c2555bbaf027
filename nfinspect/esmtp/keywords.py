"""EHLO keywords known to the appliance (docs/appliance.md, section 2; RFC 5321 section 4.1.1.1)."""

from __future__ import annotations

from typing import Final

OTHERS: Final = "others"
"""The configuration word for every keyword not in the table."""

KEYWORDS: Final[dict[bytes, str]] = {
    b"8BITMIME": "8bitmime",
    b"AUTH": "auth",
    b"BINARYMIME": "binaryname",
    b"CHECKPOINT": "checkpoint",
    b"DSN": "dsn",
    b"ENHANCEDSTATUSCODES": "ecode",
    b"ETRN": "etrn",
    b"PIPELINING": "pipelining",
    b"SIZE": "size",
    b"VRFY": "vrfy",
}
"""The keyword in the reply, and the configuration word for it."""

PIPELINING: Final = b"PIPELINING"
STARTTLS: Final = b"STARTTLS"
LONGEST: Final = max(map(len, KEYWORDS))
"""Any longer keyword is ``others``."""
