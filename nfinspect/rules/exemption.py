"""Which connections need no filter: the chains that mark them at their first packet, so that none of
their packets is queued.

The chains ask what `policy.classify` asks, in its order: the policy of the interface where the packet
arrives, that of the one where it leaves, the global one; in each of them the classes that exempt, and
then those that inspect. A class is a chain of its access list: a permit goes to `EXEMPT` or `QUEUE`, a
deny returns. The mark is conntrack's, so both directions follow the first packet, and connections
that are open when the rules change stay where they are.

What the rules do not say is queued, and the filter decides. That are

- classes that would need more rules than `MOST_RULES` allows
- where interfaces have policies of their own, connections that neither arrive on nor leave by a named
  interface, which may be those of a bridge's ports; with *bridged* these are seen. If an interface with a policy has
  a name that rules cannot say, connections that do not do both
- connections from a server's port, which the filter refuses
- state bypass
"""

from __future__ import annotations

import re
import socket
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice

from nfinspect.policy.model import ClassPolicy, Entry, Match, Policy, ServicePolicy, Translation
from nfinspect.policy.ranges import ALL_PORTS, ANY, BITS, Ranges, prefixes
from nfinspect.rules.diversion import CHAIN, EXEMPT, QUEUE, Exemption, port_matches

TCP = 6

NEW = f"{CHAIN}-NEW"
"""Decides about first packets."""
FROM, GLOBAL = f"{CHAIN}-FROM", f"{CHAIN}-GLOBAL"
"""With policies of interfaces: packets that surely come in elsewhere, and the global policy."""

OUTSIDE, INSIDE = "outside", "inside"
"""Where clients and servers are if no interface is named (`flow.core`)."""

MOST_RULES = 4096
"""Of classes, of one policy and IP version. Only first packets meet them."""

_DEVICE = re.compile(r"[A-Za-z0-9_.@-]{1,15}", re.ASCII)
"""Names of interfaces that rules can name."""

_NOBODY = Ranges()
_EVERYTHING = (Entry(True, ((0, ALL_PORTS, ALL_PORTS),), ANY, ANY),)


def exempting(policy: Policy, *, bridged: bool = False) -> dict[int, Exemption]:
    """Return the chains that decide which connections are exempt, by IP version; *bridged* includes
    the ports of bridges."""
    about_mail = [
        service_policy
        for service_policy in policy.service_policies
        if any(c.exempts or c.inspection for c in service_policy.classes)
    ]
    if not any(c.exempts for each in about_mail for c in each.classes):
        return {}
    made = {version: _Chains(policy, version, bridged).of(about_mail) for version in BITS}
    return {version: exemption for version, exemption in made.items() if exemption is not None}


