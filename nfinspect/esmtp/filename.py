"""Measures filenames in MIME header fields (docs/appliance.md, section 10).

Lenient on purpose: whatever some mail reader would take for a filename is measured, however
malformed the field: stray blanks, missing quotes and semicolons, unterminated quotes, comments
anywhere. Of several readings the longest counts. Sources: RFC 2183 and RFC 2045 for the parameters,
RFC 2231 for continuations and percent-encoding, RFC 2047 for encoded words, which are not allowed
in filenames but are common there.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

FIELD_NAME: Final = rb"content-(disposition|type)[ \t]*"
_FIELD: Final = re.compile(rb"\.?" + FIELD_NAME + rb"(?::|\Z)", re.IGNORECASE)
_LINE_BREAK: Final = re.compile(rb"\r?\n\.?")
_MESSAGE_TYPE: Final = re.compile(rb'[\s"]*message[\s"]*/', re.IGNORECASE)

# Possessive where two runs of blanks meet; otherwise a field of blanks would take quadratic time.
_PARAMETER: Final = re.compile(
    rb"""
      (?<![A-Za-z0-9_-]) (?:file)?name [ \t]*+
      (?: \* [ \t]*+ (?P<section>[0-9]++) [ \t]*+ )? (?P<extended>\*)? [ \t]*+ = [ \t]*+
      (?: (?P<quote>") (?P<quoted>(?:[^"\\]|\\.)*+) "? (?P<after>[^;]*+) | (?P<plain>[^;]*+) )
    | " (?:[^"\\]|\\.)*+ "?     # a quoted string of something else
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_COMMENT_OR_QUOTE: Final = re.compile(rb'[()"]|\\.', re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_PERCENT: Final = re.compile(rb"%[0-9A-Fa-f]{2}")
_ENCODED_WORD: Final = re.compile(rb"=\?[^?]*\?([BbQq])\?([^?]*)\?=")
_BETWEEN_WORDS: Final = re.compile(rb"\?=[ \t\r\n]+=\?(?=[^?]*\?[BbQq]\?[^?]*\?=)")
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]")
_QUOTED_PRINTABLE: Final = re.compile(rb"=([0-9A-Fa-f]{2})")


def is_interesting(beginning: bytes | bytearray) -> bool:
    """Whether a line that begins like this is a field that may contain a filename."""
    return _FIELD.match(beginning) is not None


def content_type(field: bytes) -> bytes | None:
    """The value of a Content-Type field, unfolded and without comments; None for other fields."""
    found = _FIELD.match(field)
    if found is None or found[1].lower() != b"type":
        return None
    return without_comments(_LINE_BREAK.sub(b"", field[found.end() :]))


def is_message(value: bytes) -> bool:
    """Whether a content type is ``message/…``, whose body begins with another header."""
    return _MESSAGE_TYPE.match(value) is not None


def filename_length(field: bytes) -> int:
    """Bytes of the longest filename in a Content-Disposition or Content-Type field, after
    unfolding, joining and decoding; 0 if there is none.

    ``field`` is the field as it is in the stream, with line breaks and stuffed dots.
    """
    lower = field.lower()
    encoded = b"=?" in lower
    if b"name" not in lower and not encoded:
        return 0
    value = _LINE_BREAK.sub(b"", field)
    longest = _longest(value, strict=True)
    if b'"' in value or b"(" in value:
        longest = max(longest, _longest(without_comments(value), strict=False))
    if encoded:
        longest = max(longest, _longest(_decoded_words(value), strict=True))
    return longest


def filename_shown(field: bytes) -> bytes:
    """The beginning of a field's filename as it is in the stream, to show it; empty if there is
    none to be found."""
    found = [
        (each["quoted"] or each["plain"] or b"").strip()
        for each in _PARAMETER.finditer(_LINE_BREAK.sub(b"", field))
    ]
    return max(found, key=len, default=b"")


def without_comments(value: bytes) -> bytes:
    """The value with each comment (RFC 5322 section 3.2.2: nested, with escapes) replaced by a
    blank; an unterminated one stays."""
    if b"(" not in value:
        return value
    kept = []
    depth = resumed = begun = 0
    quoted = False
    for found in _COMMENT_OR_QUOTE.finditer(value):
        special = found[0]
        if special == b'"':
            quoted ^= not depth
        elif quoted:
            continue
        elif special == b"(":
            if not depth:
                begun = found.start()
            depth += 1
        elif special == b")" and depth:
            depth -= 1
            if not depth:
                kept += [value[resumed:begun], b" "]
                resumed = found.end()
    kept.append(value[resumed:])
    return b"".join(kept)


def _longest(value: bytes, strict: bool) -> int:
    """Length of the longest filename in a field; ``strict``: a quoted one ends at its closing
    quote."""
    longest = joined = 0
    for found in _PARAMETER.finditer(value):
        if found["quote"] is not None:
            text = _ESCAPED.sub(rb"\1", found["quoted"])
            if not strict:
                text += found["after"].strip()
        elif found["plain"] is not None:
            text = found["plain"].strip()
        else:
            continue
        if found["extended"] is not None:
            length = _percent_decoded_length(text, first=found["section"] in (None, b"0"))
        else:
            length = len(_decoded_words(text))
        if found["section"] is not None:
            joined += length
        else:
            longest = max(longest, length)
    return max(longest, joined)


def _percent_decoded_length(text: bytes, first: bool) -> int:
    """Decoded length of an RFC 2231 value; the first section begins with charset and language."""
    if first and text.count(b"'") >= 2:
        text = text.split(b"'", 2)[2]
    return len(text) - 2 * len(_PERCENT.findall(text))


def _decoded_words(text: bytes) -> bytes:
    """The text with its encoded words (RFC 2047) decoded, and blanks between two of them
    removed."""
    if b"=?" not in text:
        return text
    return _ENCODED_WORD.sub(_decoded_word, _BETWEEN_WORDS.sub(b"?==?", text))


def _decoded_word(word: re.Match[bytes]) -> bytes:
    encoding, text = word.groups()
    if encoding in b"Qq":
        text = text.replace(b"_", b" ")
        return _QUOTED_PRINTABLE.sub(lambda found: bytes([int(found[1], 16)]), text)
    digits = _NOT_BASE64.sub(b"", text)
    digits = digits[: len(digits) - (len(digits) % 4 == 1)]
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))
