"""Pseudonyms for what a report must not tell: mail and IP addresses, names, subjects, mail text.

Of every text all words are replaced that are not words of the protocol, so what is not known to be
harmless does not stay, and nothing depends on where a packet ends. A pseudonym has the length of its
word, and its letters and digits where the word has them; punctuation stays. The same word has the same
pseudonym, by a key that is new in each run and kept nowhere. The verdicts are those on the original.
"""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import fields, replace
from functools import lru_cache
from hashlib import shake_256
from socket import AF_INET, inet_ntop
from typing import Any

from nfinspect.esmtp.keywords import KEYWORDS
from nfinspect.esmtp.verbs import PERMITTED_WITH_TLS
from nfinspect.events import Connection, Endpoint, Event, Evidence, Mail, Translated
from nfinspect.lab.comparison import LinePair
from nfinspect.packet.edit import complete
from nfinspect.packet.segment import Segment, parse

KEPT = frozenset(
    {
        *PERMITTED_WITH_TLS,
        *KEYWORDS,
        *b"""BDAT LAST CHUNKING SMTPUTF8 XCLIENT XFORWARD XEXCH50 EXPN TURN FROM TO BODY RET ORCPT
        7BIT ENVID NOTIFY SUCCESS FAILURE DELAY NEVER FULL HDRS PLAIN LOGIN CRAM MD5 NTLM GSSAPI
        XOAUTH2 ESMTP SMTP OK BYE QUEUED AS READY GO AHEAD START END WITH CRLF CR LF
        """.split(),
    }
)
"""Words of the protocol, in capitals; they stay."""

CACHED = 65_536
"""Pseudonyms remembered; others are made again."""

_TOKEN = re.compile(
    rb"""
      (?P<code>^[0-9]{3}(?=[ \r\n-])(?:[ -][245]\.[0-9]{1,3}\.[0-9]{1,3}(?=[ \r\n]))?)
    | (?P<address>(?<![0-9.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9.]))
    | (?<=[*])[02]+ | [02]+(?=[*]) | X{3,}[A-Z]?(?![A-Za-z0-9\x80-\xff])
    | (?P<word>[A-Za-z0-9\x80-\xff]+)
    """,
    re.MULTILINE | re.VERBOSE,
)
"""A reply code, or what a firewall has masked, which stay; an IPv4 address; or a word or number."""
_LETTERS = {
    kind: bytes(characters, "ascii")
    for kind, characters in (
        ("upper", string.ascii_uppercase),
        ("lower", string.ascii_lowercase),
        ("digit", string.digits),
    )
}


class Redactor:
    """Makes the pseudonyms of one run."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._taken: dict[bytes, bytes] = {}
        """The originals of IPv4 pseudonyms."""
        self._word = lru_cache(CACHED)(self._make_word)
        self._addresses: dict[bytes, bytes] = {}

    def text(self, text: bytes) -> bytes:
        """The text, of the same length, without anything that is not of the protocol."""
        return _TOKEN.sub(self._replace, text)

    def address(self, address: bytes) -> bytes:
        """The pseudonym of an IP address of 4 or 16 bytes."""
        known = self._addresses.get(address)
        if known is None:
            if len(address) == 4:
                text = self._ipv4(inet_ntop(AF_INET, address).encode())
                known = bytes(map(int, text.split(b".")))
            else:  # in the range for documentation, RFC 3849
                known = b"\x20\x01\x0d\xb8" + self._digest(address, 12)
            self._addresses[address] = known
        return known

    def event(self, event: Event) -> Event:
        """The event with pseudonyms."""
        changed: dict[str, Any] = {}
        for field in fields(event):
            value = getattr(event, field.name)
            if isinstance(value, bytes):
                changed[field.name] = self.text(value)
            elif isinstance(value, Connection):
                changed[field.name] = self.connection(value)
            elif isinstance(value, Endpoint):
                changed[field.name] = self._end(value)
            elif isinstance(value, Translated):
                changed["scope"] = "static"  # its name is an address
                mapped = self.address(value.address) if value.address else b""
                changed[field.name] = replace(value, address=mapped)
            elif isinstance(value, Evidence) and value.what != "header field":
                changed[field.name] = replace(value, text=self.text(value.text))
            elif isinstance(value, Mail):
                changed[field.name] = Mail(
                    self.text(value.sender),
                    self.text(value.recipient),
                    value.recipients,
                    self.text(value.message_id),
                )
        return replace(event, **changed)

    def connection(self, connection: Connection) -> Connection:
        """The connection with pseudonyms for its addresses."""
        return Connection(
            connection.number, self._end(connection.client), self._end(connection.server)
        )

    def row(self, row: LinePair | str) -> LinePair | str:
        """The row of a dialogue with pseudonyms."""
        if isinstance(row, str):
            return row
        received = None if row.received is None else self.text(row.received)
        return replace(row, sent=self.text(row.sent), received=received)

    def datagram(self, datagram: bytes) -> bytes | None:
        """The datagram with pseudonyms, its checksums right; None if it is no TCP segment, and nobody
        knows what is in it."""
        segment = parse(datagram, len(datagram))
        if not isinstance(segment, Segment):
            return None
        head = bytearray(datagram[: segment.payload])
        start, size = (12, 4) if segment.version == 4 else (8, 16)
        for at in (start, start + size):
            head[at : at + size] = self.address(bytes(head[at : at + size]))
        return complete(segment, head, self.text(segment.payload_bytes))

    def _end(self, end: Endpoint) -> Endpoint:
        return Endpoint(end.interface, self.address(end.address), end.port)

    def _replace(self, found: re.Match[bytes]) -> bytes:
        if found["address"]:
            return self._ipv4(found["address"])
        word = found["word"]
        if word is None:
            return found[0]
        if word.upper() in KEPT or not word.strip(b"X"):
            return word
        return self._word(word)

    def _make_word(self, word: bytes) -> bytes:
        made = bytearray(word)
        for at, (byte, random) in enumerate(
            zip(word, self._digest(word.lower(), len(word)), strict=True)
        ):
            if byte in _LETTERS["digit"]:
                letters = _LETTERS["digit"]
            else:
                letters = _LETTERS["upper" if byte in _LETTERS["upper"] else "lower"]
            made[at] = letters[random % len(letters)]
        return bytes(made)

    def _ipv4(self, text: bytes) -> bytes:
        """A pseudonym whose octets have as many digits, and that no other address has."""
        for attempt in range(256):
            made = []
            digest = self._digest(text + bytes([attempt]), 8)
            for octet, random in zip(text.split(b"."), digest[::2], strict=True):
                low, high = {1: (0, 9), 2: (10, 99), 3: (100, 255)}[len(octet)]
                made.append(b"%d" % (low + random % (high - low + 1)))
            pseudonym = b".".join(made)
            if pseudonym != text and self._taken.setdefault(pseudonym, text) == text:
                break
        return pseudonym

    def _digest(self, data: bytes, size: int) -> bytes:
        return shake_256(self._key + data).digest(size)
