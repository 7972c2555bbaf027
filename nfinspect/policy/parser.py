"""Reads a configuration text into a draft, line by line.

Modes nest as on the appliance. Nesting follows the words, not the indentation, which differs
between listings: a line belongs to the innermost mode that knows it. ``exit`` leaves a mode. All
faulty lines are reported, not only the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nfinspect.policy import lexer, unsupported
from nfinspect.policy.draft import Draft
from nfinspect.policy.errors import MAX_ERRORS, ConfigurationError, Finding
from nfinspect.policy.grammar import GRAMMAR, SYNTAX, Mode, Row
from nfinspect.policy.lexer import Word
from nfinspect.policy.syntax import END_OF_LINE, Mismatch, Statement, closest

OPENERS = {
    row.pattern.split()[0] for rows in GRAMMAR.values() for row in rows if row.enters is not None
}
"""First words of the lines that open a mode."""

PLACES: dict[str, list[str]] = {}
"""For each first word, the modes that know it, as messages call them."""
for _mode, _syntax in SYNTAX.items():
    for _word in _syntax.first_words:
        PLACES.setdefault(_word, []).append(_mode.value)


def read(text: str, file: str) -> Draft:
    """Return the draft of *text*; *file* is its name in messages.

    Raises ConfigurationError if a line is not understood or contradicts another one.
    """
    reader = _Reader()
    for line in lexer.lines(text, file):
        if fault := lexer.fault(line):
            reader.draft.findings.append(fault)
        else:
            reader.line(lexer.words(line))
        if len(reader.draft.findings) > MAX_ERRORS:
            break
    if reader.draft.findings:
        raise ConfigurationError(reader.draft.findings)
    return reader.draft


@dataclass(slots=True)
class _Reader:
    draft: Draft = field(default_factory=Draft)
    modes: list[Mode] = field(default_factory=lambda: [Mode.GLOBAL])
    """The current mode, last, and those that enclose it."""
    skipping: bool = False
    """A line that should have opened a mode was faulty: following lines that may be meant for that
    mode are skipped, not reported."""

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
        # Report the mismatch of the mode that knows most of the line, the innermost among equals.
        self.misunderstood(words, max(mismatches, key=lambda m: m.words_understood))

    def leave(self, words: list[Word]) -> None:
        self.skipping = False
        self.modes[1:] = self.modes[1:-1]
        if len(words) > 1:
            finding = words[1].finding(f"unexpected {words[1].quoted}", (END_OF_LINE,))
            self.draft.findings.append(finding)

    def understood(self, statement: Statement[Row]) -> None:
        self.skipping = False
        statement.meaning.meaning(self.draft, statement)
        if statement.meaning.enters is not None:
            self.modes.append(statement.meaning.enters)

    def misunderstood(self, words: list[Word], mismatch: Mismatch) -> None:
        first = words[0]
        command = unsupported.find(words)
        if command is not None and command.is_global:
            del self.modes[1:]
            finding, meant = self.unknown(first), ""
            self.skipping = self.skipping or command.begins_a_mode
        elif mismatch.words_understood > 0:
            finding, meant = mismatch.finding, first.text.lower()
        elif self.skipping:
            return
        else:
            finding = self.unknown(first)
            meant = finding.suggestion
        if command is not None:
            finding = unsupported.finding(words, command, finding.expected)
        self.draft.findings.append(finding)
        if meant in OPENERS:
            self.skipping = True
            while len(self.modes) > 1 and meant not in SYNTAX[self.modes[-1]].first_words:
                self.modes.pop()

    def unknown(self, first: Word) -> Finding:
        """Return the error for a line whose first word none of the current modes knows."""
        known = [word for mode in reversed(self.modes) for word in SYNTAX[mode].first_words]
        expected = tuple(dict.fromkeys(known))
        message = f"unexpected {first.quoted}"
        if places := PLACES.get(first.text.lower()):
            return first.finding(f"{message}, which belongs below {' or '.join(places)}", expected)
        suggestion = closest(first, expected) or closest(first, PLACES)
        return first.finding(message, expected, suggestion)
