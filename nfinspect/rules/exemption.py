"""Which connections need no filter: the rules that mark them at their SYN, so that none of their packets
is queued.

The first packet of a connection decides, as in `policy.classify`; the mark is conntrack's, so both
directions follow, and connections that are open when the rules change stay where they are. What is not
marked here is queued, and the filter decides: a class has rules only where they surely say the same.
That excludes classes whose list has a deny, and policies in which an interface decides about inspection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from nfinspect.policy.model import Entry, Match, Policy
from nfinspect.policy.ranges import ALL_PORTS, BITS, Ranges, address_text, prefixes

TCP = 6

MOST_RULES = 512
"""Of one policy and IP version; a class that would need more has none."""


def exempting(policy: Policy) -> dict[int, tuple[str, ...]]:
    """Return what the first packets of exempt connections match, by IP version."""
    about_mail = [
        service_policy
        for service_policy in policy.service_policies
        if any(c.exempts or c.inspection or c.state_bypass for c in service_policy.classes)
    ]
    if any(service_policy.interface for service_policy in about_mail):
        return {}
    found: dict[int, tuple[str, ...]] = {}
    for version in BITS:
        rules: list[str] = []
        for service_policy in about_mail:
            for each in service_policy.classes:
                if each.exempts:
                    room = MOST_RULES - len(rules)
                    added = list(islice(_matches(each.match, policy, version), room + 1))
                    rules += added if len(added) <= room else []
        if rules:
            found[version] = tuple(dict.fromkeys(rules))
    return found


def _matches(match: Match, policy: Policy, version: int) -> Iterator[str]:
    """Yield what the connections of a class match, if their ports are diverted at all."""
    ports = [port for port in sorted(policy.plans) if port in match.ports]
    if match.entries is None:
        yield from (f"-m tcp --dport {port}" for port in ports)
    elif all(entry.permit for entry in match.entries):
        for entry in match.entries:
            if entry.certain:
                yield from _of_entry(entry, ports, version)


def _of_entry(entry: Entry, ports: Sequence[int], version: int) -> Iterator[str]:
    for protocol, source_ports, destination_ports in entry.services:
        for source in _networks("-s", version, entry.source.of(version)):
            for destination in _networks("-d", version, entry.destination.of(version)):
                for first, last in source_ports.ranges if protocol in (0, TCP) else ():
                    clients = "" if source_ports == ALL_PORTS else f"--sport {first}:{last} "
                    for port in ports:
                        if port in destination_ports:
                            yield f"{source}{destination}-m tcp {clients}--dport {port}"


def _networks(option: str, version: int, ranges: Ranges) -> Iterator[str]:
    for length, bits in prefixes(version, ranges):
        address = address_text(version, bits << BITS[version] - length)
        yield f"{option} {address}/{length} " if length else ""