@dataclass(slots=True)
class _Chains:
    """The chains of one IP version in the making."""

    policy: Policy
    version: int
    bridged: bool
    chains: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    left: int = 0
    """How many rules of classes may still be made."""

    def of(self, policies: Sequence[ServicePolicy]) -> Exemption | None:
        self.left = MOST_RULES
        ports = sorted(self.policy.plans)
        servers = port_matches("--sport", ports)
        self.chains[NEW] = [f'{m} -m comment --comment "no client" -j RETURN' for m in servers]
        of_interfaces = [each for each in policies if each.interface]
        everywhere = [each for each in policies if not each.interface]
        if not of_interfaces:
            self._write(NEW, everywhere)
        elif not self.policy.interfaces:
            seen = [p for name in (OUTSIDE, INSIDE) for p in of_interfaces if p.interface == name]
            self._write(NEW, [*seen, *everywhere])
        else:
            self._by_interface(of_interfaces, everywhere)
        if not any(f"-g {EXEMPT}" in rule for rules in self.chains.values() for rule in rules):
            return Exemption({}, tuple(self.notes)) if self.notes else None
        return Exemption({name: tuple(r) for name, r in self.chains.items()}, tuple(self.notes))

    def _by_interface(
        self, of_interfaces: Sequence[ServicePolicy], everywhere: Sequence[ServicePolicy]
    ) -> None:
        names = {each.device: each.name for each in self.policy.interfaces}
        for each in of_interfaces:  # a device without a name has its own
            names.setdefault(each.interface, each.interface)
        arriving: list[str] = []
        leaving: list[str] = []
        nameless = False
        for number, each in enumerate(of_interfaces, 1):
            chain = f"{CHAIN}-I{number}"
            self.chains[chain] = []
            self._write(chain, [each], is_last=False)
            for device in (device for device, name in names.items() if name == each.interface):
                nameless |= not _DEVICE.fullmatch(device)
                arriving += [f"{m} -j {chain}" for m in self._on("i", device)]
                leaving += [f"{m} -j {chain}" for m in self._on("o", device)]
        self.chains[NEW] += arriving
        self.chains[GLOBAL] = []
        self._write(GLOBAL, everywhere)
        into = [match for device in names for match in self._on("i", device)]
        out = [match for device in names for match in self._on("o", device)]
        if nameless:  # what does not surely come in elsewhere is left to the filter
            self.chains[NEW] += [f"{match} -j {FROM}" for match in into]
            self.chains[FROM] = [*leaving, *(f"{match} -j {GLOBAL}" for match in out)]
        elif self.bridged:
            self.chains[NEW] += [*leaving, f"-j {GLOBAL}"]
        else:  # neither here nor there: perhaps a bridge's ports, which these rules do not see
            self.chains[NEW] += [*leaving, *(f"{match} -j {GLOBAL}" for match in (*into, *out))]

    def _on(self, side: str, device: str) -> Iterator[str]:
        """Yield what matches packets that come in on, or leave by, a device."""
        if not _DEVICE.fullmatch(device):
            return
        if not self.bridged:
            yield f"-{side} {device}"
        elif side == "i":
            yield f"-m physdev --physdev-in {device}"
            yield f"-i {device} -m physdev ! --physdev-is-in"
        else:
            yield f"-m physdev --physdev-out {device} --physdev-is-bridged"
            yield f"-o {device} -m physdev ! --physdev-is-bridged"

    def _write(
        self, chain: str, policies: Sequence[ServicePolicy], *, is_last: bool = True
    ) -> None:
        """Write what *policies* decide, one after another; who is still undecided after the last
        one is queued anyway."""
        for number, each in enumerate(policies, 1):
            for found in each.classes:
                if found.exempts:
                    self._class(chain, each, found, EXEMPT)
            if not is_last or number < len(policies):
                for found in each.classes:
                    if found.inspection is not None:
                        self._class(chain, each, found, QUEUE)

    def _class(self, chain: str, policy: ServicePolicy, found: ClassPolicy, target: str) -> None:
        """Write what sends the connections of a class to *target*."""
        comment = f'-m comment --comment "class {_plain(found.name)}"'
        if found.match.entries is None and not self.policy.translations:
            ports = [port for port in self.policy.plans if port in found.match.ports]
            for matches in self._ports(ports):
                self.chains[chain].append(_joined(matches, comment, f"-g {target}"))
            return
        lists = []
        for made in _lists(found.match, self.policy, self.version, in_doubt=target == QUEUE):
            rules = list(islice(dict.fromkeys(self._rules(made, target)), self.left + 1))
            self.left -= len(rules)
            if self.left < 0:
                self.left = 0
                self._too_many(chain, policy, found, target)
                return
            lists.append(rules)
        for rules in lists:
            if not any(rule.endswith(f"-g {target}") for rule in rules):
                continue
            name = f"{CHAIN}-C{sum(each.startswith(f'{CHAIN}-C') for each in self.chains) + 1}"
            self.chains[name] = rules
            self.chains[chain].append(f"{comment} -j {name}")

    def _too_many(self, chain: str, policy: ServicePolicy, found: ClassPolicy, target: str) -> None:
        if target == QUEUE:
            self.chains[chain].append(f"-g {QUEUE}")
        self.notes.append(
            f"class {found.name} of policy-map {policy.name} would need more rules (at most {MOST_RULES}"
            f" of all classes): its IPv{self.version} connections go to the filter, which"
            f" {'decides' if target == QUEUE else 'exempts them'}"
        )

    def _rules(self, entries: Iterable[_SeenEntry], target: str) -> Iterator[str]:
        for entry in entries:
            end = f"-g {target}" if entry.permit else "-j RETURN"
            for source in self._networks("-s", entry.source):
                for destination in self._networks("-d", entry.destination):
                    for client in _source_ports(entry.source_ports):
                        for matches in self._ports(entry.ports, client):
                            yield _joined(source, destination, matches, end)

    def _ports(self, ports: Sequence[int], client: str = "") -> Iterator[str]:
        """Yield what matches the servers' *ports*; all that are diverted need no match."""
        if client:
            client = f"-p tcp -m tcp {client}"
        if len(ports) == len(self.policy.plans):
            yield client
            return
        for matches in port_matches("--dport", ports):
            yield _joined(client, matches.removeprefix("-p tcp ") if client else matches)

    def _networks(self, option: str, ranges: Ranges) -> Iterator[str]:
        family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        bits = BITS[self.version]
        for length, prefix in prefixes(self.version, ranges):
            address = (prefix << bits - length).to_bytes(bits // 8)
            yield f"{option} {socket.inet_ntop(family, address)}/{length}" if length else ""


def _source_ports(ports: Ranges) -> Iterator[str]:
    if ports == ALL_PORTS:
        yield ""
        return
    for first, last in ports.ranges:
        yield f"--sport {first}" if first == last else f"--sport {first}:{last}"


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+:@-]", "?", name)


# Access lists, with the real addresses that packets have in FORWARD. Where a static translates, a
# connection is in a class if it is so with real or with mapped addresses (`classify`): a list is
# written once for each way to see it.


@dataclass(frozen=True, slots=True)
class _SeenEntry:
    """What one service of an entry matches."""

    permit: bool
    source: Ranges
    source_ports: Ranges
    destination: Ranges
    ports: tuple[int, ...]
    """The servers', of those that are diverted."""


