"""Which plan a connection gets: the policy, asked once for each connection.

The rules are the appliance's (docs/appliance.md, section 5): for each feature the first class that
matches a connection decides; a policy of an interface comes before the global one, feature by
feature. Features are inspection, the ``set connection`` lines, the TCP normalizer, and state bypass.

- A connection is seen as its first packet goes: from the client to the server, on the interface
  where it arrives or the one where it leaves. An interface's policy holds for both.
- ``no inspect esmtp`` exempts the class in any order within its policy-map.
- Where a static translates an address, an access list may name the real or the mapped one.
- An entry that is not certain to match, because of a time of day, say, counts where it means
  inspection: a permit in a class that inspects matches, a deny does not, and in any other class it
  is the reverse. So what nfinspect does not do never exempts anybody.

Nothing here changes while connections are classified, and the answers are few: equal plans are one
object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from typing import NamedTuple

from nfinspect.policy.model import (
    NO_LIMITS,
    ClassPolicy,
    ConnectionLimits,
    Entry,
    LimitScope,
    Match,
    Plan,
    Policy,
    ServicePolicy,
    Translation,
)
from nfinspect.policy.ranges import ALL_PORTS, BITS, Ranges, blocks

TCP = 6
PORT_BITS = 16


class OpeningConnection(NamedTuple):
    """A TCP connection as its SYN shows it, behind the translation of its destination."""

    version: int
    """4 or 6."""
    source: int
    source_port: int
    destination: int
    destination_port: int
    arrives: str = ""
    """The interface where it comes in, by the appliance's name; empty if that is not known."""
    leaves: str = ""


class Deciding(NamedTuple):
    """The class that decides about each feature; None if none does."""

    inspection: AppliedClass | None
    settings: AppliedClass | None
    normalizer: AppliedClass | None
    bypass: AppliedClass | None


