r"""The appliance's regular expressions, for RE2 (docs/policy.md, "Regular expressions").

The appliance has ``.``, ``(…)``, ``|``, ``?``, ``*``, ``+``, ``{n}`` and ``{n,}`` (both at least n times), classes in
brackets, ``^``, a backslash before a metacharacter, ``\r \n \t \f \xNN \NNN`` [G]. RE2 has more, so each expression is
taken apart here and written anew: what the appliance would take for a letter stays one (``\d`` is the letter
d). ``$``, the end, and ``{n,m}`` are ours [U].

RE2 searches in time linear to what it searches, whatever the expression; what one may take of memory is
bounded by `MOST_MEMORY`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import re2  # type: ignore[import-untyped]

from nfinspect.policy.conditions import Expression

LONGEST: Final = 100
"""Characters of an expression [G]."""

MOST_MEMORY: Final = 1 << 20
"""Bytes that RE2 may take for an expression, its automata included. It builds these as it searches, and
without room for them searches slower."""

LARGEST: Final = 4096
"""Instructions of RE2 that an expression may become. For each byte it looks at no more of them, even
without room for automata."""

MOST_REPETITIONS: Final = 1000
"""RE2's bound for ``{n}``."""

_CLASSES: Final = "bBdDsSwWAzZpPQECKGXR"
"""Letters that mean more than themselves behind a backslash in other languages."""


class ExpressionError(Exception):
    """What is wrong with an expression, and where."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        """In the expression, from 0."""


@dataclass(slots=True)
class Rewritten:
    """An expression in RE2's language."""

    re2: str
    notes: list[tuple[int, str]] = field(default_factory=list)
    """What is read otherwise than in other languages, by position."""


def translate(pattern: str) -> Rewritten:
    """Return *pattern* in RE2's language. Raises ExpressionError if it is none, or one that RE2 cannot
    take."""
    if len(pattern) > LONGEST:
        raise ExpressionError(f"the expression is longer than {LONGEST} characters", LONGEST)
    for position, character in enumerate(pattern):
        if not " " <= character <= "~":
            raise ExpressionError(
                "an expression is of printable ASCII characters; another byte is \\xNN", position
            )
    translator = _Translator(pattern)
    translator.read()
    translated = Rewritten("".join(translator.parts), translator.notes)
    found = _compile(translated.re2)
    if found.programsize > LARGEST:
        raise ExpressionError(
            f"the expression is too large: {found.programsize} instructions of RE2, and at most"
            f" {LARGEST} are taken",
            0,
        )
    if found.search(b"") is not None:
        translated.notes.append((0, "it matches whatever it is given, for it matches nothing, too"))
    return translated


def compiled(expression: Expression) -> Any:
    """Return the expression as RE2's object; ``search`` of bytes is None, or a match."""
    return _compile(expression.re2)


def options(memory: int = MOST_MEMORY) -> Any:
    """Return the options with which every expression is compiled, alone or in a set of RE2's; *memory*
    is what it may take, in bytes."""
    chosen = re2.Options()
    chosen.encoding = re2.Options.Encoding.LATIN1
    chosen.dot_nl = True
    chosen.never_capture = True
    chosen.log_errors = False
    chosen.max_mem = memory
    return chosen


def _compile(text: str) -> Any:
    try:
        return re2.compile(text.encode("latin-1"), options())
    except re2.error as error:
        reason = error.args[0] if error.args else b""
        words = reason.decode("latin-1") if isinstance(reason, bytes) else str(reason)
        raise ExpressionError(f"RE2 cannot take it: {words}", 0) from None


