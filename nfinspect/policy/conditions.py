"""Conditions: what a match clause asks of a value (docs/policy.md).

Small frozen values, equal where their texts are equal. They know the words with which show prints
them and nothing else: what a value is, where it begins and when it is complete is told by
`nfinspect.policy.criteria`, and whoever evaluates compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Above:
    """A number above a limit: ``gt 512``."""

    limit: int

    @property
    def words(self) -> str:
        return f"gt {self.limit}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of these words, as `criteria` spells them: ``size vrfy``."""

    choices: tuple[str, ...]

    @property
    def words(self) -> str:
        return " ".join(self.choices)


@dataclass(frozen=True, slots=True)
class Expression:
    """A ``regex NAME PATTERN`` of the configuration."""

    name: str
    pattern: str
    """As it was written."""
    re2: str
    """The same for RE2; each character is one byte (Latin-1)."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Bytes in which one of these expressions is found, wherever: ``regex NAME``, ``regex class
    NAME``."""

    name: str
    """Of the expression, or of the ``class-map type regex``."""
    expressions: tuple[Expression, ...]
    is_class: bool = False

    @property
    def words(self) -> str:
        return f"regex class {self.name}" if self.is_class else f"regex {self.name}"


@dataclass(frozen=True, slots=True)
class Not:
    """What does not meet the condition: ``match not``."""

    condition: Above | OneOf | Matches

    @property
    def words(self) -> str:
        """Those of the condition; the word ``not`` stands before the criterion."""
        return self.condition.words


Condition: TypeAlias = Above | OneOf | Matches | Not
