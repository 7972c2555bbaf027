"""The commands: which verbs pass, and what is special about each (docs/appliance.md, section 1).

A verb that has no row here is not supported and its line is overwritten with X. ``Asked`` is what
a line of the client asks of the server, in the eyes of the one who waits for the reply; what the
reply then does is the matter of ``dialogue.py``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Asked(enum.IntEnum):
    """What a reply answers."""

    GREETING = 0
    """Nothing yet: the server speaks first."""
    COMMAND = 1
    """Any command whose reply changes nothing here."""
    HELO = 2
    EHLO = 3
    MAIL = 4
    """MAIL, SAML, SEND or SOML that begins a mail transaction."""
    NESTED_MAIL = 5
    """The same inside of a transaction, as far as one can tell."""
    RSET = 6
    DATA = 7
    MESSAGE = 8
    """The end of the message's data."""
    AUTH = 9
    """AUTH, and each line of the client in the exchange that follows."""
    STARTTLS = 10
    MASKED = 11
    """A line that reaches the server as X, or too short to be a command."""
    BDAT = 12
    """A masked BDAT that announced a chunk."""
    EMPTY = 13


MAIL, RSET = Asked.MAIL, Asked.RSET


@dataclass(frozen=True, slots=True)
class Verb:
    """A row of the table."""

    word: bytes
    asked: Asked = Asked.COMMAND
    address: bool = False
    """Its argument holds a mail address, so angle brackets in it come in pairs."""
    sender: bool = False
    """That address is the sender's, and begins a mail transaction."""
    recipient: bool = False
    pipe: bool = False
    """A pipe in its argument is an attack."""
    response: bool = False
    """Not a command, but a line of the client in an AUTH exchange (RFC 4954 section 4)."""


PERMITTED: dict[bytes, Verb] = {
    verb.word: verb
    for verb in (
        # RFC 821 as the appliance has it, and RFC 5321.
        Verb(b"DATA", Asked.DATA),
        Verb(b"HELO", Asked.HELO),
        Verb(b"MAIL", Asked.MAIL, address=True, sender=True, pipe=True),
        Verb(b"NOOP"),
        Verb(b"QUIT"),
        Verb(b"RCPT", address=True, recipient=True, pipe=True),
        Verb(b"RSET", Asked.RSET),
        # The eight of ESMTP (RFC 4954, RFC 5321, RFC 1985, RFC 821).
        Verb(b"AUTH", Asked.AUTH),
        Verb(b"EHLO", Asked.EHLO),
        Verb(b"ETRN"),
        Verb(b"HELP"),
        Verb(b"SAML", Asked.MAIL, address=True, sender=True),
        Verb(b"SEND", Asked.MAIL, address=True, sender=True),
        Verb(b"SOML", Asked.MAIL, address=True, sender=True),
        Verb(b"VRFY"),
    )
}

STARTTLS = Verb(b"STARTTLS", Asked.STARTTLS)
"""Permitted where the map says ``allow-tls`` (RFC 3207)."""

AUTH_RESPONSE = Verb(b"", Asked.AUTH, response=True)

PERMITTED_WITH_TLS = PERMITTED | {STARTTLS.word: STARTTLS}


def prefixes(words: dict[bytes, Verb]) -> frozenset[bytes]:
    """What can still become one of the words, the empty string and the words themselves included."""
    return frozenset(word[:length] for word in words for length in range(len(word) + 1))


PREFIXES = prefixes(PERMITTED)
PREFIXES_WITH_TLS = prefixes(PERMITTED_WITH_TLS)
