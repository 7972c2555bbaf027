"""Reads a configuration text into a draft, line by line.

Modes nest as on the appliance, but by word and not by indentation, which listings do not agree
about: a line belongs to the innermost mode that knows it. ``exit`` leaves a mode. All faulty lines
are found, not only the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nfinspect.policy import lexer
from nfinspect.policy.draft import Draft
from nfinspect.policy.errors import MOST_ERRORS, ConfigurationError
from nfinspect.policy.grammar import GRAMMAR, SYNTAX, Mode, Row
from nfinspect.policy.lexer import Word
from nfinspect.policy.syntax import Mismatch, Statement, closest

OPENERS = {
    row.pattern.split()[0] for rows in GRAMMAR.values() for row in rows if row.enters is not None
}
"""First words of the lines that begin a mode."""


def read(text: str, file: str) -> Draft:
    """Return what *text* says; *file* is its name in messages.

    Raises ConfigurationError if a line is not understood or contradicts another.
    """
    reader = _Reader()
    for line in lexer.lines(text, file):
        if fault := lexer.unprintable(line):
            reader.draft.findings.append(fault)
        else:
            reader.line(lexer.words(line))
        if len(reader.draft.findings) > MOST_ERRORS:
            break
    if reader.draft.findings:
        raise ConfigurationError(reader.draft.findings)
    return reader.draft


@dataclass(slots=True)
class _Reader:
    draft: Draft = field(default_factory=Draft)
    modes: list[Mode] = field(default_factory=lambda: [Mode.GLOBAL])
    """The mode of the next line, last, and those around it."""
    astray: bool = False
    """The line that should have begun a mode was faulty: lines that may be meant for that mode
    are passed over instead of being called wrong."""

    def line(self, words: list[Word]) -> None:
        if [word.text.lower() for word in words] == ["exit"]:
            self.astray = False
            if len(self.modes) > 1:
                self.modes.pop()
            return
        mismatches: list[tuple[Mode, Mismatch]] = []
        for depth in range(len(self.modes), 0, -1):
            mode = self.modes[depth - 1]
            match SYNTAX[mode].match(words):
                case Statement() as statement:
                    self.modes[depth:] = []
                    self.understood(statement)
                    return
                case Mismatch() as mismatch:
                    mismatches.append((mode, mismatch))
        self.misunderstood(words[0], mismatches)

    def understood(self, statement: Statement[Row]) -> None:
        self.astray = False
        statement.meaning.meaning(self.draft, statement)
        if statement.meaning.enters is not None:
            self.modes.append(statement.meaning.enters)

    def misunderstood(self, first: Word, mismatches: list[tuple[Mode, Mismatch]]) -> None:
        _, farthest = max(mismatches, key=lambda pair: pair[1].depth)
        if farthest.depth > 0:
            self.draft.findings.append(farthest.finding)
            self.astray = self.astray or first.text.lower() in OPENERS
        elif not self.astray:
            known = [word for mode, _ in mismatches for word in SYNTAX[mode].first_words]
            expected = tuple(dict.fromkeys(known))
            suggestion = closest(first, expected)
            message = f"unexpected {first.quoted}"
            if not suggestion and (places := _places(first)):
                message += f", which belongs below {places}"
            self.draft.findings.append(first.finding(message, expected, suggestion))


def _places(first: Word) -> str:
    """Where a line that begins so could stand."""
    modes = [m.value for m in Mode if first.text.lower() in SYNTAX[m].first_words]
    return " or ".join(modes)
