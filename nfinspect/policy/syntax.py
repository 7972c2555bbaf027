"""The notation of the grammar's rows, and how a line is matched with the rows of a mode.

Patterns are written as in the appliance's manuals: ``words`` in lower case are keywords (the text
may write them in either case), ``ARGUMENTS`` in upper case are looked up in a table of `Argument`,
``{a | b}`` is a choice, ``[a]`` is optional, ``[a | b]...`` may be repeated. An argument has a label
in front of it (``name:NAME``), under which its row finds the value; without one it is the argument's
name in lower case. A keyword may have a label too, and a choice gives its label to the keywords in
it: ``action:{permit | deny}``. A label that ends with ``+`` collects a list. ``source:<address>``
stands for a `Fragment`: a pattern of its own whose values become one value.

`Syntax` makes one graph of nodes from all rows of a mode: a word leads along one edge, or the line
is wrong there, and the edges are what was expected. So reading takes time in proportion to the
line, whatever is optional. Two rows that give the same word different meanings are a mistake in the
grammar, found when the module is imported.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from nfinspect.policy.errors import Finding
from nfinspect.policy.lexer import Line, Word

Meaning = TypeVar("Meaning")
"""Whatever the grammar attaches to a pattern."""

END_OF_LINE = "the end of the line"

LAST = 9
"""Rank of arguments that accept almost any word."""


class WordError(Exception):
    """What is wrong with a word, as a message; *label* names the word if there are several."""

    def __init__(self, message: str, label: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.label = label


@dataclass(frozen=True, slots=True)
class Argument:
    """A kind of argument: its description for messages, and how its text becomes a value."""

    description: str
    read: Callable[[str, Any], Any]
    """Returns the value of a text, given the draft read so far; raises WordError."""
    rank: int = LAST
    """Where several arguments are possible they are tried in this order."""
    to_end_of_line: bool = False


def name(most: int) -> Argument:
    """An argument that is a name of at most *most* characters."""

    def read(text: str, _: object) -> str:
        if len(text) > most:
            raise WordError("the name is too long")
        return text

    return Argument(f"a name of at most {most} characters", read)


def number(least: int, most: int, rank: int = LAST) -> Argument:
    """An argument that is an integer from *least* to *most*."""

    def read(text: str, _: object) -> int:
        # ASCII digits only, and not so many that int() becomes slow.
        if not (text.isascii() and text.isdigit()):
            raise WordError("not a number")
        digits = text.lstrip("0") or "0"
        if len(digits) > len(str(most)) or not least <= int(digits) <= most:
            raise WordError("out of range")
        return int(digits)

    return Argument(f"a number from {least} to {most}", read, rank)


def text(most: int) -> Argument:
    """An argument that is the rest of the line, at most *most* characters."""

    def read(text: str, _: object) -> str:
        if len(text) > most:
            raise WordError("the text is too long")
        return text

    return Argument(f"a text of at most {most} characters", read, to_end_of_line=True)


@dataclass(frozen=True, slots=True)
class Fragment:
    """A pattern that several rows share, and how its values become one."""

    pattern: str
    build: Callable[[Mapping[str, Any]], Any]
    """Raises WordError, with the label of the word that is wrong."""


@dataclass(slots=True)
class Statement(Generic[Meaning]):
    """A line that was understood."""

    meaning: Meaning
    line: Line
    values: dict[str, Any]
    """By label."""
    places: dict[str, int]
    """The position, among the line's words, of each value's first word."""

    def __getitem__(self, label: str) -> Any:
        return self.values[label]

    def get(self, label: str, default: Any = None) -> Any:
        return self.values.get(label, default)

    def __contains__(self, label: str) -> bool:
        return label in self.values

    def word(self, label: str | int = 0) -> Word:
        """Return a word of the line, by label or position, with its place for messages."""
        return self.line.word(label if isinstance(label, int) else self.places[label])


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Where a line left the graph."""

    words_understood: int
    finding: Finding


