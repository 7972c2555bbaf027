"""Static translation of addresses and ports, in the forms before and since ASA 8.3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nfinspect.policy.commands.numbers import TCP, UDP
from nfinspect.policy.commands.objects import (
    NETWORK_OBJECT,
    NetworkObject,
    Objects,
    undefined,
)
from nfinspect.policy.grammar import GLOBAL, Draft, Family, Row, not_done, nothing
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import NO_LIMITS, ConnectionLimits, Translation
from nfinspect.policy.ranges import address_text
from nfinspect.policy.syntax import Argument, Statement, WordError, number

Network = tuple[int, int, int]
"""IP version, first and last address."""


@dataclass(slots=True)
class StaticDraft:
    """A line that translates statically."""

    word: Word
    text: str
    """The line, as it can be written again."""
    pair: tuple[str, str]
    """The interface of the real addresses, and that of the mapped ones."""
    object: str = ""
    """The object in whose block the line stands."""
    real: Network | str = ""
    """Addresses, or the name of an object."""
    mapped: Network | str | None = None
    """The same; None is the interface's address."""
    protocol: int = 0
    real_port: int = 0
    mapped_port: int = 0
    services: tuple[str, ...] = ()
    """Names of the object services for the real and the mapped port."""
    limits: ConnectionLimits = NO_LIMITS
    random_sequence_numbers: bool = True


@dataclass(slots=True)
class Nat:
    """The static translations of a text."""

    statics: list[StaticDraft] = field(default_factory=list)


_PROTOCOLS = {"tcp": TCP, "udp": UDP}


def _static(draft: Draft, _: None, statement: Statement[Any]) -> None:
    if "list" in statement:
        draft.leave_out(
            statement.word(),
            "not done: a translation that depends on an access-list (policy static); write it as"
            " rules of this machine's own firewall",
        )
        return
    version, real, _last = statement["real"]
    free = statement["mask"] ^ 0xFFFF_FFFF if "mask" in statement and version == 4 else 0
    mapped = statement["mapped"]
    connections = [*statement.get("limits", ()), 0, 0]
    if statement.get("other"):
        draft.not_done.append(
            statement.word().finding("not done as it stands: UDP connections are not counted")
        )
    draft[Nat].statics.append(
        StaticDraft(
            statement.word(),
            " ".join(statement.line.words),
            statement["pair"],
            real=(version, real & ~free, real | free),
            mapped=None
            if mapped == "interface"
            else (mapped[0], mapped[1] & ~free, mapped[1] | free),
            protocol=_PROTOCOLS.get(statement.get("protocol", ""), 0),
            real_port=statement.get("real_port", 0),
            mapped_port=statement.get("mapped_port", 0),
            limits=ConnectionLimits(connections[0], connections[1]),
            random_sequence_numbers="norandomseq" not in statement,
        )
    )


def _dynamic(draft: Draft, _: Any, statement: Statement[Any]) -> None:
    if statement.get("id") != 0:
        draft.leave_out(statement.word(), _NOT_DYNAMIC)
        return
    # No translation; behind an address and its mask, or the name of a list, limits may follow.
    if any(word.isdigit() and word.strip("0") for word in statement["rest"].split()[2:]):
        draft.leave_out(statement.word(), "not done: connection limits of nat 0")


_NOT_DYNAMIC = "not done: dynamic translation; use iptables' SNAT or MASQUERADE"


def _of_object(draft: Draft, subject: NetworkObject, statement: Statement[Any]) -> None:
    name = subject.word.text
    mapped = statement.get("mapped", statement.get("mapped_object"))
    draft[Nat].statics.append(
        StaticDraft(
            statement.word(),
            " ".join(statement.line.words),
            statement.get("pair", ("any", "any")),
            name,
            name,
            None if mapped == "interface" else mapped,
            _PROTOCOLS.get(statement.get("protocol", ""), 0),
            statement.get("real_port", 0),
            statement.get("mapped_port", 0),
        )
    )


def _twice(draft: Draft, _: None, statement: Statement[Any]) -> None:
    values = statement.values
    if "inactive" in values or values["real"] == values.get("mapped_object"):
        return  # no translation
    if "other_real" in values or "unidirectional" in values:
        draft.leave_out(
            statement.word(),
            "not done: a translation that depends on the other side's address or on the direction;"
            " write it as rules of this machine's own firewall",
        )
        return
    draft[Nat].statics.append(
        StaticDraft(
            statement.word(),
            " ".join(statement.line.words),
            values.get("pair", ("any", "any")),
            real=values["real"],
            mapped=values.get("mapped_object"),
            services=tuple(values.get("services", ())),
        )
    )


def _interfaces(text: str) -> list[str]:
    if not (text.startswith("(") and text.endswith(")")):
        raise WordError("not interfaces in brackets")
    return [name.strip() for name in text[1:-1].split(",")]


def _pair(text: str, _: object) -> tuple[str, str]:
    names = _interfaces(text)
    if len(names) != 2 or not all(names):
        raise WordError("not two interfaces in brackets")
    return names[0], names[1]


def _one(text: str, _: object) -> str:
    names = _interfaces(text)
    if len(names) != 1:
        raise WordError("not one interface in brackets")
    return names[0]


_LIMITS = (
    "[netmask MASK | dns | norandomseq:norandomseq | nailed | tcp | udp other:CONNECTIONS"
    " | limits+:CONNECTIONS]..."
)
_MAPPED = "{mapped:NETWORK | mapped:interface}"
_TWICE = "nat [PAIR] [id:NAT_ID] [after-auto] source"
_FLAGS = "dns | no-proxy-arp | route-lookup | net-to-net | ipv6"

