"""Names, objects and object-groups: addresses and services under a name.

An object may be listed twice: the second block adds to the first, as on the appliance, whose
listings have the ``nat`` line of an object in a block of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from nfinspect.policy.commands.numbers import IP, TCP, UDP, port_words, protocol_word
from nfinspect.policy.errors import MAX_ERRORS
from nfinspect.policy.grammar import GLOBAL, Draft, Family, Mode, Row, Skipped, nothing
from nfinspect.policy.lexer import Word
from nfinspect.policy.ranges import (
    ALL_PORTS,
    ANY,
    ANY4,
    ANY6,
    BITS,
    NOBODY,
    Addresses,
    Ranges,
    address_text,
    addresses,
    parse_address,
    prefixes,
)
from nfinspect.policy.syntax import (
    Argument,
    Fragment,
    Statement,
    WordError,
    closest,
    name,
)

Found = TypeVar("Found")

DEEPEST = 50
"""Object-groups nested in each other."""

LARGEST = 500_000
"""Networks, ranges and services in all object-groups together, those of nested ones included."""

NETWORK_OBJECT = Mode("object network")
SERVICE_OBJECT = Mode("object service")
NETWORK_GROUP = Mode("object-group network")
SERVICE_GROUP = Mode("object-group service")
PROTOCOL_GROUP = Mode("object-group protocol")


@dataclass(frozen=True, slots=True)
class Operand:
    """An address as a line gives it."""

    kind: str
    """``any``, ``any4``, ``any6``, ``network``, ``object``, ``object-group`` or ``interface``."""
    name: str = ""
    """Of an object, group or interface."""
    version: int = 4
    first: int = 0
    last: int = 0
    """Of a network."""
    bare: bool = field(default=False, compare=False)
    """Written as an address alone, without ``host`` or a mask."""


@dataclass(frozen=True, slots=True)
class Service:
    """A protocol and its ports."""

    protocol: int
    source: Ranges = ALL_PORTS
    destination: Ranges = ALL_PORTS

    def covers(self, other: Service) -> bool:
        return (
            self.protocol in (IP, other.protocol)
            and self.source.covers(other.source)
            and self.destination.covers(other.destination)
        )


@dataclass(slots=True)
class NetworkObject:
    """An ``object network``."""

    word: Word
    content: tuple[int, int, int] | None = None
    """Version, first and last address."""
    fqdn: str = ""


@dataclass(slots=True)
class ServiceObject:
    word: Word
    service: Service | None = None


@dataclass(slots=True)
class Group:
    """An ``object-group``; its members are of several types, by its kind."""

    word: Word
    kind: str
    protocols: tuple[int, ...] = ()
    """Of ``object-group service NAME tcp``."""
    members: list[Operand | Ranges | Service | int] = field(default_factory=list)
    nested: list[Word] = field(default_factory=list)
    """Names of groups, or of service objects, that are members."""


@dataclass(slots=True)
class Objects:
    """What a text says about objects."""

    names: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Addresses by name."""
    networks: dict[str, NetworkObject] = field(default_factory=dict)
    services: dict[str, ServiceObject] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    resolved: dict[tuple[str, str], Any] = field(default_factory=dict)
    """What groups stand for, by purpose and name: each is resolved once."""
    size: int = 0
    """Of what is resolved: see `LARGEST`."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What an address in a line stands for."""

    addresses: Addresses = NOBODY
    unknown: str = ""
    """Why there may be more addresses than these: the filter does not look up names, for one."""

    def __or__(self, other: Resolved) -> Resolved:
        return Resolved(self.addresses | other.addresses, self.unknown or other.unknown)


# Reading.


def read_network(text: str, draft: Draft) -> tuple[int, int, int]:
    """Read an address, an IPv6 prefix or a name; return version, first and last address."""
    address, slash, length = text.partition("/")
    try:
        version, first = parse_address(address)
    except ValueError:
        if draft is not None and text in draft[Objects].names:
            version, first = draft[Objects].names[text]
            return version, first, first
        what = "an address" if text[:1].isdigit() else "an address or a defined name"
        raise WordError(f"not {what}") from None
    if not slash:
        if version == 4 and 0 < first < 1 << 24:
            raise WordError("not an address; the appliance's masks are netmasks, as 255.255.255.0")
        return version, first, first
    if not (length.isascii() and length.isdigit() and len(length) < 4) or (
        int(length) > BITS[version]
    ):
        raise WordError("the length of the prefix is out of range")
    free = BITS[version] - int(length)
    first = first >> free << free
    return version, first, first + (1 << free) - 1