View = Translation | None
"""How one end of a connection is seen: with its real address, or as a translation shows it."""


def _lists(
    match: Match, policy: Policy, version: int, *, in_doubt: bool
) -> Iterator[Iterator[_SeenEntry]]:
    """Yield the lists one of which must permit a connection that is in the class."""
    everything = _EVERYTHING if match.entries is None else match.entries
    entries = [e for e in everything if e.certain or e.permit == in_doubt]
    while entries and not entries[-1].permit:
        entries.pop()
    sources = _Tellable((e.source.of(version) for e in entries), version)
    destinations = _Tellable((e.destination.of(version) for e in entries), version)
    translations = [
        each
        for each in policy.translations
        if each.version == version and each.protocol in (0, TCP) and each.mapped is not None
    ]
    seen_from = [each for each in translations if each.protocol or sources.may_tell(each)]
    seen_to = [each for each in translations if each.protocol or destinations.may_tell(each)]
    if all(entry.permit for entry in entries):
        yield (
            seen
            for entry in entries
            for source, destination in _views(match, (entry,), seen_from, seen_to, version)
            for seen in _seen(match, entry, source, destination, policy, version)
        )
        return
    for source, destination in _views(match, entries, seen_from, seen_to, version):
        yield (
            seen
            for entry in entries
            for seen in _seen(match, entry, source, destination, policy, version)
        )


class _Tellable:
    """The addresses of a list, to rule out translations that it cannot tell from none quickly."""

    def __init__(self, sets: Iterable[Ranges], version: int) -> None:
        everybody = 0, (1 << BITS[version]) - 1
        ranges = sorted({r for each in set(sets) for r in each.ranges if r != everybody})
        self._firsts = [first for first, _ in ranges]
        self._reach = list(accumulate((last for _, last in ranges), max))

    def may_tell(self, view: Translation) -> bool:
        """Whether the list names an address that is real or mapped."""
        assert view.mapped is not None
        first, last = view.real
        return self._names(first, last) or self._names(view.mapped, view.mapped + last - first)

    def _names(self, first: int, last: int) -> bool:
        at = bisect_right(self._firsts, last)
        return at > 0 and self._reach[at - 1] >= first


def _views(
    match: Match,
    entries: Sequence[Entry],
    seen_from: Sequence[Translation],
    seen_to: Sequence[Translation],
    version: int,
) -> Iterator[tuple[View, View]]:
    """Yield the ways to see clients and servers that *entries* can tell from one another."""
    sources: list[View] = [None]
    destinations: list[View] = [None]
    for each in seen_from:
        if any(_tells(each, e.source.of(version), [s for _, s, _ in e.services]) for e in entries):
            sources.append(each)
    for each in seen_to:
        if any(
            _tells(each, e.destination.of(version), [match.ports, *(d for *_, d in e.services)])
            for e in entries
        ):
            destinations.append(each)
    for source in sources:
        for destination in destinations:
            yield source, destination


def _tells(view: Translation, addresses: Ranges, ports: Iterable[Ranges]) -> bool:
    """Whether a list can tell a mapped address and port from the real ones."""
    if view.protocol and any((view.mapped_port in p) != (view.real_port in p) for p in ports):
        return True
    return _as_seen(addresses, view) != _part(addresses, *view.real)


def _seen(
    match: Match, entry: Entry, source: View, destination: View, policy: Policy, version: int
) -> Iterator[_SeenEntry]:
    sources = _as_seen(entry.source.of(version), source)
    destinations = _as_seen(entry.destination.of(version), destination)
    for protocol, client_ports, server_ports in entry.services:
        if protocol not in (0, TCP):
            continue
        if source is not None and source.protocol:
            there = source.mapped_port in client_ports
            client_ports = Ranges(((source.real_port, source.real_port),) if there else ())
        ports = sorted(policy.plans)
        if destination is not None and destination.protocol:
            port = destination.mapped_port
            there = port in match.ports and port in server_ports
            ports = [p for p in ports if p == destination.real_port and there]
        else:
            ports = [p for p in ports if p in match.ports and p in server_ports]
        if ports and client_ports and sources and destinations:
            yield _SeenEntry(entry.permit, sources, client_ports, destinations, tuple(ports))


def _as_seen(addresses: Ranges, view: View) -> Ranges:
    """Return the real addresses that are in *addresses* as they are seen."""
    if view is None:
        return addresses
    assert view.mapped is not None
    first, last = view.real
    shift = view.mapped - first
    mapped = _part(addresses, first + shift, last + shift)
    if not mapped.ranges:
        return mapped
    return Ranges(tuple((a - shift, b - shift) for a, b in mapped.ranges))


def _part(ranges: Ranges, first: int, last: int) -> Ranges:
    if not ranges.ranges or ranges.ranges[-1][1] < first or ranges.ranges[0][0] > last:
        return _NOBODY
    return Ranges(
        tuple((max(a, first), min(b, last)) for a, b in ranges.ranges if a <= last and b >= first)
    )