class Classifier:
    """The classes of a policy, made ready to be asked."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        tables = ListTables()
        self._global = [_Policy(p, tables) for p in policy.service_policies if not p.interface]
        self._by_interface: dict[str, list[_Policy]] = {}
        for service_policy in policy.service_policies:
            if service_policy.interface:
                self._by_interface.setdefault(service_policy.interface, []).append(
                    _Policy(service_policy, tables)
                )
        self._translations = _Translations(policy.translations)
        self._plans: dict[tuple[int, ...], Plan] = {}

    def plan(self, connection: OpeningConnection) -> Plan:
        """Return what applies to *connection*."""
        deciding = self.deciding(connection)
        translation = self._translations.of_server(connection)
        key = tuple(map(id, (*deciding, translation)))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._make(deciding, translation)
        return plan

    def deciding(self, connection: OpeningConnection) -> Deciding:
        """Return which class decides about each feature."""
        policies = self._global
        if self._by_interface:
            found = list(self._by_interface.get(connection.arrives, ()))
            if connection.leaves != connection.arrives:
                found += self._by_interface.get(connection.leaves, ())
            policies = found + policies
        views = self._translations.views(connection)
        inspecting = settings = normalizing = bypassing = None
        for policy in policies:
            # Matching is what costs, so a class is asked only about what is still open.
            matched = _Matched(views)
            if inspecting is None:
                inspecting = policy.deciding(matched)
            if settings is None:
                settings = policy.first(policy.setting, matched)
            if normalizing is None:
                normalizing = policy.first(policy.normalizing, matched)
            if bypassing is None:
                bypassing = policy.first(policy.bypassing, matched)
        return Deciding(inspecting, settings, normalizing, bypassing)

    def entry(self, found: AppliedClass, connection: OpeningConnection) -> Entry | None:
        """Return the entry of an access list for which *connection* is in a class."""
        for view in self._translations.views(connection):
            for table in (found.certain, found.possible):
                entry = table.deciding(view)
                if entry is not None and entry.permit:
                    return entry
        return None

    def mapped(self, version: int, address: int, port: int, beyond: str) -> tuple[int, int] | None:
        """Return the address and the port that one end of a connection has on the interface *beyond*;
        None if no static translates it there, or if the mapped address is not known."""
        interfaces = {each.name: each for each in self._policy.interfaces}
        for translation in self._translations.of(version, address):
            interface = interfaces.get(translation.mapped_interface)
            if interface is not None and interface.name != beyond:
                continue  # its rules are for another interface (`rules.translation`)
            if translation.protocol not in (0, TCP):
                continue
            if translation.protocol and translation.real_port != port:
                continue
            mapped = translation.mapped_address(address)
            if mapped is None and interface is not None and interface.address is not None:
                mapped = interface.address[1] if interface.address[0] == version else None
            if mapped is not None:
                return mapped, translation.mapped_port if translation.protocol else port
        return None

    def _make(self, deciding: Deciding, translation: Translation | None) -> Plan:
        inspecting, setting, normalizing, bypassing = deciding
        settings = setting.policy.settings if setting else None
        limits = settings.limits if settings else ConnectionLimits()
        if translation is not None:
            limits = limits.lower(translation.limits)
        timeouts = self._policy.timeouts
        bypass = bypassing is not None
        return Plan(
            # What state bypass lets pass is not inspected.
            inspecting.policy.inspection if inspecting and not bypass else None,
            settings.timeouts(timeouts) if settings else timeouts,
            limits,
            inspecting.policy.name if inspecting else "",
            settings,
            setting.policy.name if setting else "",
            normalizing.policy.tcp_map if normalizing else "",
            bypass,
            translation,
            tuple(self._scopes(setting, translation)),
            self._policy.segment_sizes,
        )

    def _scopes(
        self, setting: AppliedClass | None, translation: Translation | None
    ) -> Iterator[LimitScope]:
        """Yield where a connection is counted."""
        settings = setting.policy.settings if setting else None
        if setting is not None and settings is not None and settings.limits != NO_LIMITS:
            name, where = setting.policy.name, setting.service_policy
            yield LimitScope(
                f"class {name}", class_key(name, where), settings.limits, where.interface
            )
        if translation is not None and translation.limits != NO_LIMITS:
            yield scope_of(translation, self._policy.old_lines)


def class_key(name: str, where: ServicePolicy) -> bytes:
    """Return what the counts of a class are kept under (`LimitScope.key`)."""
    return f"class {name} of {where.name} {where.where}\0".encode()


def scope_of(translation: Translation, old_lines: bool) -> LimitScope:
    """Return where the connections of a static with limits are counted."""
    name = translation.name
    key = f"{translation.real_interface},{translation.mapped_interface} {name}\0".encode()
    limits = translation.limits
    return LimitScope(name, key, limits, "", translation, old_lines)


class _Matched:
    """Which classes one connection is in; each is asked once, in each way."""

    def __init__(self, views: list[OpeningConnection]) -> None:
        self._views = views
        self._found: dict[tuple[int, bool], bool] = {}

    def __call__(self, asked: AppliedClass, in_doubt: bool) -> bool:
        key = id(asked), in_doubt
        found = self._found.get(key)
        if found is None:
            table = asked.possible if in_doubt else asked.certain
            found = self._found[key] = any(table.holds(view) for view in self._views)
        return found


class AppliedClass:
    """A class of a policy-map that is applied."""

    def __init__(
        self, policy: ClassPolicy, service_policy: ServicePolicy, tables: ListTables
    ) -> None:
        self.policy = policy
        self.service_policy = service_policy
        self.certain = ClassTable(policy.match, in_doubt=False, tables=tables)
        self.possible = self.certain
        if policy.match.entries and not tables.are_certain(policy.match.entries):
            self.possible = ClassTable(policy.match, in_doubt=True, tables=tables)


class _Policy:
    """A policy-map, with its classes by feature."""

    def __init__(self, policy: ServicePolicy, tables: ListTables) -> None:
        classes = [AppliedClass(c, policy, tables) for c in policy.classes]
        self.exempting = [c for c in classes if c.policy.exempts]
        self.inspecting = [c for c in classes if c.policy.inspection is not None]
        self.setting = [c for c in classes if c.policy.settings is not None]
        self.normalizing = [c for c in classes if c.policy.tcp_map]
        self.bypassing = [c for c in classes if c.policy.state_bypass]

    def deciding(self, matched: _Matched) -> AppliedClass | None:
        """Return the class that decides about inspection."""
        found = self.first(self.exempting, matched)
        return found or next((c for c in self.inspecting if matched(c, True)), None)

    def first(self, classes: Iterable[AppliedClass], matched: _Matched) -> AppliedClass | None:
        return next((c for c in classes if matched(c, False)), None)


# Which connections a class holds.


class ListTable:
    """The entries of an access list, made ready to be asked.

    The list is not read from its top: entries are found by source, by destination or by port,
    whichever has the fewest candidates, so that one of thousands is found in microseconds.
    """

    def __init__(self, entries: Sequence[Entry], in_doubt: bool) -> None:
        # An uncertain entry that does not count here matches nothing.
        counted = [e for e in entries if e.certain or e.permit == in_doubt]
        of_tcp: dict[int, list[tuple[Ranges, Ranges]]] = {}
        """By the identity of what entries share."""
        for entry in counted:
            if id(entry.services) not in of_tcp:
                of_tcp[id(entry.services)] = _tcp(entry)
        self._entries = [e for e in counted if of_tcp[id(e.services)]]
        self._services = [of_tcp[id(e.services)] for e in self._entries]
        ports = {id(s): Ranges.of(r for _, d in s for r in d.ranges) for s in of_tcp.values()}
        self._sources = {v: _ByBits(BITS[v], [e.source.of(v) for e in self._entries]) for v in BITS}
        self._destinations = {
            v: _ByBits(BITS[v], [e.destination.of(v) for e in self._entries]) for v in BITS
        }
        self._by_port = _ByBits(PORT_BITS, [ports[id(s)] for s in self._services])

    def deciding(self, connection: OpeningConnection) -> Entry | None:
        """Return the entry that decides about *connection*: the first that matches."""
        version, source, source_port, destination, destination_port, *_ = connection
        candidates = min(
            self._sources[version].candidates(source),
            self._destinations[version].candidates(destination),
            self._by_port.candidates(destination_port),
            key=lambda lists: sum(map(len, lists)),
        )
        for number in merge(*candidates):
            entry = self._entries[number]
            if (
                source in entry.source.of(version)
                and destination in entry.destination.of(version)
                and any(
                    destination_port in theirs and source_port in ours
                    for ours, theirs in self._services[number]
                )
            ):
                return entry
        return None


class ListTables:
    """The tables of several lists: classes that share a list share its table."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, bool], ListTable] = {}
        self._certain: dict[int, bool] = {}

    def are_certain(self, entries: Sequence[Entry]) -> bool:
        """Whether all *entries* are certain."""
        found = self._certain.get(id(entries))
        if found is None:
            found = self._certain[id(entries)] = all(e.certain for e in entries)
        return found

    def of(self, entries: Sequence[Entry], in_doubt: bool) -> ListTable:
        """Return the table of *entries*, which live as long as this object."""
        key = id(entries), in_doubt
        table = self._made.get(key)
        if table is None:
            table = self._made[key] = ListTable(entries, in_doubt)
        return table


