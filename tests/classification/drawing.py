"""Random configurations and connections that are likely to meet: few hosts, few ports, short lists."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from random import Random

from nfinspect.lab.topology import INSIDE, OUTSIDE

OUTER = ("192.0.2.10", "203.0.113.5", "203.0.113.6", "203.0.113.200")
INNER = ("192.168.1.1", "192.168.1.2", "192.168.1.130", "10.0.0.1", "10.0.0.77")
OUTER6 = ("2001:db8:1::10", "2001:db8:99::5", "2001:db8:99:1::6")
INNER6 = ("2001:db8:2::25", "2001:db8:aa::1", "2001:db8:aa:1::2")
"""Hosts on the two sides of the filter."""
MAPPED = ("203.0.114.1", "203.0.114.25", "203.0.114.130", "2001:db8:bb::1")
"""Addresses of inner hosts on the outside, if the configuration translates them."""

SERVER_PORTS = (25, 26, 587, 588, 2525, 40000)
CLIENT_PORTS = (*range(1020, 1030), *range(39998, 40003), 65535, 500, 25, 25)

NAMED = ("outside", "inside", "dmz")


@dataclass(frozen=True, slots=True)
class Setting:
    """A configuration, and what names its interfaces."""

    text: str
    devices: tuple[tuple[str, str], ...] = ()
    """``--interface``: the appliance's name and the Linux interface."""
    mapped: tuple[str, ...] = ()
    """Of `MAPPED`."""

    @property
    def options(self) -> list[str]:
        return [
            word for name, device in self.devices for word in ("--interface", f"{name}={device}")
        ]


@dataclass(frozen=True, slots=True)
class DrawnConnection:
    """A SYN as its client sends it."""

    from_outside: bool
    version: int
    source: str
    source_port: int
    destination: str
    destination_port: int

    def __str__(self) -> str:
        where = OUTSIDE.name if self.from_outside else INSIDE.name
        return f"{where}: {self.source}/{self.source_port} to {self.destination}/{self.destination_port}"

    @property
    def ends(self) -> frozenset[tuple[str, int]]:
        return frozenset(
            ((self.source, self.source_port), (self.destination, self.destination_port))
        )


def draw_connections(
    chance: Random, count: int, ports: Collection[int], mapped: Sequence[str]
) -> list[DrawnConnection]:
    """Return up to *count* connections, no two between the same ends: many to the *ports* that the policy
    is about, and from the outside to the *mapped* addresses of inner hosts as well."""
    found: dict[frozenset[tuple[str, int]], DrawnConnection] = {}
    often = sorted(ports) or list(SERVER_PORTS)
    for _ in range(count):
        from_outside = chance.random() < 0.6
        version = chance.choice((4, 4, 6))
        outer, inner = (OUTER, INNER) if version == 4 else (OUTER6, INNER6)
        source, destination = (outer, inner) if from_outside else (inner, outer)
        translated = [address for address in mapped if ip_address(address).version == version]
        if from_outside and translated and chance.random() < 0.4:
            destination = tuple(translated)
        connection = DrawnConnection(
            from_outside,
            version,
            chance.choice(source),
            chance.choice(CLIENT_PORTS),
            chance.choice(destination),
            chance.choice(often if chance.random() < 0.8 else SERVER_PORTS),
        )
        found.setdefault(connection.ends, connection)
    return list(found.values())


# A configuration.

BASE = """\
object network one
 host 192.168.1.1
object network many
 range 10.0.0.1 10.0.0.9
object network named
 fqdn mx.example.org
object-group network hosts
 network-object host 203.0.113.5
 group-object servers
object-group network servers
 network-object 192.168.1.0 255.255.255.128
 network-object object many
object-group network six
 network-object 2001:db8:aa::/48
 network-object host 2001:db8:1::10
object-group service mail tcp
 port-object eq smtp
 port-object range 587 588
object-group service services
 service-object tcp destination eq 25
 service-object udp
 service-object tcp source range 1024 40000 destination eq 2525
object service high
 service tcp source gt 1024 destination neq 26
object-group protocol protocols
 protocol-object tcp
 protocol-object 50
policy-map type inspect esmtp strict
 parameters
  mask-banner
"""

NETWORKS = (
    *("any4", "any6", "object one", "object many", "object-group hosts"),
    *("object-group servers", "object-group six", "192.168.1.0 255.255.255.0"),
    *("203.0.113.0 255.255.255.128", "10.0.0.0 255.0.0.0", "2001:db8:aa::/48"),
    *(f"host {host}" for host in (*OUTER, *INNER, *OUTER6, *INNER6, *MAPPED[:2])),
)
PORTS = (
    *("", "", "eq 25", "eq smtp", "neq 25", "gt 1023", "lt 588", "range 25 587", "eq 587"),
    *("eq 2525", "object-group mail"),
)
PROTOCOLS = (
    *("tcp", "tcp", "tcp", "udp", "object-group protocols", "object-group services"),
    "object high",
)
TAILS = ("",) * 8 + (" log", " inactive", " time-range hours")
LISTS = ("a", "b", "c")