@lru_cache(64)
def read_mask(text: str, _: object) -> int:
    """Return the netmask as a number."""
    try:
        version, mask = parse_address(text)
    except ValueError:
        raise WordError("not a netmask") from None
    inverted = mask ^ 0xFFFF_FFFF
    if version != 4 or inverted & (inverted + 1):
        raise WordError("not a netmask")
    return mask


def operand(values: Mapping[str, Any]) -> Operand:
    """Return the address that a line's words stand for."""
    if "any" in values:
        return _ANY[values["any"]]
    for label, kind in (
        ("interface", "interface"),
        ("object", "object"),
        ("group", "object-group"),
    ):
        if label in values:
            return Operand(kind, values[label])
    bare = "network" in values
    version, first, last = values["network" if bare else "host"]
    if "mask" in values:
        if version != 4:
            raise WordError("an IPv6 network is written as a prefix: 2001:db8::/32", "mask")
        bare = False
        first &= values["mask"]
        last = first | (values["mask"] ^ 0xFFFF_FFFF)
    return Operand("network", "", version, first, last, bare and first == last)


_ANY = {kind: Operand(kind) for kind in ("any", "any4", "any6")}


def _name(draft: Draft, _: None, statement: Statement[Any]) -> None:
    version, first, last = statement["network"]
    if first != last:
        draft.error(statement.word("network"), "a name stands for one address")
    draft[Objects].names[statement["name"]] = version, first


def _network_object(draft: Draft, _: None, statement: Statement[Any]) -> NetworkObject:
    word = statement.word("object")
    return draft[Objects].networks.setdefault(word.text, NetworkObject(word))


def _host(draft: Draft, subject: NetworkObject, statement: Statement[Any]) -> None:
    version, first, last = statement["network"]
    if "mask" in statement:
        first &= statement["mask"]
        last = first | (statement["mask"] ^ 0xFFFF_FFFF)
    subject.content = version, first, last


def _range(draft: Draft, subject: NetworkObject, statement: Statement[Any]) -> None:
    (version, first, _), (last_version, last, _) = statement["first"], statement["last"]
    if version != last_version or last < first:
        draft.error(statement.word("last"), "the range ends before it begins")
    else:
        subject.content = version, first, last


def _fqdn(draft: Draft, subject: NetworkObject, statement: Statement[Any]) -> None:
    subject.fqdn = statement["word"]


def _service_object(draft: Draft, _: None, statement: Statement[Any]) -> ServiceObject:
    word = statement.word("object")
    return draft[Objects].services.setdefault(word.text, ServiceObject(word))


def _service(draft: Draft, subject: ServiceObject, statement: Statement[Any]) -> None:
    (subject.service,) = _services(statement)


def _services(statement: Statement[Any]) -> list[Service]:
    source = statement.get("source", ALL_PORTS)
    destination = statement.get("destination", ALL_PORTS)
    protocols = (TCP, UDP) if "both" in statement else (statement["protocol"],)
    return [Service(protocol, source, destination) for protocol in protocols]


def _group(draft: Draft, _: None, statement: Statement[Any]) -> Group:
    word = statement.word("object")
    kind = statement["kind"]
    protocols = {"tcp": (TCP,), "udp": (UDP,), "tcp-udp": (TCP, UDP)}
    group = Group(word, kind, protocols.get(statement.get("protocol", ""), ()))
    found = draft[Objects].groups.setdefault(word.text, group)
    if found.kind != kind:
        line = found.word.line.number
        draft.error(word, f"{word.quoted} is already an object-group {found.kind}, in line {line}")
        return group
    return found


def _member(draft: Draft, subject: Group, statement: Statement[Any]) -> None:
    value: Operand = statement["address"]
    subject.members.append(value)


def _port_member(draft: Draft, subject: Group, statement: Statement[Any]) -> None:
    subject.members.append(statement["ports"])


def _service_member(draft: Draft, subject: Group, statement: Statement[Any]) -> None:
    subject.members += _services(statement)


