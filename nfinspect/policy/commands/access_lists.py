"""Access lists: which traffic a class matches.

Lines are read in every form that listings have, that of ``show access-list`` included; only the
lists that a class names are resolved. What an entry cannot be sure of, such as a time of day, makes
it *uncertain*: `Entry.certain`. Whoever asks decides what that means (`classify`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nfinspect.policy.commands import objects
from nfinspect.policy.commands.interfaces import Interfaces
from nfinspect.policy.commands.numbers import (
    PROTOCOLS,
    TCP,
    UDP,
    port_words,
    ports,
    protocol_of,
    protocol_word,
)
from nfinspect.policy.commands.objects import Operand, Resolved
from nfinspect.policy.grammar import (
    GLOBAL,
    Draft,
    Family,
    Row,
    Skipped,
    advice,
    not_done,
    nothing,
)
from nfinspect.policy.lexer import Line, Word
from nfinspect.policy.model import Entry, Services
from nfinspect.policy.ranges import ALL_PORTS, ANY, NOBODY, Ranges, addresses
from nfinspect.policy.syntax import Argument, Fragment, Statement, WordError, name, number


@dataclass(frozen=True, slots=True)
class PortOperand:
    """Ports as a line gives them: some of them, or an object-group service."""

    ports: Ranges = ALL_PORTS
    group: str = ""

    @property
    def words(self) -> str:
        return f"object-group {self.group}" if self.group else port_words(self.ports)


ALL = PortOperand()


@dataclass(frozen=True, slots=True)
class EntryDraft:
    """An ``access-list`` line."""

    line: Line = field(compare=False)
    permit: bool
    protocol: int
    """If `named` is empty."""
    named: str
    """``object`` or ``object-group``, in the protocol's place."""
    name: str
    source: Operand
    source_ports: PortOperand
    destination: Operand
    destination_ports: PortOperand
    who: tuple[str, str]
    """Users or security groups of the source and the destination, as words; empty if none."""
    time_range: str
    inactive: bool
    """It matches nothing."""


@dataclass(slots=True)
class ListDraft:
    """The lines of one list."""

    word: Word
    entries: list[EntryDraft] = field(default_factory=list)
    is_extended: bool = True


@dataclass(slots=True)
class AccessLists:
    """The access lists of a text."""

    lists: dict[str, ListDraft] = field(default_factory=dict)
    groups: list[Word] = field(default_factory=list)
    """Names in ``access-group`` lines."""
    resolved: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    """The entries of each list that a class names: they are resolved once."""
    services: dict[tuple[str, str, PortOperand, PortOperand], Services] = field(
        default_factory=dict
    )
    """What entries stand for that name an object: they share it."""


def _list(draft: Draft, statement: Statement[Any]) -> ListDraft:
    lists = draft[AccessLists].lists
    found = lists.get(statement["name"])
    if found is None:
        word = statement.word("name")
        found = lists[statement["name"]] = ListDraft(word)
    return found


def _entry(draft: Draft, _: None, statement: Statement[Any]) -> None:
    found = _list(draft, statement)
    if statement.line.indentation and "hits" in statement and found.entries:
        if found.entries[-1].line.indentation == 0:
            return  # show access-list spells out the entry above it
    values = statement.values
    named = "object" if "object" in values else "object-group" if "group" in values else ""
    found.entries.append(
        EntryDraft(
            statement.line,
            values["action"] == "permit",
            values.get("protocol", 0),
            named,
            values.get("object", "") or values.get("group", ""),
            values["source"],
            values.get("source_ports", ALL),
            values["destination"],
            values.get("destination_ports", ALL),
            (values.get("source_who", ""), values.get("destination_who", "")),
            values.get("time_range", ""),
            "inactive" in values,
        )
    )


def _remark(draft: Draft, _: None, statement: Statement[Any]) -> None:
    _list(draft, statement)


def _other_kind(draft: Draft, _: None, statement: Statement[Any]) -> None:
    """Handle a line of a list that a class cannot match: ``standard``, ``ethertype``."""
    _list(draft, statement).is_extended = False


def _group(draft: Draft, _: None, statement: Statement[Any]) -> None:
    draft[AccessLists].groups.append(statement.word("name"))
    draft.leave_out(
        statement.word(),
        "not done: who may connect to whom is decided by the rules of this machine's own firewall",
    )