@dataclass(frozen=True, slots=True, eq=False)
class _Position(Generic[Meaning]):
    """One word of one pattern."""

    row: int
    symbol: str
    """A keyword in lower case, or an argument's name in upper case."""
    label: tuple[str, ...]
    """Empty, or the label, or the fragment's label and the label in it."""
    many: bool


class _Edge(NamedTuple, Generic[Meaning]):
    """Where a word leads, and what is kept of it."""

    node: _Node[Meaning]
    label: tuple[str, ...]
    many: bool


@dataclass(slots=True)
class _Node(Generic[Meaning]):
    keywords: dict[str, _Edge[Meaning]] = field(default_factory=dict)
    arguments: list[tuple[Argument, _Edge[Meaning]]] = field(default_factory=list)
    row: int | None = None
    """The row that may end here."""


class Syntax(Generic[Meaning]):
    """The patterns of one mode."""

    def __init__(
        self,
        rows: Iterable[tuple[str, Meaning]],
        arguments: Mapping[str, Argument],
        fragments: Mapping[str, Fragment] | None = None,
    ) -> None:
        self._arguments = arguments
        self._fragments = fragments or {}
        self._meanings: list[Meaning] = []
        self._built: list[tuple[tuple[str, Callable[[Mapping[str, Any]], Any]], ...]] = []
        patterns = []
        for number, (pattern, meaning) in enumerate(rows):
            self._meanings.append(meaning)
            parsed = _Pattern(pattern, number, self._fragments)
            self._built.append(tuple(parsed.built.items()))
            patterns.append(parsed)
        self._root = self._graph(patterns)

    def _graph(self, patterns: list[_Pattern]) -> _Node[Meaning]:
        """Join the patterns: a node for each set of positions that one line can reach."""
        follow: dict[_Position[Any], set[_Position[Any]]] = {}
        last: set[_Position[Any]] = set()
        for pattern in patterns:
            follow |= pattern.follow
            last.update(pattern.part.last)
        nodes: dict[frozenset[_Position[Any]], _Node[Meaning]] = {}

        def node_after(reached: frozenset[_Position[Any]]) -> _Node[Meaning]:
            if reached in nodes:
                return nodes[reached]
            node = nodes[reached] = _Node()
            rows = {position.row for position in reached if position in last}
            assert len(rows) <= 1, f"two rows with the same words: {[patterns[r] for r in rows]}"
            node.row = next(iter(rows), None)
            fill(node, {p for position in reached for p in follow[position]})
            return node

        def fill(node: _Node[Meaning], positions: set[_Position[Any]]) -> None:
            by_symbol: dict[str, list[_Position[Any]]] = {}
            for position in sorted(positions, key=order.__getitem__):
                by_symbol.setdefault(position.symbol, []).append(position)
            for symbol, found in by_symbol.items():
                labels = {(p.label, p.many) for p in found}
                what = [str(patterns[p.row]) for p in found]
                assert len(labels) == 1, f"one word with two labels, {symbol}: {what}"
                label, many = labels.pop()
                edge = _Edge(node_after(frozenset(found)), label, many)
                if symbol.isupper():
                    node.arguments.append((self._arguments[symbol], edge))
                else:
                    node.keywords[symbol] = edge
            node.arguments.sort(key=lambda edge: edge[0].rank)
            ranks = [argument.rank for argument, _ in node.arguments]
            assert len(set(ranks)) == len(ranks), f"two arguments in one place: {by_symbol}"

        order = {p: n for n, p in enumerate(p for pattern in patterns for p in pattern.positions)}
        root: _Node[Meaning] = _Node()
        fill(root, {p for pattern in patterns for p in pattern.part.first})
        return root

    @property
    def first_words(self) -> tuple[str, ...]:
        """The words with which a line of this mode may begin."""
        return tuple(self._root.keywords)

    def begins(self, first: str) -> bool:
        """Whether a line of this mode may begin with *first*, in lower case."""
        return first in self._root.keywords

    def match(self, line: Line, draft: Any = None) -> Statement[Meaning] | Mismatch:
        """Match a line of at least one word with the patterns.

        *draft* is what arguments may need to know of earlier lines.
        """
        node = self._root
        values: dict[str, Any] = {}
        places: dict[str, int] = {}
        passed: list[tuple[int, _Node[Meaning]]] = []
        """Where an argument was taken although a keyword was possible."""
        for depth, text in enumerate(line.words):
            edge = node.keywords.get(text) or node.keywords.get(text.lower())
            if edge is not None:
                value: Any = text.lower()
                at_end = False
            else:
                if node.keywords:
                    passed.append((depth, node))
                try:
                    value, edge, at_end = self._argument(line, depth, node, draft)
                except WordError as fault:
                    mistyped = self._mistyped(line, passed)
                    return Mismatch(
                        depth, mistyped or self._refused(line, depth, node, fault.message)
                    )
            node, label, many = edge
            if label:
                _keep(values, places, label, many, value, depth)
            if at_end:
                break
        if node.row is None:
            finding = line.finding(line.end, "the line is incomplete", self._expected(node))
            return Mismatch(len(line.words), finding)
        statement = Statement(self._meanings[node.row], line, values, places)
        return self._complete(statement, self._built[node.row])

    def _argument(
        self, line: Line, depth: int, node: _Node[Meaning], draft: Any
    ) -> tuple[Any, _Edge[Meaning], bool]:
        """Read a word as the first argument that it can be; raises WordError.

        Returns its value, where it leads, and whether it takes the rest of the line.
        """
        refusal = WordError("")
        for argument, edge in node.arguments:
            at_end = argument.to_end_of_line
            text = line.rest(depth) if at_end else line.words[depth]
            try:
                return argument.read(text, draft), edge, at_end
            except WordError as fault:
                refusal = fault
        raise refusal

    def _mistyped(self, line: Line, passed: list[tuple[int, _Node[Meaning]]]) -> Finding | None:
        """Return the error for a word that was taken as an argument, if it resembles a keyword: it,
        and not the later word that does not fit, is probably what is wrong."""
        for depth, node in passed:
            if closest(line.words[depth], node.keywords):
                return self._unexpected(line.word(depth), node)
        return None

    def _complete(
        self,
        statement: Statement[Meaning],
        built: Iterable[tuple[str, Callable[[Mapping[str, Any]], Any]]],
    ) -> Statement[Meaning] | Mismatch:
        """Give each fragment in the line its value."""
        values = statement.values
        for label, build in built:
            if label in values:
                try:
                    values[label] = build(values[label])
                except WordError as fault:
                    depth = statement.places[f"{label}.{fault.label}"]
                    return Mismatch(depth, statement.line.word(depth).finding(fault.message))
        return statement

    def _refused(self, line: Line, depth: int, node: _Node[Meaning], why: str) -> Finding:
        word = line.word(depth)
        if node.arguments and node.arguments[-1][0].to_end_of_line:
            word = Word(line.rest(depth), line, word.column)
        message = f"{word.quoted}: {why}" if why else f"unexpected {word.quoted}"
        return word.finding(message, self._expected(node), closest(word.text, node.keywords))

    def _unexpected(self, word: Word, node: _Node[Meaning]) -> Finding:
        return word.finding(
            f"unexpected {word.quoted}", self._expected(node), closest(word.text, node.keywords)
        )

    def _expected(self, node: _Node[Meaning]) -> tuple[str, ...]:
        expected = list(node.keywords)
        expected += [argument.description for argument, _ in node.arguments]
        if node.row is not None:
            expected.append(END_OF_LINE)
        return tuple(word for word in expected if word)


