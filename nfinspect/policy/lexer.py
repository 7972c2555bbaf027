"""Configuration text to lines and words.

A line ends at LF or CR LF. Words are separated by blanks and tabs. A line whose first other
character is ``!`` or ``:`` is a comment. A leading byte order mark is skipped. A statement may
contain printable characters only, so a NUL, or a no-break space from a web page, does not go
unnoticed.

What a terminal adds to a listing is taken away: the pager's ``<--- More --->``, prompts
(``fw(config)# access-list …``; a line with a ``show`` or the like behind its prompt is none of the
configuration), and the breaks of lines that an old appliance wraps after 80 columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from nfinspect.policy.errors import ConfigurationError, Finding

COMMENT = ("!", ":")

LONGEST_LINE = 1000
"""Characters in a statement."""

TERMINAL_WIDTH = 80
"""Columns after which PIX 6 and older wrap a line, in the middle of a word."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_WORD = re.compile(r"\([^()\t]*\)|[^ \t]+")
"""An interface pair is one word even if it is written with a blank: ``(inside, outside)``."""

_PAGER = re.compile(r"<--- More --->(?:\r *\r|\x08+ *\x08+| {14})?")
_PROMPT = re.compile(r"[\w.\-/]{1,64}(?:\([\w\-]{1,64}\))?[#>]")
_ANYWHERE = frozenset("show sh write wr more copy ping reload configure conf".split())
"""First words of what may be typed at any prompt that is not configuration."""
_CONSOLE = _ANYWHERE | frozenset(
    "enable en end terminal term pager changeto quit logout exit clear".split()
)
"""The same for a prompt outside of the configuration mode."""


@dataclass(slots=True)
class Line:
    """A statement, with what messages about it need."""

    file: str
    number: int
    """Of the text's line that it begins in, from 1."""
    text: str
    """That line, without its ending."""
    start: int = 0
    """Where the statement begins in it, behind a prompt."""
    wrapped: tuple[tuple[int, str], ...] = ()
    """The numbers and texts of the lines that continue it."""
    words: list[str] = field(default_factory=list)

    @property
    def statement(self) -> str:
        """The whole statement, indentation included."""
        return self.text[self.start :] + "".join(text for _, text in self.wrapped)

    @property
    def indentation(self) -> int:
        """Blanks or tabs before the statement."""
        text = self.text[self.start :]
        return len(text) - len(text.lstrip(" \t"))

    @property
    def end(self) -> int:
        """The column behind the last word."""
        return self.start + len(self.statement.rstrip(" \t")) + 1

    def word(self, position: int) -> Word:
        """Return the word at *position*, from 0, with its place."""
        for number, found in enumerate(_WORD.finditer(self.statement)):
            if number == position:
                return Word(found[0], self, self.start + found.start() + 1)
        raise IndexError(position)

    def rest(self, position: int) -> str:
        """Return the statement from the word at *position* on, as it is written."""
        begin = self.word(position).column - 1 - self.start
        return self.statement[begin:].rstrip(" \t")

    def finding(
        self, column: int, message: str, expected: tuple[str, ...] = (), suggestion: str = ""
    ) -> Finding:
        """An error or notice about the character at *column* (from 1, counted on through the lines
        that continue this one)."""
        number, text = self.number, self.text
        for next_number, next_text in self.wrapped:
            if column <= len(text):
                break
            column -= len(text)
            number, text = next_number, next_text
        return Finding(self.file, number, column, message, expected, suggestion, text)


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


def lines(
    text: str, file: str, is_command: Callable[[str], bool] = lambda first: False
) -> Iterator[Line]:
    """Yield the statements of *text*, leaving out blank lines and comments.

    *is_command* says whether a statement may begin with a word, in lower case: what follows a full
    line and cannot begin one continues it.
    """
    raw = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    wraps = max(map(len, raw)) == TERMINAL_WIDTH
    number = 0
    while number < len(raw):
        line = Line(file, number + 1, raw[number])
        number += 1
        if "<--- More --->" in line.text:
            # What is overprinted cannot be shown, so messages show the line without it.
            line.text = _PAGER.sub("", line.text)
        while wraps and len(raw[number - 1]) == TERMINAL_WIDTH and number < len(raw):
            if len(line.wrapped) * TERMINAL_WIDTH > LONGEST_LINE:
                break
            first = raw[number].split(maxsplit=1)[:1]
            if not first or first[0].startswith(COMMENT) or is_command(first[0].lower()):
                break
            line.wrapped += ((number + 1, raw[number]),)
            number += 1
        if read_words(line):
            yield line


def read_words(line: Line) -> bool:
    """Fill in the line's words; return whether it is a statement."""
    statement = line.statement
    line.words = _WORD.findall(statement) if "(" in statement else statement.split()
    if not line.words or line.words[0].startswith(COMMENT):
        return False
    first = line.words[0]
    if "#" in first or ">" in first:
        return _without_prompt(line)
    return True


def _without_prompt(line: Line) -> bool:
    """Begin the statement behind a prompt; return whether there is one."""
    stripped = line.text.lstrip(" \t")
    found = _PROMPT.match(stripped)
    if found is None or line.start:
        return True
    behind = len(line.text) - len(stripped) + found.end()
    typed = line.text[behind:].split(maxsplit=1)[:1]
    if not typed or typed[0].lower() in (_ANYWHERE if "(config" in found[0] else _CONSOLE):
        return False
    line.start = behind + line.text.startswith(" ", behind)
    return read_words(line)


def fault(line: Line) -> Finding | None:
    """Return what is wrong with *line* as text: its length, or a character."""
    statement = line.statement
    if len(statement) <= LONGEST_LINE and statement.isprintable():
        return None
    if len(statement) > LONGEST_LINE:
        message = f"the line is longer than {LONGEST_LINE} characters"
        return line.finding(line.start + LONGEST_LINE + 1, message)
    for column, character in enumerate(statement, line.start + 1):
        if not character.isprintable() and character != "\t":
            return line.finding(column, f"unexpected character U+{ord(character):04X}")
    return None