FAMILY = Family(
    {
        GLOBAL: (
            Row(
                f"static PAIR {_MAPPED} {{real:NETWORK | access-list list:LIST}} {_LIMITS}",
                _static,
            ),
            Row(
                f"static PAIR protocol:{{tcp | udp}} {_MAPPED} mapped_port:PORT {{real:NETWORK"
                f" real_port:PORT | access-list list:LIST}} {_LIMITS}",
                _static,
            ),
            Row("nat ONE id:NAT_ID REST", _dynamic),
            Row("global ONE REST", not_done(_NOT_DYNAMIC)),
            Row("alias ONE REST", not_done("not done: alias; use iptables' DNAT")),
            Row(
                f"{_TWICE} static real:OBJECT {{mapped:interface | mapped_object:OBJECT}}"
                " [destination static {interface | other_mapped:OBJECT} other_real:OBJECT]"
                " [service services+:OBJECT services+:OBJECT]"
                f" [{_FLAGS} | unidirectional:unidirectional | inactive:inactive"
                " | description REST]...",
                _twice,
            ),
            Row(f"{_TWICE} dynamic REST", _dynamic),
            Row("nat-control", nothing),
            Row("no nat-control", nothing),
        ),
        NETWORK_OBJECT: (
            Row(
                f"nat [PAIR] static {{mapped:NETWORK | mapped:interface | mapped_object:OBJECT}}"
                " [service protocol:{tcp | udp} real_port:PORT mapped_port:PORT]"
                f" [{_FLAGS}]...",
                _of_object,
            ),
            Row("nat [PAIR] dynamic REST", _dynamic),
        ),
    },
    {
        "PAIR": Argument("two interfaces, as (inside,outside)", _pair, 1),
        "ONE": Argument("an interface, as (inside)", _one, 0),
        "NAT_ID": number(0, 2**31 - 1, rank=2),
        "CONNECTIONS": number(0, 2_000_000, rank=2),
    },
)


# Resolving.


def resolve(draft: Draft) -> tuple[Translation, ...]:
    """Return the static translations; adds an error for each name that is not defined."""
    found = (_translation(draft, static) for static in draft[Nat].statics)
    return tuple(translation for translation in found if translation is not None)


def _translation(draft: Draft, static: StaticDraft) -> Translation | None:
    real = _network(draft, static, static.real)
    mapped = None if static.mapped is None else _network(draft, static, static.mapped)
    if real is None or (static.mapped is not None and mapped is None):
        return None
    if static.services:
        if not _take_ports(draft, static):
            return None
    if mapped == real and static.real_port == static.mapped_port:
        return None  # no translation
    if mapped is not None and (mapped[0] != real[0] or mapped[2] - mapped[1] != real[2] - real[1]):
        _leave_out(draft, static, "the real and the mapped addresses are not as many")
        return None
    if mapped is None and real[1] != real[2]:
        _leave_out(draft, static, "several addresses become one")
        return None
    if mapped is None and not static.protocol:
        _leave_out(draft, static, "it would send all that is addressed to this machine to another")
        return None
    if mapped is not None and not (_is_network(real) and _is_network(mapped)):
        _leave_out(draft, static, "a range of addresses that is no network")
        return None
    return Translation(
        *static.pair,
        real[0],
        real[1:],
        None if mapped is None else mapped[1],
        static.protocol,
        static.real_port,
        static.mapped_port,
        static.limits,
        static.random_sequence_numbers,
        static.word,
    )


def _is_network(network: Network) -> bool:
    _, first, last = network
    size = last - first + 1
    return not size & (size - 1) and not first % size


def _leave_out(draft: Draft, static: StaticDraft, reason: str) -> None:
    draft.leave_out(static.word, f"not done: {reason}")


def _network(draft: Draft, static: StaticDraft, named: Network | str) -> Network | None:
    if not isinstance(named, str):
        return named
    objects = draft[Objects]
    if named in objects.networks:
        found = objects.networks[named]
        if found.content is None:
            _leave_out(draft, static, f"object {named} has no address")
        return found.content
    if named in objects.groups or named == "any":
        _leave_out(draft, static, "a translation of a group of addresses")
        return None
    known: Mapping[str, Any] = objects.networks
    undefined(draft, "object network", named, static.word, known)
    return None


def _take_ports(draft: Draft, static: StaticDraft) -> bool:
    """Find the ports that the services of a line stand for; return whether they are one each."""
    ports = []
    for name in static.services:
        services = draft[Objects].services
        if name not in services:
            undefined(draft, "object service", name, static.word, services)
            return False
        service = services[name].service
        if service is None or len(service.source) != 1 or service.protocol not in (TCP, UDP):
            _leave_out(draft, static, f"object service {name} is not one source port")
            return False
        static.protocol = service.protocol
        ports.append(service.source.ranges[0][0])
    static.real_port, static.mapped_port = ports
    return True


# Writing.


def lines(draft: Draft) -> Iterator[str]:
    """Yield the lines of the static translations, and the names that stand in them."""
    names = draft[Objects].names
    statics = draft[Nat].statics
    for name in sorted({w for s in statics for w in s.text.split() if w in names}):
        yield f"name {address_text(*names[name])} {name}"
    for static in statics:
        if static.object:
            yield f"object network {static.object}"
            yield f" {static.text}"
        else:
            yield static.text


def names_used(draft: Draft) -> set[str]:
    """Return the objects that the translations refer to."""
    found: set[str] = set()
    for static in draft[Nat].statics:
        found |= {n for n in (static.real, static.mapped, *static.services) if isinstance(n, str)}
    return found - {""}
