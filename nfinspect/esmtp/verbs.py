"""The verbs that pass, and what is special about each (docs/appliance.md, section 1).

A verb without a row here is not supported, and its line is overwritten with X. ``Request``
classifies what the client sent by what its reply can change; ``dialogue.py`` has the changes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final


class Request(enum.IntEnum):
    """What a reply answers."""

    GREETING = 0
    """The connection itself: the server speaks first."""
    COMMAND = 1
    """Any command whose reply changes nothing."""
    HELO = 2
    EHLO = 3
    MAIL = 4
    """MAIL, SAML, SEND or SOML that begins a mail transaction."""
    NESTED_MAIL = 5
    """The same while a transaction seems to be open."""
    RSET = 6
    DATA = 7
    MESSAGE = 8
    """The end of the message data."""
    AUTH = 9
    """AUTH, and each client line of the exchange that follows."""
    STARTTLS = 10
    MASKED = 11
    """A line that reaches the server as X, or is too short to be a command."""
    BDAT = 12
    """A masked BDAT that announced a chunk."""
    EMPTY = 13
    """An empty line."""
    ABANDONED = 14
    """Nothing: the server has left DATA, an AUTH exchange or STARTTLS by itself."""
    RECIPIENT = 15
    """RCPT."""


MAIL: Final = Request.MAIL
RSET: Final = Request.RSET
DATA: Final = Request.DATA


@dataclass(frozen=True, slots=True)
class Verb:
    """A row of the table. The flags are about the verb's argument."""

    word: bytes
    request: Request = Request.COMMAND
    address: bool = False
    """It holds a mail address, so its angle brackets must come in pairs."""
    sender: bool = False
    """The address is the sender's; the command begins a mail transaction."""
    recipient: bool = False
    """The address is a recipient's."""
    pipe: bool = False
    """A pipe in it is an attack."""
    response: bool = False
    """Not a command, but a client line in an AUTH exchange (RFC 4954 section 4)."""


def _by_word(*verbs: Verb) -> dict[bytes, Verb]:
    return {verb.word: verb for verb in verbs}


OF_RFC_821: Final[dict[bytes, Verb]] = _by_word(
    Verb(b"DATA", Request.DATA),
    Verb(b"HELO", Request.HELO),
    Verb(b"MAIL", Request.MAIL, address=True, sender=True, pipe=True),
    Verb(b"NOOP"),
    Verb(b"QUIT"),
    Verb(b"RCPT", Request.RECIPIENT, address=True, recipient=True, pipe=True),
    Verb(b"RSET", Request.RSET),
)
"""The appliance's seven of RFC 821, all in RFC 5321 too: those of ``fixup protocol smtp``."""

PERMITTED: Final[dict[bytes, Verb]] = OF_RFC_821 | _by_word(
    # Its eight of ESMTP (RFC 4954, RFC 5321, RFC 1985, RFC 821).
    Verb(b"AUTH", Request.AUTH),
    Verb(b"EHLO", Request.EHLO),
    Verb(b"ETRN"),
    Verb(b"HELP"),
    Verb(b"SAML", Request.MAIL, address=True, sender=True),
    Verb(b"SEND", Request.MAIL, address=True, sender=True),
    Verb(b"SOML", Request.MAIL, address=True, sender=True),
    Verb(b"VRFY"),
)

STARTTLS: Final = Verb(b"STARTTLS", Request.STARTTLS)
"""Permitted if the map says ``allow-tls`` (RFC 3207)."""

AUTH_RESPONSE: Final = Verb(b"", Request.AUTH, response=True)

PERMITTED_WITH_TLS: Final = PERMITTED | {STARTTLS.word: STARTTLS}


OTHER_VERBS: Final = (
    # Of other RFCs (821, 2033, 2645, 3030, 4468), of Postfix, and of Exchange.
    b"EXPN",
    b"TURN",
    b"LHLO",
    b"ATRN",
    b"BDAT",
    b"BURL",
    b"XCLIENT",
    b"XFORWARD",
    b"X-ANONYMOUSTLS",
    b"X-EXPS",
    b"X-LINK2STATE",
    b"XAUTH",
    b"XEXCH50",
    b"XPROXY",
    b"XPROXYFROM",
    b"XPROXYTO",
)
"""Verbs that never pass, but tell a command from other text."""


def prefixes(words: dict[bytes, Verb]) -> frozenset[bytes]:
    """All prefixes of the words, including the empty string and the words themselves."""
    return frozenset(word[:length] for word in words for length in range(len(word) + 1))
