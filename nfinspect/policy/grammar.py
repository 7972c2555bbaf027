"""What a command family declares: the lines it reads, and what they do.

A family is one module in `commands`: it holds its rows, what it collects from them (its draft), and
how that is resolved. To support another command, add a row to its family, and the new arguments to
the family's `ARGUMENTS`. `syntax` describes the notation. docs/configuration.md explains the
commands to users; a test keeps the two in step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from nfinspect.policy.errors import Finding
from nfinspect.policy.lexer import Word
from nfinspect.policy.syntax import Argument, Fragment, Statement, name, text

Part = TypeVar("Part")


class Draft:
    """What a text says, collected line by line.

    Each command family keeps its own part, a class of its module: ``draft[AccessLists]``. A part
    only records names; resolving it checks that what they name exists. Errors that show at once,
    such as a second definition, are collected in `findings`.
    """

    def __init__(self) -> None:
        self._parts: dict[type, Any] = {}
        self.findings: list[Finding] = []
        self.notices: list[Finding] = []
        """What is worth knowing about the text."""
        self.not_done: list[Finding] = []
        """Lines that change what happens to mail, and that nfinspect does not do."""
        self.first_word: Word | None = None
        """Of the text; None if it says nothing."""

    def __getitem__(self, part: type[Part]) -> Part:
        found = self._parts.get(part)
        if found is None:
            found = self._parts[part] = part()
        return found

    def error(self, word: Word, message: str, expected: tuple[str, ...] = ()) -> None:
        self.findings.append(word.finding(message, expected))

    def notice(self, word: Word, message: str, code: str, read: str) -> None:
        self.notices.append(advice(word, message, code, read))

    def leave_out(self, word: Word, reason: str) -> None:
        """Record that the line of *word* is not done."""
        self.not_done.append(word.finding(reason))


def advice(word: Word, message: str, code: str, read: str) -> Finding:
    """Return a finding with the name of an advice and the section to read about it."""
    return replace(word.finding(message), code=code, read=read)


Meaning = Callable[[Draft, Any, Statement[Any]], Any]
"""What a row does. It is given what its mode is about, and returns what the mode that it opens is
about."""


@dataclass(frozen=True, slots=True, eq=False)
class Mode:
    """A mode of the command line: the lines below a line that opens it."""

    name: str
    """In messages."""
    has_other_lines: bool = False
    """Lines below it that nobody knows are not about this filter: it has more commands than can be
    listed."""


class Row(NamedTuple):
    """One kind of line."""

    pattern: str
    meaning: Meaning
    opens: Mode | None = None


class Skipped(NamedTuple):
    """A mode that is none of this filter's business, so that the lines below are skipped.

    Indentation shows where it ends. In a text without indentation, a line that could begin a
    command outside of the mode ends it.
    """

    words: frozenset[str] = frozenset()
    """What begins a command outside as well, but is meant for this mode."""
    holds_certificates: bool = False
    """The lines below are certificates in hexadecimal, each with a line ``quit`` at its end."""


@dataclass(frozen=True, slots=True)
class Family:
    """The commands of one module."""

    rows: Mapping[Mode, Sequence[Row]]
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    fragments: Mapping[str, Fragment] = field(default_factory=dict)
    others: Mapping[Mode, Mapping[str, Skipped | None]] = field(default_factory=dict)
    """Commands that are not about this filter, by their first words; the skipped mode they open."""


GLOBAL = Mode("the configuration")


def nothing(draft: Draft, subject: Any, statement: Statement[Any]) -> None:
    """Do nothing: the line is accepted and has no effect."""


def not_done(reason: str) -> Meaning:
    """Return the meaning of a line that is understood but not done."""

    def meaning(draft: Draft, subject: Any, statement: Statement[Any]) -> Any:
        draft.leave_out(statement.word(), reason)
        return subject

    return meaning


ARGUMENTS = {
    # Ranges not stated in the appliance's guides are our choice (docs/configuration.md).
    "NAME": name(40),
    "WORD": name(300),
    "TEXT": text(200),
    "REST": text(1000),
}
"""Arguments that several families use."""