class ClassTable:
    """The connections of a class: by the server's port, and by an access list."""

    def __init__(self, match: Match, in_doubt: bool, tables: ListTables) -> None:
        self._ports = None if match.ports == ALL_PORTS else match.ports
        self._list = None if match.entries is None else tables.of(match.entries, in_doubt)

    def holds(self, connection: OpeningConnection) -> bool:
        """Whether *connection* is in the class."""
        if self._ports is not None and connection.destination_port not in self._ports:
            return False
        if self._list is None:
            return True
        entry = self._list.deciding(connection)
        return entry is not None and entry.permit

    def deciding(self, connection: OpeningConnection) -> Entry | None:
        """Return the entry of the class's list, if it has one, that decides about *connection*."""
        return None if self._list is None else self._list.deciding(connection)


def _tcp(entry: Entry) -> list[tuple[Ranges, Ranges]]:
    """Return the source and destination ports for which *entry* matches TCP."""
    return [(s, d) for protocol, s, d in entry.services if protocol in (0, TCP) and s and d]


class _ByBits:
    """Entries by the numbers that they name, addresses or ports: for each length of prefix, by its bits.

    Entries with the same set share one list.
    """

    def __init__(self, bits: int, sets: Sequence[Ranges]) -> None:
        self._bits = bits
        self._by_length: dict[int, dict[int, list[list[int]]]] = {}
        entries: dict[Ranges, list[int]] = {}
        # A large set, an object-group's, is not hashed for each entry that shares it.
        shared: dict[int, list[int]] = {}
        for number, found in enumerate(sets):
            numbers = shared.get(id(found))
            if numbers is None:
                numbers = shared[id(found)] = entries.setdefault(found, [])
            numbers.append(number)
        for found, numbers in entries.items():
            for length, prefix in blocks(bits, found):
                self._by_length.setdefault(length, {}).setdefault(prefix, []).append(numbers)

    def candidates(self, number: int) -> list[list[int]]:
        """Return the entries that *number* may match, in sorted lists."""
        found: list[list[int]] = []
        for length, networks in self._by_length.items():
            found += networks.get(number >> self._bits - length, ())
        return found


# Translated addresses.


@dataclass(slots=True)
class _Translations:
    """Static translations by real address."""

    translations: tuple[Translation, ...]
    _single: dict[tuple[int, int], list[Translation]] = field(default_factory=dict)
    _networks: list[Translation] = field(default_factory=list)

    def __post_init__(self) -> None:
        for translation in self.translations:
            first, last = translation.real
            if first == last:
                self._single.setdefault((translation.version, first), []).append(translation)
            else:
                self._networks.append(translation)

    def of(self, version: int, address: int) -> Iterator[Translation]:
        yield from self._single.get((version, address), ())
        for translation in self._networks:
            if translation.version == version:
                if translation.real[0] <= address <= translation.real[1]:
                    yield translation

    def of_server(self, connection: OpeningConnection) -> Translation | None:
        """Return the translation that the server of *connection* has, for its limits."""
        for translation in self.of(connection.version, connection.destination):
            if not translation.protocol:
                return translation
            if (translation.protocol, translation.real_port) == (TCP, connection.destination_port):
                return translation
        return None

    def views(self, connection: OpeningConnection) -> list[OpeningConnection]:
        """Return *connection*, and as it is with mapped addresses."""
        if not self.translations:
            return [connection]
        version, source, source_port, destination, destination_port, *_ = connection
        sources = self._mapped(version, source, source_port)
        destinations = self._mapped(version, destination, destination_port)
        return [
            connection._replace(source=s, source_port=sp, destination=d, destination_port=dp)
            for s, sp in sources
            for d, dp in destinations
        ]

    def _mapped(self, version: int, address: int, port: int) -> list[tuple[int, int]]:
        found = [(address, port)]
        for translation in self.of(version, address):
            mapped = translation.mapped_address(address)
            if mapped is None:
                continue
            if not translation.protocol:
                found.append((mapped, port))
            elif (translation.protocol, translation.real_port) == (TCP, port):
                found.append((mapped, translation.mapped_port))
        return found
