"""Regular expressions, and classes of them (docs/appliance.md, section 4).

An appliance's listing has expressions for other protocols as well, so one is judged only where a
map for mail uses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nfinspect.policy.commands.objects import undefined
from nfinspect.policy.conditions import Expression, Matches
from nfinspect.policy.errors import Finding
from nfinspect.policy.expressions import ExpressionError, translate
from nfinspect.policy.grammar import GLOBAL, Draft, Family, Mode, Row, advice, nothing
from nfinspect.policy.lexer import Word
from nfinspect.policy.syntax import Statement

CLASS = Mode("class-map type regex")

READ = "docs/policy.md#regular-expressions"


@dataclass(slots=True)
class RegexDraft:
    """A ``regex`` line."""

    name: Word
    pattern: Word
    """Without quotation marks around it."""
    expression: Expression | None = None
    """Once it has been used."""
    judged: bool = False


@dataclass(slots=True)
class RegexClass:
    """A ``class-map type regex``."""

    name: Word
    members: dict[str, Word] = field(default_factory=dict)


@dataclass(slots=True)
class Regexes:
    """The expressions of a text, and the classes of them."""

    expressions: dict[str, RegexDraft] = field(default_factory=dict)
    classes: dict[str, RegexClass] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    missing: set[tuple[int, int]] = field(default_factory=set)
    """Places of names that are not defined, and reported."""
    used_classes: set[str] = field(default_factory=set)


def _regex(draft: Draft, _: None, statement: Statement[Any]) -> None:
    name, pattern = statement.word("name"), statement.word("pattern")
    text = statement["pattern"]
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        pattern = Word(text[1:-1], pattern.line, pattern.column + 1)
    else:
        pattern = Word(text, pattern.line, pattern.column)
    found = draft[Regexes].expressions.setdefault(name.text, RegexDraft(name, pattern))
    if found.name is not name:
        line = found.name.line.number
        draft.error(name, f"line {line} already defines the regex {name.quoted}")


def _begin(draft: Draft, _: None, statement: Statement[Any]) -> RegexClass:
    name = statement.word("name")
    return draft[Regexes].classes.setdefault(name.text, RegexClass(name))


def _member(draft: Draft, subject: RegexClass, statement: Statement[Any]) -> None:
    word = statement.word("name")
    if subject.members.setdefault(word.text, word) is not word:
        line = subject.members[word.text].line.number
        draft.error(word, f"line {line} already has the regex {word.quoted}")


FAMILY = Family(
    {
        GLOBAL: (
            Row("regex NAME pattern:REST", _regex),
            Row("class-map type regex [match-any] NAME", _begin, CLASS),
        ),
        CLASS: (
            Row("description TEXT", nothing),
            Row("match regex NAME", _member),
        ),
    }
)


# Resolving.


def resolve(draft: Draft, name: Word, *, is_class: bool) -> Matches | None:
    """Return the condition that a clause names; None, and an error, if there is no such thing."""
    regexes = draft[Regexes]
    if not is_class:
        expression = _expression(draft, name)
        return None if expression is None else Matches(name.text, (expression,))
    if name.text not in regexes.classes:
        undefined(draft, "class-map type regex", name.text, name, regexes.classes)
        return None
    regex_class = regexes.classes[name.text]
    if name.text not in regexes.used_classes and not regex_class.members:
        draft.error(regex_class.name, "the class has no regex", ("match regex NAME",))
    regexes.used_classes.add(name.text)
    expressions = [_expression(draft, word) for word in regex_class.members.values()]
    if not expressions or None in expressions:
        return None
    return Matches(name.text, tuple(e for e in expressions if e is not None), is_class=True)


def _expression(draft: Draft, name: Word) -> Expression | None:
    regexes = draft[Regexes]
    if name.text not in regexes.expressions:
        place = name.line.number, name.column
        if place not in regexes.missing:
            regexes.missing.add(place)
            undefined(draft, "regex", name.text, name, regexes.expressions)
        return None
    regex = regexes.expressions[name.text]
    regexes.used.add(name.text)
    if not regex.judged:
        regex.judged = True
        try:
            translated = translate(regex.pattern.text)
        except ExpressionError as error:
            draft.error(_at(regex.pattern, error.position), error.message)
        else:
            regex.expression = Expression(name.text, regex.pattern.text, translated.re2)
            for position, note in translated.notes:
                draft.notice(_at(regex.pattern, position), note, "regex", READ)
    return regex.expression


def _at(pattern: Word, position: int) -> Word:
    return Word(pattern.text[position:], pattern.line, pattern.column + position)


def unused(draft: Draft) -> Iterator[Finding]:
    """Yield advice about expressions and classes that no map for mail uses."""
    regexes = draft[Regexes]
    for name, regex in regexes.expressions.items():
        if name not in regexes.used:
            message = f"no match uses the regex {regex.name.quoted}"
            yield advice(regex.name, message, "unused-regex", READ)
    for name, regex_class in regexes.classes.items():
        if name not in regexes.used_classes:
            message = f"no match uses the class-map type regex {regex_class.name.quoted}"
            yield advice(regex_class.name, message, "unused-regex", READ)


# Writing.


def lines(conditions: list[Matches]) -> Iterator[str]:
    """Yield the lines that define what *conditions* name."""
    expressions = dict.fromkeys(e for condition in conditions for e in condition.expressions)
    for expression in expressions:
        yield f'regex {expression.name} "{expression.pattern}"'
    for condition in dict.fromkeys(c for c in conditions if c.is_class):
        yield f"class-map type regex match-any {condition.name}"
        for expression in condition.expressions:
            yield f" match regex {expression.name}"