def _ports(values: Mapping[str, Any]) -> PortOperand:
    return (
        PortOperand(group=values["service"]) if "service" in values else PortOperand(ports(values))
    )


def _who(values: Mapping[str, Any]) -> str:
    return " ".join(values[label] for label in ("kind", "by", "word") if label in values)


def _header(text: str, _: object) -> str:
    if not text.endswith(";"):
        raise WordError("")
    return text


def _hit_count(text: str, _: object) -> str:
    if not text.startswith(("(hitcnt=", "(inactive)", "0x")):
        raise WordError("")
    return text


LEVELS = "alerts critical debugging emergencies errors informational notifications warnings"


def _level(text: str, _: object) -> str:
    if text not in tuple("01234567") and text.lower() not in LEVELS.split():
        raise WordError("not a level")
    return text


ARGUMENTS = {
    "LIST": name(241),
    "PORT_PROTOCOL": Argument("tcp or udp", protocol_of(TCP, UDP, PROTOCOLS["sctp"]), 0),
    "ICMP": Argument("icmp", protocol_of(1, 58), 1),
    "OTHER_PROTOCOL": Argument("a protocol, by number or name", protocol_of(), 2),
    "HEADER": Argument("", _header, 3),
    "HITS": Argument("", _hit_count, 3),
    "LEVEL": Argument("a level of logging", _level, 1),
    "LINE": number(1, 2**31 - 1),
    "GROUP": name(64),
    "ICMP_TYPE": name(40),
}

_TAIL = (
    "[log [LEVEL | disable | default] [interval LINE] | time-range time_range:WORD | inactive:inactive"
    " | hits:HITS]..."
)

FRAGMENTS = {
    "list-ports": Fragment(
        "operator:{eq | neq | lt | gt} port:PORT | range first:PORT last:PORT"
        " | object-group service:SERVICE_GROUP",
        _ports,
    ),
    "who": Fragment(
        "kind:{user | user-group | object-group-user | object-group-security} WORD"
        " | kind:security-group by:{name | tag} WORD",
        _who,
    ),
}


def _entry_rows(first_words: str) -> tuple[Row, ...]:
    start = f"{first_words} name:LIST [line LINE] [extended] action:{{permit | deny}}"
    source = "[source_who:<who>] source:<address>"
    destination = "[destination_who:<who>] destination:<address>"
    return (
        Row(
            f"{start} {{protocol:PORT_PROTOCOL | object OBJECT | object-group GROUP}} {source}"
            f" [source_ports:<list-ports>] {destination} [destination_ports:<list-ports>] {_TAIL}",
            _entry,
        ),
        Row(
            f"{start} protocol:ICMP {source} {destination}"
            f" [icmp:ICMP_TYPE [code:ICMP_TYPE] | object-group icmp:GROUP] {_TAIL}",
            _entry,
        ),
        Row(f"{start} protocol:OTHER_PROTOCOL {source} {destination} {_TAIL}", _entry),
    )


FAMILY = Family(
    {
        GLOBAL: (
            *_entry_rows("access-list"),
            Row("access-list name:LIST [line LINE] remark [REST]", _remark),
            Row("access-list name:LIST {standard | ethertype | webtype} REST", _other_kind),
            Row("access-list header:HEADER [REST]", nothing),
            Row("access-list {cached | alert-interval | deny-flow-max | mode} REST", nothing),
            Row("access-list {commit | [name:LIST] compiled}", nothing),
            Row(
                "access-group name:LIST [{in | out} interface INTERFACE [per-user-override |"
                " control-plane] | global]",
                _group,
            ),
            Row(
                "conduit REST",
                not_done(
                    "not done: who may connect to whom is decided by the rules of this machine's own"
                    " firewall"
                ),
            ),
        ),
    },
    ARGUMENTS,
    FRAGMENTS,
    {GLOBAL: {"ipv6 access-list": None, "time-range": Skipped(frozenset())}},
)


# Resolving.


def resolve(draft: Draft, name: str) -> tuple[Entry, ...]:
    """Return the entries of the list *name*, which is defined, with what they stand for."""
    found = draft[AccessLists].resolved.get(name)
    if found is None:
        entries = draft[AccessLists].lists[name].entries
        found = tuple(_resolve(draft, entry) for entry in entries if not entry.inactive)
        draft[AccessLists].resolved[name] = found
    return found


