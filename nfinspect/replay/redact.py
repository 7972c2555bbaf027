"""Pseudonyms for what a report must not tell: mail and IP addresses, names, subjects, mail text.

Of every text all words are replaced but those of the protocol in their places: the verb of a command and
the names of its parameters, a reply's code and the keywords of a reply to EHLO. The same words anywhere
else, in a subject or an address, are replaced like all others; so are all of a client's lines that are no
well-formed command, and of a message, whose place in the dialogue is known from the events (`MailText`). A
pseudonym has the length of its word, and its letters and digits where the word has them; punctuation
stays. The same word has the same pseudonym, by a key that is new in each run and kept nowhere. The verdicts
are those on the original.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Callable
from dataclasses import fields, replace
from functools import lru_cache
from hashlib import shake_256
from socket import AF_INET, inet_ntop
from typing import Any

from nfinspect import events
from nfinspect.esmtp.keywords import KEYWORDS
from nfinspect.events import Connection, Endpoint, Event, Evidence, Mail, Mapped, Translated
from nfinspect.lab.comparison import LinePair
from nfinspect.lab.conversation import REPLY
from nfinspect.packet.edit import complete
from nfinspect.packet.segment import Segment, parse

KEYWORDS_KEPT = frozenset(
    {
        *KEYWORDS,
        *b"""CHUNKING SMTPUTF8 STARTTLS XCLIENT XFORWARD XEXCH50 DELIVERBY FUTURERELEASE LIMITS EXPN HELP
        BURL REQUIRETLS X-EXPS X-LINK2STATE XOORG XPROXY X-ANONYMOUSTLS OK""".split(),
    }
)
"""Keywords of a reply to EHLO, in capitals; they stay at the beginning of a reply's line."""

MECHANISMS = frozenset(
    b"PLAIN LOGIN CRAM MD5 DIGEST SCRAM SHA 1 256 NTLM GSSAPI XOAUTH2 OAUTHBEARER EXTERNAL".split()
)
"""The words of names of AUTH mechanisms."""

PARAMETERS_KEPT = frozenset(
    b"""8BITMIME AUTH BINARYMIME BODY 7BIT BY DELAY ENVID FAILURE FULL HDRS HOLDFOR HOLDUNTIL NEVER NOTIFY
    ORCPT RET RFC822 SIZE SMTPUTF8 SUCCESS""".split()
)
"""The words of parameters of MAIL and RCPT."""

FIELDS_KEPT = frozenset(
    b"""ARC-Authentication-Results ARC-Message-Signature ARC-Seal Authentication-Results Autocrypt Bcc Cc
    Comments Content-Description Content-Disposition Content-ID Content-Language Content-Transfer-Encoding
    Content-Type DKIM-Signature Date Delivered-To From In-Reply-To Keywords List-Id List-Unsubscribe
    MIME-Version Message-ID Received Received-SPF References Reply-To Return-Path Sender Subject To
    User-Agent X-Mailer X-Originating-IP X-Received X-Spam-Status""".lower().split()
)
"""Names of header fields that stay in evidence, in small letters: those of the standards, and common
ones."""

CACHED = 65_536
"""Pseudonyms remembered; others are made again."""

