"""Measures filenames in MIME header fields (docs/appliance.md, section 10).

Lenient on purpose: what some reader of mail would take for a filename is measured, whatever is
wrong with the field: blanks, missing quotes and semicolons, quotes that never end, comments
anywhere. Of several readings the longest counts. Sources: RFC 2183 and RFC 2045 for the parameters,
RFC 2231 for continuations and percent-encoding, RFC 2047 for encoded words, which are not allowed
there and are used there by everybody.
"""

from __future__ import annotations

import binascii
import re

FIELD_NAME = rb"content-(disposition|type)[ \t]*"
_FIELD = re.compile(rb"\.?" + FIELD_NAME + rb"(?::|\Z)", re.IGNORECASE)
_LINE_BREAK = re.compile(rb"\r?\n\.?")
_MESSAGE_TYPE = re.compile(rb'[\s"]*message[\s"]*/', re.IGNORECASE)

_PARAMETER = re.compile(
    rb"""
      (?<![A-Za-z0-9_-]) (?:file)?name [ \t]*   # or a quoted string that is something else's
      (?: \* [ \t]* (?P<section>[0-9]+) [ \t]* )? (?P<extended>\*)? [ \t]* = [ \t]*
      (?: (?P<quote>") (?P<quoted>(?:[^"\\]|\\.)*) "? (?P<behind>[^;]*) | (?P<plain>[^;]*) )
    | " (?:[^"\\]|\\.)* "?
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
_ENCODED_WORD = re.compile(rb"=\?[^?]*\?([BbQq])\?([^?]*)\?=")
_BETWEEN_WORDS = re.compile(rb"\?=[ \t\r\n]+=\?(?=[^?]*\?[BbQq]\?[^?]*\?=)")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_QUOTED_PRINTABLE = re.compile(rb"=[0-9A-Fa-f]{2}")


def is_interesting(beginning: bytes | bytearray) -> bool:
    """Whether a line that begins so may hold a filename: its field name is whole."""
    return _FIELD.match(beginning) is not None


def content_type(field: bytes) -> bytes | None:
    """The value of a Content-Type field, unfolded and without comments; None of any other field."""
    found = _FIELD.match(field)
    if found is None or found[1].lower() != b"type":
        return None
    return without_comments(_LINE_BREAK.sub(b"", field[found.end() :]))


def is_message(value: bytes) -> bool:
    """Whether a content type is ``message/…``, in which a header follows the header."""
    return _MESSAGE_TYPE.match(value) is not None


def filename_length(field: bytes) -> int:
    """Bytes of the longest filename that a Content-Disposition or Content-Type field gives, after
    unfolding, joining and decoding; 0 if there is none.

    ``field`` is the field as it stands in the stream: with its line breaks, and dots stuffed.
    """
    if b"name" not in field.lower():
        return 0
    value = _LINE_BREAK.sub(b"", field)
    longest = _longest(value, quoted_only_between_quotes=True)
    if b"(" in value:
        longest = max(longest, _longest(without_comments(value), quoted_only_between_quotes=False))
    elif b'"' in value:
        longest = max(longest, _longest(value, quoted_only_between_quotes=False))
    return longest


def without_comments(value: bytes) -> bytes:
    """Comments (RFC 5322 section 3.2.2: nested, with escapes) become a blank; one that never ends
    stays."""
    if b"(" not in value:
        return value
    kept = bytearray()
    depth = begun = 0
    quoted = False
    position = 0
    while position < len(value):
        character = value[position]
        step = 2 if character == 92 else 1  # a backslash and what it escapes
        if depth:
            if character == 40:
                depth += 1
            elif character == 41:
                depth -= 1
                if not depth:
                    kept += b" "
        elif character == 40 and not quoted:
            depth, begun = 1, position
        else:
            quoted ^= character == 34
            kept += value[position : position + step]
        position += step
    if depth:
        kept += value[begun:]
    return bytes(kept)


def _longest(value: bytes, quoted_only_between_quotes: bool) -> int:
    longest = joined = 0
    for found in _PARAMETER.finditer(value):
        if found["plain"] is None and found["quote"] is None:
            continue
        if found["quote"] is not None:
            text = _ESCAPED.sub(rb"\1", found["quoted"])
            if not quoted_only_between_quotes:
                text += found["behind"].strip()
        else:
            text = found["plain"].strip()
        if found["extended"] is not None:
            length = _percent_decoded(text, first=found["section"] in (None, b"0"))
        else:
            length = _words_decoded(text)
        if found["section"] is not None:
            joined += length
        else:
            longest = max(longest, length)
    return max(longest, joined)


def _percent_decoded(text: bytes, first: bool) -> int:
    """Length of an RFC 2231 value; the first section begins with a charset and a language."""
    if first and text.count(b"'") >= 2:
        text = text.split(b"'", 2)[2]
    return len(text) - 2 * len(_PERCENT.findall(text))


def _words_decoded(text: bytes) -> int:
    """Length of a value in which RFC 2047's encoded words are decoded, and the blanks between two
    of them dropped."""
    if b"=?" not in text:
        return len(text)
    text = _BETWEEN_WORDS.sub(b"?==?", text)
    length = len(text)
    for found in _ENCODED_WORD.finditer(text):
        length += _decoded_length(found[1], found[2]) - len(found[0])
    return length


def _decoded_length(encoding: bytes, text: bytes) -> int:
    if encoding in b"Qq":
        return len(text) - 2 * len(_QUOTED_PRINTABLE.findall(text))
    digits = _NOT_BASE64.sub(b"", text)
    digits = digits[: len(digits) - (len(digits) % 4 == 1)]
    return len(binascii.a2b_base64(digits + b"=" * (-len(digits) % 4)))