def resolve_quietly(draft: Draft, name: str) -> tuple[Entry, ...]:
    """Return the entries of a list that no class names, whatever is wrong with it."""
    counts = len(draft.findings), len(draft.notices), len(draft.not_done)
    entries = resolve(draft, name)
    for found, count in zip((draft.findings, draft.notices, draft.not_done), counts, strict=True):
        del found[count:]
    return entries


def _resolve(draft: Draft, entry: EntryDraft) -> Entry:
    word = entry.line.word(0)
    source = _address(draft, entry.source, word)
    destination = _address(draft, entry.destination, word)
    uncertain = source.unknown or destination.unknown
    if entry.time_range:
        uncertain = "the filter knows no times of day"
    elif any(entry.who):
        uncertain = "the filter knows no users or security groups"
    source_ports = _port_ranges(draft, entry.source_ports, word)
    destination_ports = _port_ranges(draft, entry.destination_ports, word)
    if uncertain:
        kind = "permit" if entry.permit else "deny"
        draft.leave_out(
            word,
            f"not done as it stands: {uncertain}; the {kind} counts where it means inspection, and"
            f" {'exempts nobody' if entry.permit else 'keeps others from being exempt'}",
        )
    # What is unknown may be any address.
    return Entry(
        entry.permit,
        _services(draft, entry, source_ports, destination_ports),
        ANY if source.unknown else source.addresses,
        ANY if destination.unknown else destination.addresses,
        not uncertain,
        word,
    )


def _services(draft: Draft, entry: EntryDraft, source: Ranges, destination: Ranges) -> Services:
    """Return what an entry stands for whose own ports are *source* and *destination*."""
    if not entry.named:
        return ((entry.protocol, source, destination),)
    # Ports in the line stand over those of the object.
    own = entry.source_ports != ALL or entry.destination_ports != ALL
    key = entry.named, entry.name, entry.source_ports, entry.destination_ports
    known = draft[AccessLists].services
    if found := known.get(key):
        return found
    found = tuple(
        (s.protocol, source, destination) if own else (s.protocol, s.source, s.destination)
        for s in objects.services_of(draft, entry.named, entry.name, entry.line.word(0))
    )
    known[key] = found
    return found


def _address(draft: Draft, operand: Operand, word: Word) -> Resolved:
    if operand.kind == "interface":
        interface = draft[Interfaces].by_name.get(operand.name)
        if interface is None or interface.address is None:
            return Resolved(NOBODY, f"the address of interface {operand.name} is not in the text")
        version, address = interface.address
        return Resolved(addresses(version, address, address))
    if operand.bare:
        draft.notices.append(
            advice(
                word,
                "an address without host or a mask: it is read as host",
                "bare-address",
                "docs/configuration.md#access-lists",
            )
        )
    return objects.resolve(draft, operand, word)


def _port_ranges(draft: Draft, operand: PortOperand, word: Word) -> Ranges:
    if operand.group:
        return objects.ports_of(draft, operand.group, word)
    return operand.ports


# Writing.


def lines(draft: Draft, name: str) -> Iterator[str]:
    """Yield the lines of the list *name*."""
    if not draft[AccessLists].lists[name].entries:
        yield f"access-list {name} remark no entries"
    for entry in draft[AccessLists].lists[name].entries:
        words = [
            f"access-list {name} extended {'permit' if entry.permit else 'deny'}",
            f"{entry.named} {entry.name}" if entry.named else protocol_word(entry.protocol),
            entry.who[0],
            objects.operand_words(entry.source),
            entry.source_ports.words,
            entry.who[1],
            objects.operand_words(entry.destination),
            entry.destination_ports.words,
            f"time-range {entry.time_range}" if entry.time_range else "",
            "inactive" if entry.inactive else "",
        ]
        yield " ".join(word for word in words if word)


def names_used(draft: Draft, name: str) -> set[str]:
    """Return the objects and object-groups that the list *name* refers to."""
    found: set[str] = set()
    for entry in draft[AccessLists].lists[name].entries:
        for operand in (entry.source, entry.destination):
            if operand.kind in ("object", "object-group"):
                found.add(operand.name)
        found |= {entry.name, entry.source_ports.group, entry.destination_ports.group} - {""}
    return found
