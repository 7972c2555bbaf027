"""Reads the value of one MIME header field (RFC 2045, RFC 5322 section 3.2.2).

A field comes as it is in the stream, with line breaks and stuffed dots. Lenient on purpose: stray
blanks, quotes and comments hide nothing.
"""

from __future__ import annotations

import re
from typing import Final

OTHERS: Final = b"others"
ENCODINGS: Final = frozenset({b"7bit", b"8bit", b"base64", b"binary", b"quoted-printable"})
"""Content-Transfer-Encodings (RFC 2045 section 6.1); everything else is ``others``."""

LINE_BREAK: Final = re.compile(rb"\r?\n\.?")
_COMMENT_OR_QUOTE: Final = re.compile(rb'[()"]|\\.', re.DOTALL)
_BLANK: Final = b' \t\r\n"'
_BLANKS: Final = re.compile(rb'[\s"]+')
_MESSAGE_TYPE: Final = re.compile(rb'[\s"]*message[\s"]*/', re.IGNORECASE)


def value_of(field: bytes) -> bytes:
    """A field's value, unfolded and without comments."""
    return without_comments(LINE_BREAK.sub(b"", field[field.find(b":") + 1 :]))


def is_message(value: bytes) -> bool:
    """Whether a content type is ``message/…``, whose body begins with another header."""
    return _MESSAGE_TYPE.match(value) is not None


def media_types(value: bytes) -> list[bytes]:
    """The type and subtype in the value of a Content-Type field, as written and in small letters,
    since case does not matter in them; nothing if there is none."""
    written = _BLANKS.sub(b"", value.partition(b";")[0])
    if not written:
        return []
    small = written.lower()
    return [written] if small == written else [written, small]


def encoding(value: bytes) -> bytes:
    """The configuration word for the value of a Content-Transfer-Encoding field."""
    words = value.partition(b";")[0].strip(_BLANK).split(None, 1)
    word = words[0].strip(_BLANK).lower() if words else b""
    return word if word in ENCODINGS else OTHERS


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