def _protocol_member(draft: Draft, subject: Group, statement: Statement[Any]) -> None:
    subject.members.append(statement["protocol"])


def _nest(draft: Draft, subject: Group, statement: Statement[Any]) -> None:
    subject.nested.append(statement.word("object"))


def _group_of_services(text: str, draft: Draft) -> str:
    group = draft[Objects].groups.get(text) if draft is not None else None
    if group is None or group.kind != "service":
        raise WordError("no object-group service of that name is defined above")
    return text


ARGUMENTS = {
    "OBJECT": name(64),
    "INTERFACE": name(48),
    "SERVICE_GROUP": Argument("an object-group service", _group_of_services, rank=1),
    "NETWORK_GROUP": name(64),
    "MASK": Argument("a netmask", read_mask, rank=0),
    "NETWORK": Argument("an address", read_network, rank=5),
}

FRAGMENTS = {
    "address": Fragment(
        "any:{any | any4 | any6} | host host:NETWORK | interface INTERFACE | object OBJECT"
        " | object-group group:NETWORK_GROUP | network:NETWORK [MASK]",
        operand,
    ),
    "member": Fragment("host host:NETWORK | object OBJECT | network:NETWORK [MASK]", operand),
}

_SERVICE = "[source source:<ports>] [destination destination:<ports> | destination:<ports>]"

FAMILY = Family(
    {
        GLOBAL: (
            Row("name NETWORK name:OBJECT [description TEXT]", _name),
            Row("names", nothing),
            Row("no names", nothing),
            Row("object network OBJECT", _network_object, NETWORK_OBJECT),
            Row("object service OBJECT", _service_object, SERVICE_OBJECT),
            Row("object-group kind:network OBJECT", _group, NETWORK_GROUP),
            Row(
                "object-group kind:service OBJECT [protocol:{tcp | udp | tcp-udp}]",
                _group,
                SERVICE_GROUP,
            ),
            Row("object-group kind:protocol OBJECT", _group, PROTOCOL_GROUP),
        ),
        NETWORK_OBJECT: (
            Row("description TEXT", nothing),
            Row("host NETWORK", _host),
            Row("subnet NETWORK [MASK]", _host),
            Row("range first:NETWORK last:NETWORK", _range),
            Row("fqdn [v4 | v6] WORD", _fqdn),
        ),
        SERVICE_OBJECT: (
            Row("description TEXT", nothing),
            Row(f"service PROTOCOL {_SERVICE}", _service),
            Row("service protocol:{icmp | icmp6} [REST]", nothing),
        ),
        NETWORK_GROUP: (
            Row("description TEXT", nothing),
            Row("network-object address:<member>", _member),
            Row("group-object OBJECT", _nest),
        ),
        SERVICE_GROUP: (
            Row("description TEXT", nothing),
            Row("port-object ports:<server-ports>", _port_member),
            Row(f"service-object {{PROTOCOL | both:tcp-udp}} {_SERVICE}", _service_member),
            Row("service-object {icmp | icmp6} [REST]", nothing),
            Row("service-object object OBJECT", _nest),
            Row("group-object OBJECT", _nest),
        ),
        PROTOCOL_GROUP: (
            Row("description TEXT", nothing),
            Row("protocol-object PROTOCOL", _protocol_member),
            Row("group-object OBJECT", _nest),
        ),
    },
    ARGUMENTS,
    FRAGMENTS,
    {
        GLOBAL: {
            f"object-group {kind}": Skipped(frozenset())
            for kind in ("icmp-type", "user", "security", "network-service")
        }
        | {"object network-service": Skipped(frozenset())}
    },
)


# Resolving.


def resolve(draft: Draft, operand: Operand, word: Word) -> Resolved:
    """Return what an address in a line stands for; *word* is where errors are reported."""
    match operand.kind:
        case "any":
            return Resolved(ANY)
        case "any4":
            return Resolved(ANY4)
        case "any6":
            return Resolved(ANY6)
        case "network":
            return Resolved(addresses(operand.version, operand.first, operand.last))
        case "object":
            return _of_object(draft, operand.name, word)
        case "object-group":
            return _of_group(draft, operand.name, word, 0)
    raise AssertionError(operand.kind)  # an interface: access_lists resolves it