class _Translator:
    """The state of reading one expression."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.parts: list[str] = []
        self.notes: list[tuple[int, str]] = []
        self.groups: list[int] = []
        """Where the open parentheses stand."""
        self.repeatable = False
        """The latest part may be repeated."""
        self.repeated = False
        """It is repeated already."""

    def read(self) -> None:
        """Read the whole expression."""
        if not self.pattern:
            raise ExpressionError("the expression is empty", 0)
        while self.at < len(self.pattern):
            self._part()
        if self.groups:
            raise ExpressionError("this ( has no )", self.groups[-1])

    def _part(self) -> None:
        character = self.pattern[self.at]
        begin = self.at
        self.at += 1
        if character in "*+?":
            self._repeat(begin, character)
        elif character == "{":
            self._repeat(begin, self._count(begin))
        elif character == "(":
            self.groups.append(begin)
            self._add("(?:", repeatable=False)
        elif character == ")":
            if not self.groups:
                raise ExpressionError("this ) has no (", begin)
            self.groups.pop()
            self._add(")")
        elif character in "|^":
            self._add(character, repeatable=False)
        elif character == "$":
            self._add("\\z", repeatable=False)
        elif character == ".":
            self._add(".")
        elif character == "[":
            self._add(self._class(begin))
        elif character == "\\":
            self._add(_written(self._escaped(begin)))
        else:
            self._add(_written(ord(character)))

    def _add(self, part: str, *, repeatable: bool = True) -> None:
        self.parts.append(part)
        self.repeatable, self.repeated = repeatable, False

    def _repeat(self, begin: int, how: str) -> None:
        if not self.repeatable:
            raise ExpressionError(f"there is nothing before this {self.pattern[begin]}", begin)
        if self.repeated:
            raise ExpressionError("what stands before it is repeated already", begin)
        self.parts.append(how)
        self.repeated = True

    def _count(self, begin: int) -> str:
        end = self.pattern.find("}", begin)
        if end < 0:
            raise ExpressionError("this { has no }; the character itself is \\{", begin)
        least, comma, most = self.pattern[begin + 1 : end].partition(",")
        numbers = [least, most] if most else [least]
        if not all(number.isdigit() for number in numbers):
            raise ExpressionError("not {n}, {n,} or {n,m}; the character itself is \\{", begin)
        if any(int(number) > MOST_REPETITIONS for number in numbers):
            raise ExpressionError(f"more than {MOST_REPETITIONS} repetitions", begin)
        if most and int(most) < int(least):
            raise ExpressionError("the second number is lower than the first", begin)
        self.at = end + 1
        if not comma:
            note = f"{{{least}}} is at least {least} times, as on the appliance"
            self.notes.append((begin, f"{note}; {{{least},{least}}} is exactly so often"))
        return f"{{{least},{most}}}"

    def _escaped(self, begin: int) -> int:
        """Read what stands behind a backslash, and return the byte that it means."""
        rest = self.pattern[self.at : self.at + 3]
        if not rest:
            raise ExpressionError("a backslash, and nothing behind it", begin)
        letter = rest[0]
        if letter == "x":
            if len(rest) < 3 or not all(c in "0123456789abcdefABCDEF" for c in rest[1:]):
                raise ExpressionError("\\x and not two hexadecimal digits", begin)
            self.at += 3
            return int(rest[1:], 16)
        if letter.isdigit():
            if len(rest) < 3 or not all(c in "01234567" for c in rest) or int(rest, 8) > 255:
                raise ExpressionError("an octal number is \\000 to \\377", begin)
            self.at += 3
            return int(rest, 8)
        self.at += 1
        if letter in "rntf":
            return {"r": 13, "n": 10, "t": 9, "f": 12}[letter]
        if letter in _CLASSES:
            self.notes.append((begin, f"\\{letter} is the letter {letter}, as on the appliance"))
        return ord(letter)

    def _class(self, begin: int) -> str:
        """Read a class, its bracket excluded, and return all of it."""
        parts = ["["]
        if self.pattern.startswith("^", self.at):
            parts.append("^")
            self.at += 1
        first = True
        while True:
            if self.at >= len(self.pattern):
                raise ExpressionError("this [ has no ]", begin)
            if self.pattern[self.at] == "]" and not first:
                self.at += 1
                return "".join((*parts, "]"))
            first = False
            place = self.at
            low = self._member()
            high = low
            if self._begins_range():
                self.at += 1
                high = self._member()
            if high < low:
                raise ExpressionError("a range that ends before it begins", place)
            parts.append(_written(low) if high == low else f"{_written(low)}-{_written(high)}")

    def _begins_range(self) -> bool:
        """Whether a dash follows that is neither the first nor the last of the class."""
        following = self.pattern[self.at : self.at + 2]
        return len(following) == 2 and following[0] == "-" and following[1] != "]"

    def _member(self) -> int:
        begin = self.at
        self.at += 1
        character = self.pattern[begin]
        return self._escaped(begin) if character == "\\" else ord(character)


def _written(byte: int) -> str:
    """A byte as RE2 reads it, in a class or outside."""
    character = chr(byte)
    return character if character.isascii() and character.isalnum() else f"\\x{byte:02x}"