def _keep(
    values: dict[str, Any],
    places: dict[str, int],
    label: tuple[str, ...],
    many: bool,
    value: Any,
    depth: int,
) -> None:
    places.setdefault(label[0], depth)
    if len(label) == 2:
        places.setdefault(".".join(label), depth)
        values = values.setdefault(label[0], {})
    if many:
        values.setdefault(label[-1], []).append(value)
    else:
        values[label[-1]] = value


def closest(word: str, candidates: Iterable[str]) -> str:
    """Return the candidate that *word* is probably a misspelling of, or an empty string."""
    # difflib's time grows with the product of the lengths; no keyword is longer than 40.
    wanted = word[:40].lower()
    return next(iter(difflib.get_close_matches(wanted, list(candidates), 1, 0.7)), "")


@dataclass(slots=True)
class _Part:
    """A part of a pattern: with which positions it begins and ends, and whether it may be absent."""

    first: list[_Position[Any]]
    last: list[_Position[Any]]
    optional: bool


class _Pattern:
    """A pattern taken apart: which positions follow which."""

    def __init__(self, pattern: str, row: int, fragments: Mapping[str, Fragment]) -> None:
        self._text = pattern
        self._row = row
        self._fragments = fragments
        self.follow: dict[_Position[Any], set[_Position[Any]]] = {}
        self.built: dict[str, Callable[[Mapping[str, Any]], Any]] = {}
        self.part = self._whole(pattern, ())

    def __str__(self) -> str:
        return self._text

    __repr__ = __str__

    @property
    def positions(self) -> Iterable[_Position[Any]]:
        """In the order of the pattern."""
        return self.follow

    def _whole(self, pattern: str, prefix: tuple[str, ...]) -> _Part:
        spaced = pattern.replace("...", " ... ")
        for mark in "{}[]|":
            spaced = spaced.replace(mark, f" {mark} ")
        words = spaced.split()
        part = self._alternatives(words, prefix, "")
        assert not words, f"unbalanced pattern: {pattern}"
        return part

    def _alternatives(self, words: list[str], prefix: tuple[str, ...], label: str) -> _Part:
        """Read alternatives up to a closing bracket, and take them from *words*."""
        parts = [self._sequence(words, prefix, label)]
        while words and words[0] == "|":
            words.pop(0)
            parts.append(self._sequence(words, prefix, label))
        if words:
            words.pop(0)
        return _Part(
            [p for part in parts for p in part.first],
            [p for part in parts for p in part.last],
            any(part.optional for part in parts),
        )

    def _sequence(self, words: list[str], prefix: tuple[str, ...], label: str) -> _Part:
        whole = _Part([], [], True)
        while words and words[0] not in ("|", "}", "]"):
            part = self._item(words, prefix, label)
            if words and words[0] == "...":
                words.pop(0)
                self._link(part.last, part.first)
            self._link(whole.last, part.first)
            if whole.optional:
                whole.first = whole.first + part.first
            whole.last = whole.last + part.last if part.optional else part.last
            whole.optional = whole.optional and part.optional
        return whole

    def _item(self, words: list[str], prefix: tuple[str, ...], label: str) -> _Part:
        word = words.pop(0)
        if word.endswith(":"):
            label, word = word[:-1], words.pop(0)
        elif ":" in word:
            label, word = word.split(":")
        if word in "{[":
            part = self._alternatives(words, prefix, label)
            part.optional = part.optional or word == "["
            return part
        if word.startswith("<"):
            fragment = self._fragments[word.strip("<>")]
            self.built[label] = fragment.build
            return self._whole(fragment.pattern, (label,))
        if word.isupper() and not label:
            label = word.lower()
        labels = (*prefix, label.rstrip("+")) if label else ()
        position: _Position[Any] = _Position(self._row, word, labels, label.endswith("+"))
        self.follow[position] = set()
        return _Part([position], [position], False)

    def _link(self, before: Sequence[_Position[Any]], after: Sequence[_Position[Any]]) -> None:
        for position in before:
            self.follow[position].update(after)
