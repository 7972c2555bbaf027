"""Reads a configuration text into a draft, line by line.

Modes nest as on the appliance; the open ones are on a stack, each with the object that its lines
are about. Nesting follows the words, not the indentation, which differs between listings: a line
belongs to the innermost mode that knows it. Only where lines are skipped does indentation decide, if
the text has any. ``exit`` leaves a mode. All faulty lines are reported, not only the first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from nfinspect.policy import lexer
from nfinspect.policy.commands import ARGUMENTS, FRAGMENTS, GRAMMAR, OTHERS
from nfinspect.policy.errors import ConfigurationError, Finding
from nfinspect.policy.grammar import GLOBAL, Draft, Mode, Row, Skipped
from nfinspect.policy.lexer import Line, Word
from nfinspect.policy.syntax import END_OF_LINE, Mismatch, Statement, Syntax, closest

SYNTAX: dict[Mode, Syntax[Row]] = {
    mode: Syntax(((row.pattern, row) for row in rows), ARGUMENTS, FRAGMENTS)
    for mode, rows in GRAMMAR.items()
}

OPENERS = {
    row.pattern.split()[0] for rows in GRAMMAR.values() for row in rows if row.opens is not None
}
"""First words of the lines that open a mode."""

_GLOBAL_OPENERS = {row.pattern.split()[0] for row in GRAMMAR[GLOBAL] if row.opens is not None}

PLACES: dict[str, list[str]] = {}
"""For each first word, and for ``no`` with the second one, the modes that know it, as messages call
them."""
for _mode, _syntax in SYNTAX.items():
    for _word in _syntax.first_words:
        PLACES.setdefault(_word, []).append(_mode.name)
for _mode, _rows in GRAMMAR.items():
    for _words in sorted({" ".join(row.pattern.split()[:2]) for row in _rows}):
        if _words.startswith("no "):
            PLACES.setdefault(_words, []).append(_mode.name)

_LONGEST_OTHER = max(len(words) for others in OTHERS.values() for words in others)
_OTHER_FIRST = {mode: {words[0] for words in others} for mode, others in OTHERS.items()}
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]+").fullmatch
_LEAVE = ("exit", "quit", "end")


def read(text: str, file: str) -> Draft:
    """Return the draft of *text*; *file* is its name in messages.

    Raises ConfigurationError if a line is not understood or contradicts another one.
    """
    reader = Reader()
    reader.read(text, file)
    if reader.draft.findings:
        raise ConfigurationError(reader.draft.findings)
    return reader.draft


def begins_a_command(first: str) -> bool:
    """Whether a line anywhere in a configuration may begin with *first*, in lower case."""
    return (
        first in PLACES
        or first in _LEAVE
        or first == "no"
        or any(first in words for words in _OTHER_FIRST.values())
    )


ORDINARY = Skipped()


@dataclass(slots=True)
class _Open:
    """A mode on the stack."""

    mode: Mode | None
    """None: its lines are skipped."""
    subject: Any
    """What its lines are about."""
    indentation: int
    """Of the line that opened it."""
    skipped: Skipped = ORDINARY
    command: str = ""
    """The command that skipped lines are counted for; empty below a faulty line."""
    is_block: bool = True
    """False for an ordinary command without lines of its own, as far as is known."""


@dataclass(slots=True)
class Reader:
    """The state of reading one text."""

    draft: Draft = field(default_factory=Draft)
    understood: int = 0
    """Lines that have a meaning here."""
    other: Counter[str] = field(default_factory=Counter)
    """Lines that are not about this filter, by command."""
    stack: list[_Open] = field(default_factory=lambda: [_Open(GLOBAL, None, -1)])
    """The current mode, last, and those that enclose it."""
    indented: bool = False
    """The text shows by indentation what belongs to what."""

    def read(self, text: str, file: str) -> None:
        lines = list(lexer.lines(text, file, begins_a_command))
        self.indented = _is_indented(lines)
        self.draft.first_word = lines[0].word(0) if lines else None
        for line in lines:
            fault = lexer.fault(line)
            if fault is None or self.in_skipped(line, line.words[0].lower()):
                self.line(line)
            else:
                self.draft.findings.append(fault)

    def line(self, line: Line) -> None:
        """Read one line."""
        first = line.words[0].lower()
        top = self.stack[-1]
        if top.mode is None:
            if self.in_skipped(line, first):
                if top.command:
                    self.other[top.command] += 1
                return
            self.stack.pop()
        if first in _LEAVE:
            self.leave(line)
            return
        mismatches: list[Mismatch] = []
        for depth in range(len(self.stack), 0, -1):
            mode = self.stack[depth - 1].mode
            assert mode is not None
            if SYNTAX[mode].begins(first):
                match SYNTAX[mode].match(line, self.draft):
                    case Statement() as statement:
                        del self.stack[depth:]
                        self.meant(statement)
                        return
                    case Mismatch() as mismatch:
                        mismatches.append(mismatch)
        for depth in range(len(self.stack), 0, -1):
            mode = self.stack[depth - 1].mode
            assert mode is not None
            if other := self.find_other(mode, line, self.stack[depth - 1].indentation):
                del self.stack[depth:]
                command, skipped = other
                self.other[command] += 1
                is_block = skipped is not None
                self.stack.append(
                    _Open(None, None, line.indentation, skipped or ORDINARY, command, is_block)
                )
                return
        # Report the mismatch of the mode that knows most of the line, the innermost among equals.
        self.misunderstood(line, max(mismatches, key=lambda m: m.words_understood, default=None))

    def in_skipped(self, line: Line, first: str) -> bool:
        """Whether *line* belongs to the skipped mode that is current, if one is."""
        top = self.stack[-1]
        if top.mode is not None:
            return False
        if top.skipped.holds_certificates and (
            first in ("certificate", "quit") or all(map(_HEXADECIMAL, line.words))
        ):
            return True
        if line.indentation != top.indentation or not top.is_block:
            return line.indentation > top.indentation
        words = [word.lower() for word in line.words[:2]]
        if not top.command:  # a faulty line of ours: what its mode may hold is what nobody knows
            return not self.is_known(words)
        if self.indented:
            return words[0] in top.skipped.words and not self.is_known(words)
        if words[0] in top.skipped.words:
            # What is meant for the mode is hardly a whole command of ours as well.
            return isinstance(SYNTAX[GLOBAL].match(line, self.draft), Mismatch)
        return not self.is_known(words)

    def is_known(self, words: list[str]) -> bool:
        """Whether a line that begins with *words* may stand in one of the enclosing modes."""
        if words[0] in _LEAVE:
            return True
        first = words[1] if words[0] == "no" and len(words) > 1 else words[0]
        modes = [opened.mode for opened in self.stack if opened.mode is not None]
        return any(
            SYNTAX[mode].begins(word) or word in _OTHER_FIRST.get(mode, ())
            for mode in modes
            for word in {first, words[0]} - {"no"}
        )

    def find_other(
        self, mode: Mode, line: Line, indentation: int
    ) -> tuple[str, Skipped | None] | None:
        """Return the command of a line that is not about this filter, and the mode it opens."""
        words = line.words
        no = 1 if words[0].lower() == "no" and len(words) > 1 else 0
        table = OTHERS.get(mode, {})
        # The appliance's last line is Cryptochecksum:d41d….
        first = words[no].lower().partition(":")[0]
        if first in _OTHER_FIRST.get(mode, ()):
            texts = (first, *(word.lower() for word in words[no + 1 : no + _LONGEST_OTHER]))
            for length in range(len(texts), 0, -1):
                if texts[:length] in table:
                    return first, None if no else table[texts[:length]]
        if mode.has_other_lines and (line.indentation > indentation or not self.indented):
            if not self.is_known([first]) and not closest(first, PLACES):
                return mode.name, None
        return None

    def leave(self, line: Line) -> None:
        if line.words[0].lower() == "end":
            del self.stack[1:]
        else:
            self.stack[1:] = self.stack[1:-1]
        if len(line.words) > 1:
            word = line.word(1)
            self.draft.error(word, f"unexpected {word.quoted}", (END_OF_LINE,))

    def meant(self, statement: Statement[Row]) -> None:
        """Do what a line says."""
        self.understood += 1
        row = statement.meaning
        subject = row.meaning(self.draft, self.stack[-1].subject, statement)
        if row.opens is not None:
            self.stack.append(_Open(row.opens, subject, statement.line.indentation))

    def misunderstood(self, line: Line, mismatch: Mismatch | None) -> None:
        first = line.word(0)
        if mismatch is not None and not self.is_misplaced(line, mismatch):
            finding, meant = mismatch.finding, first.text.lower()
        else:
            finding = self.unknown(first)
            meant = finding.suggestion
        self.draft.findings.append(finding)
        if meant in OPENERS:
            while len(self.stack) > 1 and not self.knows(self.stack[-1], meant):
                self.stack.pop()
            self.stack.append(_Open(None, None, line.indentation))

    def is_misplaced(self, line: Line, mismatch: Mismatch) -> bool:
        """Whether *line* is ``no`` and a word that only another mode knows behind it."""
        words = " ".join(word.lower() for word in line.words[:2])
        return mismatch.words_understood == 1 and words.startswith("no ") and words in PLACES

    def knows(self, opened: _Open, first: str) -> bool:
        return opened.mode is not None and SYNTAX[opened.mode].begins(first)

    def unknown(self, first: Word) -> Finding:
        """Return the error for a line whose first word none of the current modes knows."""
        modes = [opened.mode for opened in reversed(self.stack) if opened.mode is not None]
        expected = tuple(dict.fromkeys(w for mode in modes for w in SYNTAX[mode].first_words))
        message = f"unexpected {first.quoted}"
        words = [word.lower() for word in first.line.words[:2]]
        if places := PLACES.get(" ".join(words)) or PLACES.get(words[0]):
            return first.finding(f"{message}, which belongs below {' or '.join(places)}", expected)
        suggestion = closest(first.text, expected) or closest(first.text, PLACES)
        return first.finding(message, expected, suggestion)


def _is_indented(lines: Sequence[Line]) -> bool:
    """Whether indentation shows what belongs to what: the lines that are indented below another are
    more than those that are not although the other opens a mode."""
    votes = 0
    for line, following in pairwise(lines):
        if following.indentation > line.indentation:
            votes += 1
        elif line.words[0].lower() in _GLOBAL_OPENERS:
            votes -= 1
    return votes > 0