def undefined(draft: Draft, kind: str, name: str, word: Word, known: Mapping[str, Any]) -> None:
    """Report a name that is not defined. Similar names are looked for as long as errors are shown."""
    shown = f"'{name}'" if len(name) <= 60 else f"'{name[:57]}...'"
    suggestion = closest(name, known) if len(draft.findings) < MAX_ERRORS else ""
    draft.findings.append(word.finding(f"{kind} {shown} is not defined", suggestion=suggestion))


def _of_object(draft: Draft, name: str, word: Word) -> Resolved:
    networks = draft[Objects].networks
    if name not in networks:
        undefined(draft, "object network", name, word, networks)
        return Resolved()
    found = networks[name]
    if found.fqdn:
        return Resolved(unknown=f"object {name} is the name {found.fqdn}, which is not looked up")
    return Resolved(addresses(*found.content)) if found.content else Resolved()


def _once(
    draft: Draft, purpose: str, name: str, word: Word, find: Callable[[], Found], nothing: Found
) -> Found:
    """Return what *find* finds, which is called once for each name; a group in itself is an error."""
    resolved = draft[Objects].resolved
    key = purpose, name
    if key in resolved and resolved[key] is None:
        draft.error(word, f"object-group '{name}' contains itself")
        return nothing
    if key not in resolved:
        resolved[key] = None
        resolved[key] = find() if draft[Objects].size <= LARGEST else nothing
    return resolved[key]  # type: ignore[no-any-return]


def _count(draft: Draft, name: str, word: Word, size: int) -> bool:
    """Count what a group holds; return whether there is room for it."""
    objects = draft[Objects]
    had_room = objects.size <= LARGEST
    objects.size += size
    if had_room and objects.size > LARGEST:
        draft.error(
            word,
            f"object-group '{name}', with those in it, is one too many: more than {LARGEST} networks"
            " and services in all groups",
        )
    return objects.size <= LARGEST


def _of_group(draft: Draft, name: str, word: Word, depth: int) -> Resolved:
    group = _find_group(draft, name, word, depth, "network")
    if group is None:
        return Resolved()

    def find() -> Resolved:
        parts = [resolve(draft, m, group.word) for m in group.members if isinstance(m, Operand)]
        parts += [_of_group(draft, n.text, n, depth + 1) for n in group.nested]
        if len(parts) == 1:
            return parts[0]
        size = sum(len(p.addresses.v4.ranges) + len(p.addresses.v6.ranges) for p in parts)
        if not _count(draft, name, word, size):
            return Resolved()
        unknown = next((part.unknown for part in parts if part.unknown), "")
        return Resolved(
            Addresses(
                Ranges.of(r for part in parts for r in part.addresses.v4.ranges),
                Ranges.of(r for part in parts for r in part.addresses.v6.ranges),
            ),
            unknown,
        )

    return _once(draft, "network", name, word, find, Resolved())


def _find_group(draft: Draft, name: str, word: Word, depth: int, *kinds: str) -> Group | None:
    groups = draft[Objects].groups
    if name not in groups:
        undefined(draft, "object-group", name, word, groups)
    elif groups[name].kind not in kinds:
        draft.error(word, f"'{name}' is an object-group {groups[name].kind}", kinds)
    elif depth > DEEPEST:
        draft.error(word, f"object-groups are nested more than {DEEPEST} deep")
    else:
        return groups[name]
    return None


def services_of(draft: Draft, kind: str, name: str, word: Word) -> tuple[Service, ...]:
    """Return the services of an object or object-group in a protocol's place."""
    if kind == "object":
        services = draft[Objects].services
        if name not in services:
            undefined(draft, "object service", name, word, services)
            return ()
        found = services[name].service
        return (found,) if found else ()
    return _services_of_group(draft, name, word, 0)


def _services_of_group(draft: Draft, name: str, word: Word, depth: int) -> tuple[Service, ...]:
    group = _find_group(draft, name, word, depth, "service", "protocol")
    if group is None:
        return ()

    def find() -> tuple[Service, ...]:
        found: list[Service] = []
        for member in group.members:
            match member:
                case Service():
                    found.append(member)
                case int():
                    found.append(Service(member))
                case Ranges():
                    found += [Service(p, destination=member) for p in group.protocols]
        for nested in group.nested:
            if nested.text in draft[Objects].services:
                found += services_of(draft, "object", nested.text, nested)
            else:
                found += _services_of_group(draft, nested.text, nested, depth + 1)
        return tuple(dict.fromkeys(found)) if _count(draft, name, word, len(found)) else ()

    return _once(draft, "service", name, word, find, ())


