"""The notation of the grammar's rows, and how a line is matched with the rows of a mode.

Patterns are written as in the appliance's manuals: ``words`` in lower case are keywords (the text
may write them in either case), ``ARGUMENTS`` in upper case are looked up in a table, ``{a | b}`` is
a choice, ``[a]`` is optional. `Syntax` merges the patterns of a mode into a tree: where a line
leaves the tree is the column of its error, and the branches there are what was expected.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from nfinspect.policy.errors import Finding
from nfinspect.policy.lexer import Word

Meaning = TypeVar("Meaning")
"""Whatever the grammar attaches to a pattern."""

END_OF_LINE = "the end of the line"


@dataclass(frozen=True, slots=True)
class Argument:
    """A kind of argument: its description for messages, and how it is checked."""

    description: str
    fault: Callable[[str], str]
    """Returns what is wrong with this text, or an empty string."""
    to_end_of_line: bool = False


def name(most: int) -> Argument:
    """An argument that is a name of at most *most* characters."""
    description = f"a name of at most {most} characters"
    return Argument(description, lambda text: "the name is too long" if len(text) > most else "")


def number(least: int, most: int) -> Argument:
    """An argument that is an integer from *least* to *most*."""

    def fault(text: str) -> str:
        # ASCII digits only, and not so many that int() becomes slow.
        if not (text.isascii() and text.isdigit()):
            return "not a number"
        digits = text.lstrip("0") or "0"
        in_range = len(digits) <= len(str(most)) and least <= int(digits) <= most
        return "" if in_range else "out of range"

    return Argument(f"a number from {least} to {most}", fault)


def text(most: int) -> Argument:
    """An argument that is the rest of the line, at most *most* characters."""
    description = f"a text of at most {most} characters"
    return Argument(
        description, lambda text: "the text is too long" if len(text) > most else "", True
    )


@dataclass(frozen=True, slots=True)
class Statement(Generic[Meaning]):
    """A line that was understood."""

    meaning: Meaning
    words: tuple[Word, ...]
    arguments: Mapping[str, Word]
    """By the argument's name in the pattern."""

    @property
    def keywords(self) -> tuple[str, ...]:
        """The words that are not arguments, in lower case."""
        of_arguments = {word.column for word in self.arguments.values()}
        return tuple(w.text.lower() for w in self.words if w.column not in of_arguments)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Where a line left the tree."""

    words_understood: int
    finding: Finding


@dataclass(slots=True)
class _Node(Generic[Meaning]):
    keywords: dict[str, _Node[Meaning]] = field(default_factory=dict)
    argument: tuple[str, _Node[Meaning]] | None = None
    meaning: Meaning | None = None


class Syntax(Generic[Meaning]):
    """The patterns of one mode."""

    def __init__(
        self, rows: Iterable[tuple[str, Meaning]], arguments: Mapping[str, Argument]
    ) -> None:
        self._arguments = arguments
        self._root: _Node[Meaning] = _Node()
        for pattern, meaning in rows:
            for path in _paths(pattern):
                self._add(path, meaning)

    def _add(self, path: tuple[str, ...], meaning: Meaning) -> None:
        node = self._root
        for part in path:
            if part.isupper():
                if node.argument is None:
                    node.argument = (part, _Node())
                node = node.argument[1]
            else:
                node = node.keywords.setdefault(part, _Node())
        node.meaning = meaning

    @property
    def first_words(self) -> tuple[str, ...]:
        """The words with which a line of this mode may begin."""
        return tuple(self._root.keywords)

    def match(self, words: list[Word]) -> Statement[Meaning] | Mismatch:
        """Match a line of at least one word with the patterns."""
        node = self._root
        arguments: dict[str, Word] = {}
        mistyped: Finding | None = None
        for depth, word in enumerate(words):
            following = node.keywords.get(word.text.lower())
            if following is not None:
                node = following
                continue
            if node.argument is None:
                return Mismatch(depth, mistyped or self._unexpected(word, node))
            if mistyped is None and closest(word, node.keywords):
                # Accept it as the argument; if a later word does not fit, report this one.
                mistyped = self._unexpected(word, node)
            argument_name, node = node.argument
            argument = self._arguments[argument_name]
            if argument.to_end_of_line:
                word = Word(word.line.text[word.column - 1 :].rstrip(" \t"), word.line, word.column)
            if fault := argument.fault(word.text):
                message = f"{word.quoted}: {fault}"
                return Mismatch(depth, word.finding(message, (argument.description,)))
            arguments[argument_name] = word
            if argument.to_end_of_line:
                words = [*words[:depth], word]
                break
        if node.meaning is None:
            end = words[-1].column + len(words[-1].text)
            finding = words[-1].line.finding(end, "the line is incomplete", self._expected(node))
            return Mismatch(len(words), finding)
        return Statement(node.meaning, tuple(words), arguments)

    def _unexpected(self, word: Word, node: _Node[Meaning]) -> Finding:
        return word.finding(
            f"unexpected {word.quoted}", self._expected(node), closest(word, node.keywords)
        )

    def _expected(self, node: _Node[Meaning]) -> tuple[str, ...]:
        expected = list(node.keywords)
        if node.argument is not None:
            expected.append(self._arguments[node.argument[0]].description)
        if node.meaning is not None:
            expected.append(END_OF_LINE)
        return tuple(expected)


def closest(word: Word, candidates: Iterable[str]) -> str:
    """Return the candidate that *word* is probably a misspelling of, or an empty string."""
    # difflib's time grows with the product of the lengths; no keyword is longer than 40.
    wanted = word.text[:40].lower()
    return next(iter(difflib.get_close_matches(wanted, list(candidates), 1, 0.7)), "")


def _paths(pattern: str) -> list[tuple[str, ...]]:
    """Return every sequence of words and arguments that a pattern allows."""
    spaced = pattern
    for mark in "{}[]|":
        spaced = spaced.replace(mark, f" {mark} ")
    parts = spaced.split()
    paths, rest = _alternatives(parts)
    assert not rest, f"unbalanced pattern: {pattern}"
    return paths


def _alternatives(parts: list[str]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Read alternatives up to a closing bracket; return them and what follows it."""
    done: list[tuple[str, ...]] = []
    paths: list[tuple[str, ...]] = [()]
    while parts:
        part, *parts = parts
        if part in "}]":
            break
        if part == "|":
            done += paths
            paths = [()]
        elif part in "{[":
            inner, parts = _alternatives(parts)
            if part == "[":
                inner = [(), *inner]
            paths = [path + more for path in paths for more in inner]
        else:
            paths = [(*path, part) for path in paths]
    return done + paths, parts
