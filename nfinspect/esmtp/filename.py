"""Filenames in MIME header fields (docs/appliance.md, section 10).

Lenient on purpose: whatever some mail reader would take for a filename is one, however malformed the
field: stray blanks, missing quotes and semicolons, unterminated quotes, comments anywhere. Of several
readings the longest counts for its length, and all of them for an expression. Sources: RFC 2183 and
RFC 2045 for the parameters, RFC 2231 for continuations and percent-encoding, RFC 2047 for encoded
words, which are not allowed in filenames but are common there.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from nfinspect.esmtp.field import LINE_BREAK, without_comments

# Possessive where two runs of blanks meet; otherwise a field of blanks would take quadratic time.
_PARAMETER: Final = re.compile(
    rb"""
      (?<![A-Za-z0-9_-]) (?P<file>file)?name [ \t]*+
      (?: \* [ \t]*+ (?P<section>[0-9]++) [ \t]*+ )? (?P<extended>\*)? [ \t]*+ = [ \t]*+
      (?: (?P<quote>") (?P<quoted>(?:[^"\\]|\\.)*+) "? (?P<after>[^;]*+) | (?P<plain>[^;]*+) )
    | " (?:[^"\\]|\\.)*+ "?     # a quoted string of something else
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_PERCENT: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_ENCODED_WORD: Final = re.compile(rb"=\?([^?]*)\?([BbQq])\?([^?]*)\?=")
_BETWEEN_WORDS: Final = re.compile(rb"\?=[ \t\r\n]+=\?(?=[^?]*\?[BbQq]\?[^?]*\?=)")
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]")
_QUOTED_PRINTABLE: Final = re.compile(rb"=([0-9A-Fa-f]{2})")

WIDE: Final = {
    charset: charset.decode()
    for charset in (
        *(b"utf-7", b"utf-16", b"utf-16le", b"utf-16be"),
        *(b"utf-32", b"utf-32le", b"utf-32be"),
    )
}
"""Charsets in which a name does not show the bytes of its ASCII letters, by what Python calls them."""


def filename_length(field: bytes) -> int:
    """Bytes of the longest filename in a Content-Disposition or Content-Type field, after
    unfolding, joining and decoding; 0 if there is none.

    ``field`` is the field as it is in the stream, with line breaks and stuffed dots.
    """
    return max([len(name) for _, name in _readings(field)], default=0)


def filenames(field: bytes) -> list[bytes]:
    """All readings of the filenames in such a field, unfolded, joined and decoded, in the bytes of
    their charset."""
    return list(dict.fromkeys([name for _, name in _readings(field)]))


def readable_filenames(field: bytes) -> list[bytes]:
    """The same, and in UTF-8 those whose charset hides ASCII letters."""
    readings = _readings(field)
    names = [name for _, name in readings]
    for charset, name in readings:
        known = WIDE.get(charset)
        if known is not None:
            names.append(_in_utf8(name, known))
    return list(dict.fromkeys(names))


def filename_shown(field: bytes) -> bytes:
    """The beginning of a field's filename as it is in the stream, to show it; empty if there is
    none to be found."""
    found = [
        (each["quoted"] or each["plain"] or b"").strip()
        for each in _PARAMETER.finditer(LINE_BREAK.sub(b"", field))
    ]
    return max(found, key=len, default=b"")


def _readings(field: bytes) -> list[tuple[bytes, bytes]]:
    """Charset, in small letters, and bytes of each reading."""
    lower = field.lower()
    encoded = b"=?" in lower
    if b"name" not in lower and not encoded:
        return []
    value = LINE_BREAK.sub(b"", field)
    readings = _names(value, strict=True)
    if b'"' in value or b"(" in value:
        readings += _names(without_comments(value), strict=False)
    if encoded:
        readings += _names(_decoded_words(value), strict=True)
    return readings


def _names(value: bytes, strict: bool) -> list[tuple[bytes, bytes]]:
    """The filenames in a field; ``strict``: a quoted one ends at its closing quote."""
    names: list[tuple[bytes, bytes]] = []
    sections: list[tuple[bool, int, bytes, bytes]] = []
    charset = b""
    for found in _PARAMETER.finditer(value):
        if found["quote"] is not None:
            text = _ESCAPED.sub(rb"\1", found["quoted"])
            if not strict:
                text += found["after"].strip()
        elif found["plain"] is not None:
            text = found["plain"].strip()
        else:
            continue
        section = found["section"]
        digits = b"" if section is None else section.lstrip(b"0")
        said = b""
        if found["extended"] is not None:
            said, text = _percent_decoded(text, first=not digits)
        else:
            if b"=?" in text:
                word = _ENCODED_WORD.search(text)
                said = b"" if word is None else word[1].partition(b"*")[0].lower()
            text = _decoded_words(text)
        if section is None:
            names.append((said, text))
        else:
            charset = charset or said
            sections.append((found["file"] is not None, len(digits), digits, text))
    if sections:
        # Some mail readers take sections in the order of their numbers, some as they come.
        names.append((charset, b"".join([text for _, _, _, text in sections])))
        for wanted in (False, True):
            own = sorted([each for each in sections if each[0] is wanted])
            if own:
                names.append((charset, b"".join([text for _, _, _, text in own])))
    return names


def _percent_decoded(text: bytes, first: bool) -> tuple[bytes, bytes]:
    """Charset and decoded bytes of an RFC 2231 value; the first section begins with charset and
    language."""
    charset = b""
    if first and text.count(b"'") >= 2:
        charset, _, text = text.split(b"'", 2)
    if b"%" in text:
        text = _PERCENT.sub(lambda found: bytes([int(found[1], 16)]), text)
    return charset.lower(), text


def _decoded_words(text: bytes) -> bytes:
    """The text with its encoded words (RFC 2047) decoded, and blanks between two of them
    removed."""
    if b"=?" not in text:
        return text
    return _ENCODED_WORD.sub(_decoded_word, _BETWEEN_WORDS.sub(b"?==?", text))


def _decoded_word(word: re.Match[bytes]) -> bytes:
    _, encoding, text = word.groups()
    if encoding in b"Qq":
        text = text.replace(b"_", b" ")
        return _QUOTED_PRINTABLE.sub(lambda found: bytes([int(found[1], 16)]), text)
    digits = _NOT_BASE64.sub(b"", text)
    digits = digits[: len(digits) - (len(digits) % 4 == 1)]
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))


def _in_utf8(name: bytes, charset: str) -> bytes:
    return name.decode(charset, "replace").encode("utf-8", "replace")