def ports_of(draft: Draft, name: str, word: Word, depth: int = 0) -> Ranges:
    """Return the ports of an object-group service in a port's place."""
    group = _find_group(draft, name, word, depth, "service")
    if group is None:
        return Ranges()

    def find() -> Ranges:
        found: list[Ranges] = []
        for member in group.members:
            if isinstance(member, Ranges):
                found.append(member)
            elif isinstance(member, Service):
                found.append(member.destination)
        for nested in group.nested:
            if nested.text in draft[Objects].groups:
                found.append(ports_of(draft, nested.text, nested, depth + 1))
        size = sum(len(ports.ranges) for ports in found)
        if not _count(draft, name, word, size):
            return Ranges()
        return Ranges.of(r for ports in found for r in ports.ranges)

    return _once(draft, "port", name, word, find, Ranges())


# Writing.


def operand_words(operand: Operand) -> str:
    """Return an address as a line writes it."""
    if operand.kind != "network":
        return f"{operand.kind} {operand.name}".rstrip()
    if operand.first == operand.last:
        return f"host {address_text(operand.version, operand.first)}"
    return network_words(operand.version, operand.first, operand.last)


def network_words(version: int, first: int, last: int) -> str:
    """Return a network, which may not be a mere range, as a line writes it."""
    ((length, _),) = prefixes(version, Ranges(((first, last),)))
    if version == 6:
        return f"{address_text(6, first)}/{length}"
    return f"{address_text(4, first)} {address_text(4, (1 << 32) - (1 << 32 - length))}"


def service_words(service: Service) -> str:
    """Return a service as a line writes it."""
    words = [protocol_word(service.protocol)]
    if service.source != ALL_PORTS:
        words.append(f"source {port_words(service.source)}")
    if service.destination != ALL_PORTS:
        words.append(f"destination {port_words(service.destination)}")
    return " ".join(words)


def lines(draft: Draft, names: set[str]) -> Iterator[str]:
    """Yield the definitions of the objects and groups *names*, and of what they are made of, each
    behind what it needs."""
    objects = draft[Objects]
    done: set[str] = set()
    for wanted in sorted(names):
        yield from _definition(objects, wanted, done, 0)


def _definition(objects: Objects, name: str, done: set[str], depth: int) -> Iterator[str]:
    if name in done or depth > DEEPEST:
        return
    done.add(name)
    if network := objects.networks.get(name):
        yield f"object network {name}"
        if network.fqdn:
            yield f" fqdn {network.fqdn}"
        elif network.content is not None:
            yield f" {_content_words(*network.content)}"
    if service := objects.services.get(name):
        yield f"object service {name}"
        if service.service is not None:
            yield f" service {service_words(service.service)}"
    if group := objects.groups.get(name):
        members = [m.name for m in group.members if isinstance(m, Operand) and m.name]
        for nested in (*members, *(word.text for word in group.nested)):
            yield from _definition(objects, nested, done, depth + 1)
        suffix = {(): "", (TCP,): " tcp", (UDP,): " udp", (TCP, UDP): " tcp-udp"}
        yield f"object-group {group.kind} {name}{suffix[group.protocols]}"
        for member in group.members:
            match member:
                case Operand():
                    yield f" network-object {operand_words(member)}"
                case Ranges():
                    yield f" port-object {port_words(member)}"
                case Service():
                    yield f" service-object {service_words(member)}"
                case int():
                    yield f" protocol-object {protocol_word(member)}"
        for word in group.nested:
            what = "service-object object" if word.text in objects.services else "group-object"
            yield f" {what} {word.text}"


def _content_words(version: int, first: int, last: int) -> str:
    if first == last:
        return f"host {address_text(version, first)}"
    if len(list(prefixes(version, Ranges(((first, last),))))) == 1:
        return f"subnet {network_words(version, first, last)}"
    return f"range {address_text(version, first)} {address_text(version, last)}"
