"""Errors and notices about a configuration text, with their position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_ERRORS = 20
"""Errors shown per text; with more, it is probably the wrong file."""

WIDEST_EXCERPT = 100
"""Characters shown of an offending line."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One error or notice, with its position.

    ``str()`` gives ``FILE:LINE:COLUMN: MESSAGE; expected …; did you mean …?``, then the line itself
    and a caret below the column.
    """

    file: str
    line: int
    """From 1."""
    column: int
    """From 1, in characters; a tab is one."""
    message: str
    expected: tuple[str, ...] = ()
    """What would be valid there: words, or descriptions of arguments."""
    suggestion: str = ""
    """The word that was probably intended."""
    text: str = ""
    """The offending line."""
    code: str = ""
    """Of advice: a word that names it."""
    read: str = ""
    """Of advice: the section of the documents to read."""

    @property
    def sentence(self) -> str:
        """Everything but position and excerpt."""
        parts = [self.message]
        if self.expected:
            parts.append("expected " + _alternatives(self.expected))
        if self.suggestion and (self.suggestion,) != self.expected:
            parts.append(f"did you mean {self.suggestion}?")
        sentence = "; ".join(parts)
        return f"{sentence} [{self.code}, see {self.read}]" if self.code else sentence

    @property
    def excerpt(self) -> str:
        """The offending line and the caret, cropped to `WIDEST_EXCERPT`, without control
        characters."""
        column = self.column - 1
        start = max(0, min(column - WIDEST_EXCERPT // 2, len(self.text) - WIDEST_EXCERPT))
        shown = self.text[start : start + WIDEST_EXCERPT].rstrip()
        line = "".join(c if c.isprintable() else " " if c == "\t" else "?" for c in shown)
        return f"  {line}\n  {' ' * (column - start)}^"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: {self.sentence}"
        return f"{place}\n{self.excerpt}" if self.text.strip() else place


class ConfigurationError(Exception):
    """A configuration text that cannot be used, with all its errors in order."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(findings)
        self.findings = tuple(findings)

    def __str__(self) -> str:
        lines = [str(finding) for finding in self.findings[:MAX_ERRORS]]
        if len(self.findings) > MAX_ERRORS:
            file, count = self.findings[0].file, len(self.findings)
            lines.append(f"{file}: {count} errors, of which the first {MAX_ERRORS} are shown")
        return "\n".join(lines)


def _alternatives(words: tuple[str, ...]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
