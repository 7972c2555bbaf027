"""Reads a configuration text into a draft, line by line.

Modes nest as on the appliance, but by word and not by indentation, which listings do not agree
about: a line belongs to the innermost mode that knows it. ``exit`` leaves a mode. All faulty lines
are found, not only the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nfinspect.policy import lexer, unread
from nfinspect.policy.draft import Draft
from nfinspect.policy.errors import MOST_ERRORS, ConfigurationError, Finding
from nfinspect.policy.grammar import GRAMMAR, SYNTAX, Mode, Row
from nfinspect.policy.lexer import Word
from nfinspect.policy.syntax import END_OF_LINE, Mismatch, Statement, closest

OPENERS = {
    row.pattern.split()[0] for rows in GRAMMAR.values() for row in rows if row.enters is not None
}
"""First words of the lines that begin a mode."""

PLACES: dict[str, list[str]] = {}
"""The modes, as messages call them, that know a first word."""
for _mode, _syntax in SYNTAX.items():
    for _word in _syntax.first_words:
        PLACES.setdefault(_word, []).append(_mode.value)


def read(text: str, file: str) -> Draft:
    """Return what *text* says; *file* is its name in messages.

    Raises ConfigurationError if a line is not understood or contradicts another.
    """
    reader = _Reader()
    for line in lexer.lines(text, file):
        if fault := lexer.fault(line):
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
        if words[0].text.lower() == "exit":
            self.leave(words)
            return
        mismatches: list[Mismatch] = []
        for depth in range(len(self.modes), 0, -1):
            match SYNTAX[self.modes[depth - 1]].match(words):
                case Statement() as statement:
                    self.modes[depth:] = []
                    self.understood(statement)
                    return
                case Mismatch() as mismatch:
                    mismatches.append(mismatch)
        # The mode that knows most of the line is the one it was meant for; the innermost of equals.
        self.misunderstood(words, max(mismatches, key=lambda m: m.words_understood))

    def leave(self, words: list[Word]) -> None:
        self.astray = False
        self.modes[1:] = self.modes[1:-1]
        if len(words) > 1:
            finding = words[1].finding(f"unexpected {words[1].quoted}", (END_OF_LINE,))
            self.draft.findings.append(finding)

    def understood(self, statement: Statement[Row]) -> None:
        self.astray = False
        statement.meaning.meaning(self.draft, statement)
        if statement.meaning.enters is not None:
            self.modes.append(statement.meaning.enters)

    def misunderstood(self, words: list[Word], mismatch: Mismatch) -> None:
        first = words[0]
        of_the_appliance = unread.find(words)
        if of_the_appliance is not None and of_the_appliance.top:
            del self.modes[1:]
            finding, meant = self.unknown(first), ""
            self.astray = self.astray or of_the_appliance.begins_a_mode
        elif mismatch.words_understood > 0:
            finding, meant = mismatch.finding, first.text.lower()
        elif self.astray:
            return
        else:
            finding = self.unknown(first)
            meant = finding.suggestion
        if of_the_appliance is not None:
            finding = unread.finding(words, of_the_appliance, finding.expected)
        self.draft.findings.append(finding)
        if meant in OPENERS:
            self.astray = True
            while len(self.modes) > 1 and meant not in SYNTAX[self.modes[-1]].first_words:
                self.modes.pop()

    def unknown(self, first: Word) -> Finding:
        """Return what is wrong with a line whose first word none of the modes knows."""
        known = [word for mode in reversed(self.modes) for word in SYNTAX[mode].first_words]
        expected = tuple(dict.fromkeys(known))
        message = f"unexpected {first.quoted}"
        if places := PLACES.get(first.text.lower()):
            return first.finding(f"{message}, which belongs below {' or '.join(places)}", expected)
        suggestion = closest(first, expected) or closest(first, PLACES)
        return first.finding(message, expected, suggestion)
