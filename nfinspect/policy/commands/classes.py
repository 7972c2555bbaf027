"""Class-maps: which connections a class holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nfinspect.policy.commands import access_lists
from nfinspect.policy.commands.access_lists import AccessLists
from nfinspect.policy.commands.numbers import TCP, port_words
from nfinspect.policy.commands.objects import undefined
from nfinspect.policy.grammar import GLOBAL, Draft, Family, Mode, Row, Skipped, nothing
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import NOTHING, Match
from nfinspect.policy.ranges import Ranges
from nfinspect.policy.syntax import Statement

CLASS_MAP = Mode("class-map")
MANAGEMENT = Mode("class-map type management")

READ = "docs/configuration.md#classes-and-policies"

CLASS_DEFAULT = "class-default"
"""The class that is built in, and holds everything."""

DEFAULT_INSPECTION_PORT = 25
"""The ESMTP port of default-inspection-traffic."""


@dataclass(slots=True)
class ClassMap:
    """A class-map, with the words of its matches for messages."""

    name: Word
    any: Word | None = None
    default_inspection: Word | None = None
    access_list: Word | None = None
    """The name of the list."""
    ports: Ranges | None = None
    ports_word: Word | None = None
    protocol: int = TCP
    unknown: tuple[Word, str] | None = None
    """A match that is not done, as its first word and its text."""

    @property
    def first_match(self) -> Word | None:
        unknown = self.unknown[0] if self.unknown else None
        return self.any or self.access_list or self.ports_word or unknown or self.default_inspection


@dataclass(slots=True)
class ClassMaps:
    """The class-maps of a text."""

    maps: dict[str, ClassMap] = field(default_factory=dict)


def _begin(draft: Draft, _: None, statement: Statement[Any]) -> ClassMap:
    name = statement.word("name")
    return draft[ClassMaps].maps.setdefault(name.text, ClassMap(name))


def _is_first(draft: Draft, subject: ClassMap, word: Word, narrows: bool = False) -> bool:
    """Whether *word* may match as well as what stands in the class already; if not, an error."""
    other = subject.first_match
    if other is not None and not (
        (narrows and other is subject.default_inspection and subject.access_list is None)
        or (
            word.text == _DEFAULT
            and other is subject.access_list
            and not subject.default_inspection
        )
    ):
        message = f"this class-map already has a match, in line {other.line.number}"
        draft.error(word.line.word(0), message)
        return False
    return True


_DEFAULT = "default-inspection-traffic"


def _default(draft: Draft, subject: ClassMap, statement: Statement[Any]) -> None:
    word = statement.word(1)
    if _is_first(draft, subject, Word(_DEFAULT, word.line, word.column)):
        subject.default_inspection = word


def _any(draft: Draft, subject: ClassMap, statement: Statement[Any]) -> None:
    if _is_first(draft, subject, statement.word(1)):
        subject.any = statement.word(1)


def _access_list(draft: Draft, subject: ClassMap, statement: Statement[Any]) -> None:
    word = statement.word("name")
    if "address" in statement:
        draft.notice(
            statement.word("address"),
            "read as match access-list, which is what an appliance calls it",
            "match-address",
            READ,
        )
    if _is_first(draft, subject, word, narrows=True):
        subject.access_list = word


def _port(draft: Draft, subject: ClassMap, statement: Statement[Any]) -> None:
    word = statement.word("ports")
    if _is_first(draft, subject, word):
        subject.ports, subject.ports_word = statement["ports"], word
        subject.protocol = statement["protocol"]


def _unknown(draft: Draft, subject: ClassMap, statement: Statement[Any]) -> None:
    word = statement.word()
    if subject.unknown is not None:
        return  # match flow, which goes with match tunnel-group
    if _is_first(draft, subject, statement.word(1)):
        subject.unknown = word, statement.line.rest(0)


FAMILY = Family(
    {
        GLOBAL: (
            Row("class-map NAME", _begin, CLASS_MAP),
            # What goes to the appliance itself: no connection through it is in such a class.
            Row("class-map type management NAME", _begin, MANAGEMENT),
        ),
        MANAGEMENT: (Row("{description | match} REST", nothing),),
        CLASS_MAP: (
            Row("description TEXT", nothing),
            Row("match any", _any),
            Row("match {access-list | address:address} name:LIST", _access_list),
            Row("match port protocol:PORT_PROTOCOL ports:<server-ports>", _port),
            Row(f"match {_DEFAULT}", _default),
            Row(
                "match {tunnel-group | flow | dscp | precedence | rtp | not} REST",
                _unknown,
            ),
        ),
    },
    others={
        GLOBAL: {
            "class-map type inspect": Skipped(frozenset()),
        }
    },
)


# Resolving.


def resolve(draft: Draft, class_map: ClassMap) -> Match:
    """Return which connections the class holds."""
    if class_map.unknown:
        word, _ = class_map.unknown
        what = word.line.words[1]
        draft.leave_out(word, f"not done: a class cannot match by {what}; this one matches nothing")
        return NOTHING
    entries = None
    if class_map.access_list is not None:
        name = class_map.access_list
        lists = draft[AccessLists].lists
        if name.text not in lists:
            undefined(draft, "access-list", name.text, name, lists)
            return NOTHING
        if not lists[name.text].is_extended:
            draft.error(name, f"{name.quoted} is no extended access-list")
            return NOTHING
        entries = access_lists.resolve(draft, name.text)
    if class_map.ports is not None:
        return Match(class_map.ports, entries) if class_map.protocol == TCP else NOTHING
    if class_map.default_inspection:
        port = DEFAULT_INSPECTION_PORT
        return Match(Ranges(((port, port),)), entries)
    if class_map.any or entries is not None:
        return Match(entries=entries)
    return NOTHING


# Writing.


def lines(class_map: ClassMap) -> Iterator[str]:
    """Yield the lines of a class-map."""
    yield f"class-map {class_map.name.text}"
    if class_map.any:
        yield " match any"
    if class_map.default_inspection:
        yield f" match {_DEFAULT}"
    if class_map.access_list:
        yield f" match access-list {class_map.access_list.text}"
    if class_map.ports is not None:
        protocol = "tcp" if class_map.protocol == TCP else "udp"
        yield f" match port {protocol} {port_words(class_map.ports)}"
    if class_map.unknown:
        yield f" {class_map.unknown[1]}"