_TOKEN = re.compile(
    rb"""
      (?P<address>(?<![0-9.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9.]))
    | X{3,}[A-Z]?(?![A-Za-z0-9\x80-\xff])
    | (?P<word>[A-Za-z0-9\x80-\xff]+)
    """,
    re.VERBOSE,
)
"""An IPv4 address; what a firewall has masked, which stays; a word or number."""
_LINES = re.compile(rb"[^\n]*\n|[^\n]+")
_CODE = re.compile(
    rb"[0-9]{3}(?:[ -][245]\.[0-9]{1,3}\.[0-9]{1,3}(?=[ \r\n]|\Z)|(?=[ \r\n-]|\Z))[ -]?"
)
_KEYWORD = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?=[ =\r\n]|\Z)")
_STARS = re.compile(rb"[20*]*\*[20*]*(?=\r?\n?\Z)")
_COMMAND = re.compile(
    rb"""
      (?P<alone>(?:DATA|QUIT|RSET|NOOP|HELP|STARTTLS|TURN|AUTH|EHLO|HELO)(?=[ \t]*\r?\n?\Z))
    | (?P<greets>(?:EHLO|HELO|LHLO|VRFY|EXPN|ETRN|NOOP|HELP|XCLIENT|XFORWARD)[ \t]+)
    | (?P<mail>(?:MAIL[ \t]+FROM|RCPT[ \t]+TO|(?:SAML|SEND|SOML)[ \t]+FROM)[ \t]*:)
    | (?P<auth>(?:AUTH|X-EXPS|XAUTH)[ \t=]+[A-Za-z0-9-]+(?=[\s=]|\Z))
    | (?P<chunk>(?:BDAT|XEXCH50)[ \t]+[0-9]+(?:[ \t]+(?:[0-9]+|LAST))?)
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""The part of a command line that stays."""
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
        """The text, of the same length, with no word of it left."""
        return _TOKEN.sub(self._replace, text)

    def request(self, lines: bytes, *, message: bool = False) -> bytes:
        """Lines of a client, of the same length, without anything that is not of the protocol.
        *message*: the first of them is of a message or a chunk."""
        if message and b"\n.\r\n" not in lines and not lines.startswith(b".\r\n"):
            return self.text(lines)
        made = []
        for line in _LINES.findall(lines):
            found = None if message else _COMMAND.match(line)
            if found is None:
                made.append(self.text(line))
                message = message and line != b".\r\n"
                continue
            kept, rest = found[0], line[found.end() :]
            if found["auth"]:
                at = max(kept.rfind(b" "), kept.rfind(b"\t"), kept.rfind(b"=")) + 1
                kept = kept[:at] + self._words(kept[at:], MECHANISMS)
            elif found["mail"]:
                at = rest.rfind(b">") + 1
                kept, rest = kept + self.text(rest[:at]), rest[at:]
                made.append(kept + self._words(rest, PARAMETERS_KEPT if at else frozenset()))
                continue
            made.append(kept + self.text(rest))
            # What follows in the same packet is a message or a chunk, if the client did not wait.
            message = bool(found["chunk"]) or kept.upper() == b"DATA"
        return b"".join(made)

    def reply(self, lines: bytes) -> bytes:
        """Lines of a server, of the same length, without anything that is not of the protocol."""
        return b"".join(map(self._reply_line, _LINES.findall(lines)))

    def _reply_line(self, line: bytes) -> bytes:
        code = _CODE.match(line)
        at = code.end() if code is not None else 0
        if _STARS.match(line, at):
            return line
        keyword = _KEYWORD.match(line, at)
        if keyword is not None and keyword[0].upper() in KEYWORDS_KEPT:
            at = keyword.end()
            return line[:at] + self._words(line[at:], MECHANISMS)
        return line[:at] + self.text(line[at:])

    def _words(self, text: bytes, kept: frozenset[bytes]) -> bytes:
        """The text with its words replaced, but for those that are *kept*."""
        return _TOKEN.sub(
            lambda found: found[0] if found[0].upper() in kept else self._replace(found), text
        )

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
                changed[field.name] = _PLACES.get(type(event), Redactor.text)(self, value)
            elif isinstance(value, tuple):
                changed[field.name] = tuple(map(self.reply, value))
            elif isinstance(value, Connection):
                changed[field.name] = self.connection(value)
            elif isinstance(value, Endpoint):
                changed[field.name] = self._end(value)
            elif isinstance(value, Mapped):
                changed[field.name] = replace(value, address=self.address(value.address))
            elif isinstance(value, Translated):
                changed["scope"] = "static"  # its name is an address
                mapped = self.address(value.address) if value.address else b""
                changed[field.name] = replace(value, address=mapped)
            elif isinstance(value, Evidence):
                changed[field.name] = replace(value, text=self._evidence(value))
            elif isinstance(value, Mail):
                changed[field.name] = replace(
                    value,
                    sender=self.request(value.sender),
                    recipient=self.request(value.recipient),
                    message_id=self.text(value.message_id),
                )
        return replace(event, **changed)

    def _evidence(self, evidence: Evidence) -> bytes:
        text = evidence.text
        if evidence.what == "command":
            return self.request(text)
        if evidence.what == "EHLO keyword":
            return self.reply(text)
        known = evidence.what == "header field" and text.lower() in FIELDS_KEPT
        return text if known else self.text(text)

    def connection(self, connection: Connection) -> Connection:
        """The connection with pseudonyms for its addresses."""
        client, server = self._end(connection.client), self._end(connection.server)
        return Connection(connection.number, client, server, connection.outbound)

    def row(self, row: LinePair | str, *, message: bool = False) -> LinePair | str:
        """The row of a dialogue with pseudonyms; *message*: it is of a message."""
        if isinstance(row, str):
            return row

        def shown(line: bytes) -> bytes:
            return (
                self.reply(line) if row.direction == REPLY else self.request(line, message=message)
            )

        received = None if row.received is None else shown(row.received)
        return replace(row, sent=shown(row.sent), received=received)

    def datagram(self, datagram: bytes, *, request: bool, message: bool = False) -> bytes | None:
        """The datagram with pseudonyms, its checksums right; None if it is no TCP segment, and nobody
        knows what is in it. *request*: it comes from the client; *message*: it begins, or may begin,
        inside a message."""
        segment = parse(datagram, len(datagram))
        if not isinstance(segment, Segment):
            return None
        head = bytearray(datagram[: segment.payload])
        start, size = (12, 4) if segment.version == 4 else (8, 16)
        for at in (start, start + size):
            head[at : at + size] = self.address(bytes(head[at : at + size]))
        payload = segment.payload_bytes
        made = self.request(payload, message=message) if request else self.reply(payload)
        return complete(segment, head, made)

    def _end(self, end: Endpoint) -> Endpoint:
        return Endpoint(end.interface, self.address(end.address), end.port)

    def _replace(self, found: re.Match[bytes]) -> bytes:
        if found["address"]:
            return self._ipv4(found["address"])
        word = found["word"]
        return found[0] if word is None else self._word(word)

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


_PLACES: dict[type, Callable[[Redactor, bytes], bytes]] = {
    events.CharacterReplaced: Redactor.request,
    events.CommandSeen: Redactor.request,
    events.LineUnended: Redactor.request,
    events.MailAnswered: Redactor.reply,
    events.ReplyAwaited: Redactor.request,
    events.ReplySeen: Redactor.reply,
    events.ServerAnomaly: Redactor.reply,
}
"""What the bytes in an event are; in any other they are text."""


class MailText:
    """Whether what a client sends is of a message, by the events of its connection."""

    __slots__ = ("_now", "_replies_seen", "was")

    def __init__(self) -> None:
        self.was = False
        """It was so at some time since `settle`."""
        self._now = False
        self._replies_seen = False

    def observe(self, event: Event) -> None:
        """Take note of *event*."""
        if isinstance(event, events.ReplySeen):
            self._replies_seen = True
            if event.line[3:4] != b"-":
                self._now = event.line.startswith(b"354")
        elif isinstance(event, events.CommandSeen):
            verb = event.line[:4].upper()
            self._now = verb == b"BDAT" or (verb == b"DATA" and not self._replies_seen)
        elif isinstance(event, events.MessageSeen):
            self._now = False
        elif isinstance(event, events.Uninspected):
            self._now = event.cause is not events.UninspectedCause.ONE_SIDED  # it may be
        self.was = self.was or self._now

    def settle(self) -> None:
        """A packet and what followed from it have been decided."""
        self.was = self._now
