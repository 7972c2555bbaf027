"""Which connections are shown to the filter only to be counted against limits: those that it does not
inspect, exempt ones and those to other ports.

The filter sees the first packet, and says whether the connection may begin. The kernel passes all others by
itself, and marks the connection, so that connection tracking tells the filter of it and of no other. The rules say
which connections may be covered by a limit: the filter, which knows, lets the others pass. Unlike
mail, they pass while no filter runs: nothing of them is inspected.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from nfinspect.policy.model import NO_LIMITS, Entry, Match, Policy, Translation
from nfinspect.policy.ranges import ALL_PORTS, BITS, Range, Ranges, prefixes

TCP = 6

MOST = 256
"""Rules for servers, of one IP version; if more would be needed, all servers are taken to be covered."""


class Covered(NamedTuple):
    """Servers that limits may cover."""

    network: str
    """Empty: all of them."""
    first: int
    last: int
    """Ports."""

    def matches(self, address: str, port: str) -> str:
        """What matches packets with one of these; *address* is ``-d`` or ``-s``, *port* ``--dport`` or
        ``--sport``."""
        words = f"{address} {self.network} -p tcp" if self.network else "-p tcp"
        if (self.first, self.last) == ALL_PORTS.ranges[0]:
            return words
        ports = str(self.first) if self.first == self.last else f"{self.first}:{self.last}"
        return f"{words} -m tcp {port} {ports}"


EVERYBODY = Covered("", *ALL_PORTS.ranges[0])


def has_limits(policy: Policy) -> bool:
    """Whether anything is counted."""
    return any(each.limits != NO_LIMITS for each in policy.translations) or any(
        each.settings is not None and each.settings.limits != NO_LIMITS
        for service_policy in policy.service_policies
        for each in service_policy.classes
    )


def counts_uninspected(policy: Policy) -> bool:
    """Whether limits may cover connections that nobody inspects."""
    exempts = any(
        c.exempts for service_policy in policy.service_policies for c in service_policy.classes
    )
    return has_limits(policy) and (exempts or bool(covered(policy)))


def covered(policy: Policy) -> dict[int, tuple[Covered, ...]]:
    """Return the servers of ports that are not diverted and that limits may cover, by IP version."""
    return {version: tuple(found) for version in BITS if (found := _of_version(policy, version))}


def _of_version(policy: Policy, version: int) -> list[Covered]:
    diverted = Ranges.of((port, port) for port in policy.plans)
    found: dict[Covered, None] = {}
    for addresses, ports in _servers(policy, version):
        if diverted.covers(ports):
            continue
        for network in _networks(version, addresses):
            for first, last in ports.ranges:
                found[Covered(network, first, last)] = None
                if len(found) > MOST:
                    return [EVERYBODY]
    return [EVERYBODY] if EVERYBODY in found else list(found)


def _servers(policy: Policy, version: int) -> Iterator[tuple[Ranges, Ranges]]:
    """Yield addresses and ports, the real ones."""
    for translation in policy.translations:
        if translation.limits != NO_LIMITS and translation.version == version:
            if translation.protocol in (0, TCP):
                yield Ranges((translation.real,)), _real_ports(translation)
    for service_policy in policy.service_policies:
        for each in service_policy.classes:
            if each.settings is not None and each.settings.limits != NO_LIMITS:
                yield from _of_class(each.match, policy, version)


def _of_class(match: Match, policy: Policy, version: int) -> Iterator[tuple[Ranges, Ranges]]:
    if match.entries is None:
        yield Ranges(((0, (1 << BITS[version]) - 1),)), match.ports
        for translation in policy.translations:  # the ports may be mapped ones
            if translation.version == version and translation.protocol == TCP:
                if translation.mapped_port in match.ports:
                    yield Ranges((translation.real,)), _real_ports(translation)
        return
    for entry in match.entries:
        if entry.permit:
            yield from _of_entry(entry, match, policy.translations, version)


def _of_entry(
    entry: Entry, match: Match, translations: Iterable[Translation], version: int
) -> Iterator[tuple[Ranges, Ranges]]:
    destination = entry.destination.of(version)
    ports = Ranges.of(
        both
        for protocol, _, served in entry.services
        if protocol in (0, TCP)
        for both in _common(served, match.ports)
    )
    if not destination or not ports:
        return
    yield destination, ports
    for each in translations:  # the address may be a mapped one
        if each.version != version or each.protocol not in (0, TCP) or each.mapped is None:
            continue
        mapped = Ranges(((each.mapped, each.mapped + each.real[1] - each.real[0]),))
        if any(_common(destination, mapped)):
            yield Ranges((each.real,)), _real_ports(each) if each.protocol else ports


def _real_ports(translation: Translation) -> Ranges:
    port = translation.real_port
    return Ranges(((port, port),)) if translation.protocol else ALL_PORTS


def _common(one: Ranges, other: Ranges) -> Iterator[Range]:
    for first, last in one.ranges:
        for start, end in other.ranges:
            if start <= last and first <= end:
                yield max(first, start), min(last, end)


def _networks(version: int, ranges: Ranges) -> Iterator[str]:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    bits = BITS[version]
    for length, prefix in prefixes(version, ranges):
        address = (prefix << bits - length).to_bytes(bits // 8)
        yield f"{socket.inet_ntop(family, address)}/{length}" if length else ""