def draw_setting(chance: Random, *, translates: bool) -> Setting:
    """Return a configuration that is read without an error."""
    lines = [BASE, *_lists(chance)]
    names, devices = _interfaces(chance)
    lines += names
    applied = ["global"] * (chance.random() < 0.9)
    applied += [f"interface {name}" for name in NAMED if chance.random() < 0.15]
    class_maps = [f"k{number}" for number in range(5)]
    for name in class_maps:
        lines += [f"class-map {name}", *_match(chance)]
    for number, where in enumerate(applied or ["global"]):
        lines.append(f"policy-map p{number}")
        for name in chance.sample(class_maps, chance.choice((1, 2, 3, 3, 4))):
            lines += [f" class {name}", f"  {_action(chance)}"]
        if chance.random() < 0.5:
            lines += [" class inspection_default", "  inspect esmtp"]
        if chance.random() < 0.25:
            lines += [" class class-default", f"  {_action(chance)}"]
        lines.append(f"service-policy p{number} {where}")
    statics = chance.sample(STATICS, chance.choice((1, 2, 3))) if translates else []
    mapped = tuple(each for each in MAPPED if any(f" {each}" in line for line in statics))
    return Setting("\n".join([*lines, *statics]) + "\n", devices, mapped)


STATICS = (
    "static (inside,outside) 203.0.114.1 192.168.1.1 netmask 255.255.255.255",
    "static (inside,outside) tcp 203.0.114.25 smtp 192.168.1.2 smtp netmask 255.255.255.255",
    "static (inside,outside) tcp 203.0.114.25 587 10.0.0.1 2525 netmask 255.255.255.255",
    "object network moved\n host 192.168.1.130\n nat (inside,outside) static 203.0.114.130",
    "object network moved6\n host 2001:db8:aa::1\n nat (inside,outside) static 2001:db8:bb::1",
)


def _lists(chance: Random) -> Iterator[str]:
    for name in LISTS:
        yield f"access-list {name} remark {name}"
        entries = chance.choice((1, 2, 3, 4, 6))
        # Exceptions from something wide, or anything.
        denies = chance.choice((0, 0, entries // 2, entries // 2))
        for number in range(entries):
            if denies:
                action = "deny" if number < denies else "permit"
                ends = ["any" if number >= denies else chance.choice(NETWORKS), "any"]
            else:
                action = chance.choice(("permit", "permit", "permit", "deny"))
                ends = [chance.choice(NETWORKS), chance.choice(("any", chance.choice(NETWORKS)))]
            chance.shuffle(ends)
            yield f"access-list {name} extended {action} {_traffic(chance, *ends)}"


def _traffic(chance: Random, source: str, destination: str) -> str:
    tail = chance.choice(TAILS)
    if chance.random() < 0.35:
        return f"ip {source} {destination}{tail}"
    protocol = chance.choice(PROTOCOLS)
    ports = ["", ""]
    if protocol == "tcp":
        ports = [chance.choice(PORTS) if chance.random() < 0.3 else "", chance.choice(PORTS)]
    return " ".join(f"{protocol} {source} {ports[0]} {destination} {ports[1]}{tail}".split())


def _match(chance: Random) -> Sequence[str]:
    narrowed = [f" match access-list {chance.choice(LISTS)}"]
    return chance.choice(
        (
            narrowed,
            narrowed,
            narrowed,
            [" match default-inspection-traffic"],
            [" match default-inspection-traffic", *narrowed],
            [" match port tcp eq 587"],
            [" match port tcp range 25 30"],
            [" match any"],
            [],
        )
    )


def _action(chance: Random) -> str:
    return chance.choice(
        (
            *("inspect esmtp", "inspect esmtp", "inspect esmtp", "inspect esmtp strict"),
            *("no inspect esmtp",) * 4,
            "set connection timeout idle 0:10:00",
            "set connection advanced-options tcp-state-bypass",
        )
    )


def _interfaces(chance: Random) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """Return lines, and what ``--interface`` says: nothing at all, both interfaces, or one."""
    nameif = [f"nameif ethernet{n} {name} security{n}" for n, name in enumerate(NAMED[:2])]
    return chance.choice(
        (
            ([], ()),
            (nameif, ()),
            (nameif[:1], ()),
            (nameif[1:], ()),
            ([], (("outside", INSIDE.name), ("inside", OUTSIDE.name))),
            ([], (("dmz", INSIDE.name),)),
            (nameif, (("dmz", "absent0"),)),
        )
    )


def packed(address: str) -> bytes:
    """Return an address as in a packet."""
    return ip_address(address).packed
