"""Configuration text to lines and words.

A line ends at LF or CR LF. Words are separated by blanks and tabs; indentation means nothing. A
line whose first other character is ``!`` or ``:`` is a comment. A leading byte order mark is
skipped. A statement may contain printable characters only, so a NUL, or a no-break space from a web
page, does not go unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nfinspect.policy.errors import ConfigurationError, Finding

COMMENT = ("!", ":")

LONGEST_LINE = 1000
"""Characters in a statement."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_WORD = re.compile(r"[^ \t]+")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the text, with what messages about it need."""

    file: str
    number: int
    """From 1."""
    text: str
    """Without the line ending."""

    def finding(
        self, column: int, message: str, expected: tuple[str, ...] = (), suggestion: str = ""
    ) -> Finding:
        """An error or notice about the character at *column* (from 1) of this line."""
        return Finding(self.file, self.number, column, message, expected, suggestion, self.text)


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its position."""

    text: str
    line: Line
    column: int
    """Column of its first character, from 1."""

    @property
    def quoted(self) -> str:
        """The word in quotes, for messages; a very long one is cropped."""
        return f"'{self.text}'" if len(self.text) <= 60 else f"'{self.text[:57]}...'"

    def finding(
        self, message: str, expected: tuple[str, ...] = (), suggestion: str = ""
    ) -> Finding:
        """An error or notice about this word."""
        return self.line.finding(self.column, message, expected, suggestion)


def decode(data: bytes, file: str) -> str:
    """Decode a configuration file: UTF-8, with or without a byte order mark.

    Raises ConfigurationError, with the position, for anything else.
    """
    if data.startswith(_UTF_16):
        message = "the file is UTF-16; save it as UTF-8"
        raise ConfigurationError([Finding(file, 1, 1, message)])
    data = data.removeprefix(_BYTE_ORDER_MARK)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        start = data.rfind(b"\n", 0, error.start) + 1
        text = data[start:].partition(b"\n")[0].rstrip(b"\r").decode(errors="replace")
        line = Line(file, data.count(b"\n", 0, start) + 1, text)
        column = len(data[start : error.start].decode()) + 1
        message = f"byte 0x{data[error.start]:02x} is not valid UTF-8"
        raise ConfigurationError([line.finding(column, message)]) from error


def lines(text: str, file: str) -> Iterator[Line]:
    """Yield the lines of *text* that are neither blank nor a comment."""
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = raw.removesuffix("\r")
        statement = line.strip(" \t")
        if statement and not statement.startswith(COMMENT):
            yield Line(file, number, line)


def words(line: Line) -> list[Word]:
    """Return the words of *line*."""
    return [Word(found[0], line, found.start() + 1) for found in _WORD.finditer(line.text)]


def fault(line: Line) -> Finding | None:
    """Return what is wrong with *line* as text: its length, or a character."""
    text = line.text.replace("\t", " ")
    if len(text) > LONGEST_LINE:
        message = f"the line is longer than {LONGEST_LINE} characters"
        return line.finding(LONGEST_LINE + 1, message)
    if text.isprintable():
        return None
    column, character = next((n, c) for n, c in enumerate(text, 1) if not c.isprintable())
    return line.finding(column, f"unexpected character U+{ord(character):04X}")
