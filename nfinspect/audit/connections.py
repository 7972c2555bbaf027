"""The texts and the JSON of ``show conn``, ``show local-host``, ``show xlate`` and ``show service-policy set
connection`` (docs/appliance.md, section 6), from the connections of an engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nfinspect.audit.text import address, duration, ip_port
from nfinspect.events import Endpoint
from nfinspect.policy.classify import class_key, scope_of
from nfinspect.policy.commands.policies import settings_words
from nfinspect.policy.model import NO_LIMITS, ConnectionLimits, Policy, Translation
from nfinspect.policy.ranges import address_text
from nfinspect.tcp.connection import ESTABLISHED, SYN_SENT, TcpConnection
from nfinspect.tcp.interception import Interceptions, Target
from nfinspect.tcp.kernel_connection import KernelConnection
from nfinspect.tcp.stream import Stream

MOST_LISTED = 2_000
"""Connections that one answer lists: the filter decides no packets meanwhile."""

TCP = 6

Shown = TcpConnection | KernelConnection

FLAGS = (
    "Flags: A - awaiting inside ACK to SYN, a - awaiting outside ACK to SYN, B - initial SYN from outside,\n"
    "       b - TCP state-bypass, F - outside FIN, f - inside FIN, I - inbound data, i - incomplete,\n"
    "       M - SMTP data, O - outbound data, R - outside acknowledged FIN, r - inside acknowledged FIN,\n"
    "       S - awaiting inside SYN, s - awaiting outside SYN, U - up\n"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which connections are asked for, and how they are to be shown."""

    form: str = ""
    """``detail``, ``long``, ``count``; empty: one line each."""
    address: bytes | None = None
    """Of either end."""
    port: int | None = None

    def admits(self, connection: Shown) -> bool:
        """Whether it is one of them."""
        identity = connection.identity
        ends = identity.client, identity.server
        return (self.address is None or any(end.address == self.address for end in ends)) and (
            self.port is None or any(end.port == self.port for end in ends)
        )


def flags(connection: Shown) -> str:
    """The flags of a connection, as show conn writes them."""
    if isinstance(connection, KernelConnection):
        return _kernel_flags(connection)
    inside, outside = _sides(connection)
    found = _phase_flags(connection)
    if inside.fin is not None:
        found += "f"
    if outside.fin is not None:
        found += "F"
    if outside.finished:
        found += "r"
    if inside.finished:
        found += "R"
    if outside.passed:
        found += "I"
    if inside.passed:
        found += "O"
    if not connection.uninspected:
        found += "M"
    if connection.phase >= ESTABLISHED and not (inside.heard_from and outside.heard_from):
        found += "i"
    return found + _origin_flags(connection)


def _kernel_flags(connection: KernelConnection) -> str:
    """Those of one that the kernel passes, as far as connection tracking tells: neither who has sent
    data nor what was acknowledged."""
    outbound = connection.identity.outbound
    found = _phase_flags(connection)
    if connection.client_closed if outbound else connection.server_closed:
        found += "f"
    if connection.server_closed if outbound else connection.client_closed:
        found += "F"
    return found + _origin_flags(connection)


def _phase_flags(connection: Shown) -> str:
    outbound = connection.identity.outbound
    if connection.phase >= ESTABLISHED:
        return "U"
    if connection.phase is SYN_SENT:
        return "saA" if outbound else "SaA"
    return "A" if outbound else "a"


def _origin_flags(connection: Shown) -> str:
    found = "" if connection.identity.outbound else "B"
    return found + "b" if connection.plan.state_bypass else found


def _sides(connection: TcpConnection) -> tuple[Stream, Stream]:
    """The streams that the sides of higher and of lower security send."""
    client, server = connection.client, connection.server
    return (client, server) if connection.identity.outbound else (server, client)


def mapped(translation: Translation | None, real: bytes) -> bytes:
    """The mapped address of a server; empty if it has none, or an interface's."""
    if translation is None:
        return b""
    found = translation.mapped_address(int.from_bytes(real))
    return b"" if found is None else found.to_bytes(len(real))


def _end(connection: Shown, end: Endpoint) -> str:
    """``interface address:port``, with the mapped address in brackets behind the real one."""
    text = ip_port(end)
    translated = _mapped_end(connection, end)
    if translated:
        host, colon, port = text.rpartition(":")
        text = f"{host}({translated}){colon}{port}"
    return f"{end.interface} {text}"


def _mapped_end(connection: Shown, end: Endpoint) -> str:
    if end is not connection.identity.server:
        return ""
    found = mapped(connection.plan.translation, end.address)
    return address(found) if found else ""


def _slashed(end: Endpoint, host: str = "") -> str:
    return f"{host or address(end.address)}/{end.port}"


def _line(connection: Shown, now: float) -> str:
    lower, higher = connection.identity.sides
    return (
        f"TCP {_end(connection, lower)} {_end(connection, higher)},"
        f" idle {duration(now - connection.last_seen)}, bytes {connection.payload_bytes},"
        f" flags {flags(connection)}"
    )


def _detail(connection: Shown, now: float, *, long: bool) -> str:
    ends = []
    for end in connection.identity.sides:
        text = f"{end.interface}:{_slashed(end)}"
        if long or _mapped_end(connection, end):
            text += f" ({_slashed(end, _mapped_end(connection, end))})"
        ends.append(text)
    timeouts = connection.plan.timeouts
    timeout = timeouts.half_closed if connection.half_closed else timeouts.idle
    if connection.phase < ESTABLISHED:
        timeout = timeouts.embryonic
    return (
        f"TCP {' '.join(ends)},\n"
        f"    flags {flags(connection)}, idle {duration(now - connection.last_seen)},"
        f" uptime {duration(now - connection.created)},"
        f" timeout {duration(timeout) if timeout < 1e9 else '-'},"
        f" bytes {connection.payload_bytes}{', intercepted' if is_intercepted(connection) else ''}"
    )


def is_intercepted(connection: Shown) -> bool:
    """Whether TCP intercept has connected its client."""
    return isinstance(connection, TcpConnection) and connection.proxied


def connections(
    found: Sequence[Shown], wanted: Wanted, now: float, in_use: int, most_used: int
) -> tuple[str, dict[str, Any]]:
    """``show conn``: the text, and the JSON. *found* are all open connections."""
    lines = [f"{in_use} in use, {most_used} most used"]
    data: dict[str, Any] = {"in_use": in_use, "most_used": most_used}
    if wanted.form == "count":
        return lines[0] + "\n", data
    chosen = [connection for connection in found if wanted.admits(connection)]
    listed = chosen[:MOST_LISTED]
    text = "".join(line + "\n" for line in lines)
    if wanted.form in ("detail", "long"):
        text += FLAGS
        long = wanted.form == "long"
        text += "".join(_detail(each, now, long=long) + "\n" for each in listed)
    else:
        text += "".join(_line(each, now) + "\n" for each in listed)
    if len(chosen) > len(listed):
        text += f"and {len(chosen) - len(listed)} more: name an address or a port to see fewer at a time\n"
    data["connections"] = [to_json(each, now) for each in listed]
    data["not_listed"] = len(chosen) - len(listed)
    return text, data


def to_json(connection: Shown, now: float) -> dict[str, Any]:
    """One connection."""
    identity, inspection = connection.identity, connection.plan.inspection
    return {
        "connection": identity.number,
        "client": ip_port(identity.client),
        "client_interface": identity.client.interface,
        "server": ip_port(identity.server),
        "server_interface": identity.server.interface,
        "mapped": _mapped_end(connection, identity.server) or None,
        "state": connection.phase.name.lower(),
        "flags": flags(connection),
        "idle": round(now - connection.last_seen, 3),
        "uptime": round(now - connection.created, 3),
        "bytes": connection.payload_bytes,
        "map": inspection.map.name if inspection else None,
        "inspected": isinstance(connection, TcpConnection) and not connection.uninspected,
        "passed_by_kernel": isinstance(connection, KernelConnection),
        "intercepted": is_intercepted(connection),
        "limits": [scope.name for scope in connection.plan.scopes],
    }


@dataclass(slots=True)
class _Host:
    end: Endpoint
    connections: list[Shown] = field(default_factory=list)
    served: list[Shown] = field(default_factory=list)
    """Those of which it is the server."""

    @property
    def limits(self) -> ConnectionLimits:
        found = ConnectionLimits()
        for plan in {id(each.plan): each.plan for each in self.served}.values():
            found = found.lower(plan.limits)
        return found

    @property
    def embryonic(self) -> int:
        return sum(connection.phase < ESTABLISHED for connection in self.served)

    @property
    def intercepted(self) -> int:
        return sum(map(is_intercepted, self.connections))

    def is_target(self, targets: Iterable[Target]) -> bool:
        """Whether SYNs to it, or from it, are intercepted."""
        return any(self.end.address in (each.server, each.client) for each in targets)


def local_hosts(
    found: Sequence[Shown], wanted: bytes | None, now: float, targets: Sequence[Target] = ()
) -> tuple[str, dict[str, Any]]:
    """``show local-host``: the hosts of both sides, by interface; their connections too if one host
    is *wanted*. *targets* are those of TCP intercept."""
    hosts: dict[tuple[str, bytes], _Host] = {}
    for connection in found:
        for end in (connection.identity.client, connection.identity.server):
            if wanted is None or end.address == wanted:
                host = hosts.setdefault((end.interface, end.address), _Host(end))
                host.connections.append(connection)
                if end is connection.identity.server:
                    host.served.append(connection)
    by_interface: dict[str, list[_Host]] = {}
    for host in hosts.values():
        by_interface.setdefault(host.end.interface, []).append(host)
    text = ""
    for interface, each in sorted(by_interface.items()):
        text += f"Interface {interface}: {len(each)} active\n"
        listed = sorted(each, key=lambda host: host.end.address)[:MOST_LISTED]
        text += "".join(_host_text(host, now, targets, wanted is not None) for host in listed)
        if len(each) > len(listed):
            text += f"and {len(each) - len(listed)} more: name an address\n"
    data = {
        interface: [
            {
                "host": address(host.end.address),
                "connections": len(host.connections),
                "as_server": len(host.served),
                "embryonic": host.embryonic,
                "connection_limit": host.limits.connections or None,
                "embryonic_limit": host.limits.embryonic or None,
                "intercept": host.is_target(targets),
                "intercepted": host.intercepted,
            }
            for host in each[:MOST_LISTED]
        ]
        for interface, each in sorted(by_interface.items())
    }
    return text or "no hosts with open connections\n", data


def _host_text(host: _Host, now: float, targets: Iterable[Target], with_connections: bool) -> str:
    limits = host.limits
    lines = [
        f"local host: <{address(host.end.address)}>,",
        f"    TCP flow count/limit = {len(host.connections)}/{limits.connections or 'unlimited'}",
        f"    TCP embryonic count to host = {host.embryonic}",
        f"    TCP intercept watermark = {limits.embryonic or 'unlimited'}",
    ]
    active, through = host.is_target(targets), host.intercepted
    if active or through:
        lines.append(f"    TCP intercept = {'active' if active else 'inactive'}, conns {through}")
    if with_connections:
        lines.append("  Conn:")
        lines += [f"    {_line(each, now)}" for each in host.connections[:MOST_LISTED]]
    return "".join(line + "\n" for line in lines)


def translations(policy: Policy) -> tuple[str, list[dict[str, Any]]]:
    """``show xlate``: the static translations."""
    lines = [f"{len(policy.translations)} in use, {len(policy.translations)} most used"]
    lines.append("Flags: r - portmap, s - static, N - net-to-net")
    data = []
    for each in policy.translations:
        real, other = _network(each, each.real[0]), each.mapped
        to = "interface" if other is None else _network(each, other)
        kind, marks = "NAT", "s"
        if each.real[0] != each.real[1]:
            marks += "N"
        if each.protocol:
            kind, marks = ("TCP PAT" if each.protocol == TCP else "UDP PAT"), "sr"
            real, to = f"{real} {each.real_port}", f"{to} {each.mapped_port}"
        lines.append(f"{kind} from {each.real_interface}:{real} to {each.mapped_interface}:{to}")
        lines.append(f"    flags {marks}")
        data.append(
            {
                "kind": kind,
                "real": real,
                "real_interface": each.real_interface,
                "mapped": to,
                "mapped_interface": each.mapped_interface,
                "flags": marks,
            }
        )
    return "".join(line + "\n" for line in lines), data


def _network(translation: Translation, first: int) -> str:
    size = translation.real[1] - translation.real[0]
    text = address_text(translation.version, first)
    return text if not size else f"{text}-{address_text(translation.version, first + size)}"


def set_connection(
    policy: Policy,
    found: Sequence[Shown],
    refused: Mapping[str, int],
    *,
    interceptions: Interceptions | None = None,
    detailed: bool,
) -> tuple[str, list[dict[str, Any]]]:
    """``show service-policy set connection [details]``: what the classes say, and what is counted.
    *refused* are the SYNs that were dropped, by scope. ``details`` adds each server, and each target of TCP
    intercept."""
    by_scope = _by_scope(found)

    def counted(name: str, key: bytes, limits: ConnectionLimits, interface: str = "") -> _Counted:
        targets = interceptions.targets(key) if interceptions is not None else []
        return _Counted(limits, by_scope.get((name, interface), {}), refused.get(name, 0), targets)

    text, data, heading = "", [], ""
    for service_policy in policy.service_policies:
        where = service_policy.where
        outer = "Global policy:" if where == "global" else f"{where.capitalize()}:"
        for each in service_policy.classes:
            settings = each.settings
            if settings is None:
                continue
            top = f"{outer}\n  Service-policy: {service_policy.name}\n"
            text += "" if top == heading else top
            heading = top
            text += f"    Class-map: {each.name}\n"
            name = f"class {each.name}"
            key = class_key(each.name, service_policy)
            counts = counted(name, key, settings.limits, service_policy.interface)
            said = [words for words in settings_words(settings) if not words.startswith("timeout")]
            if said:
                text += counts.text(" ".join(said), detailed)
            for words in settings_words(settings):
                if words.startswith("timeout"):
                    text += f"      Set connection timeout policy: {words[8:]}\n"
            data.append(counts.to_json(name, where))
    for translation in policy.translations:
        if translation.limits == NO_LIMITS or translation.word is None:
            continue
        name, limits = translation.name, translation.limits
        counts = counted(name, scope_of(translation, policy.old_lines).key, limits)
        text += f"Static: {translation.word.line.statement.strip()}\n"
        words = f"conn-max {limits.connections} embryonic-conn-max {limits.embryonic}"
        text += counts.text(words, detailed)
        data.append(counts.to_json(name, "static"))
    return text or "No class sets anything about connections, and no static has limits\n", data


Servers = dict[bytes, list[int]]
"""Connections, embryonic ones and intercepted ones by the server's address."""


def _by_scope(found: Iterable[Shown]) -> dict[tuple[str, str], Servers]:
    counted: dict[tuple[str, str], Servers] = {}
    for connection in found:
        scopes = {(scope.name, scope.interface) for scope in connection.plan.scopes}
        if connection.plan.settings_by and not connection.plan.scopes:
            scopes = {(f"class {connection.plan.settings_by}", "")}  # a class without limits
        for scope in scopes:
            servers = counted.setdefault(scope, {})
            counts = servers.setdefault(connection.identity.server.address, [0, 0, 0])
            counts[0] += 1
            counts[1] += connection.phase < ESTABLISHED
            counts[2] += is_intercepted(connection)
    return counted


@dataclass(frozen=True, slots=True)
class _Counted:
    """What is counted against the limits of a class, or of a static."""

    limits: ConnectionLimits
    servers: Servers
    refused: int
    targets: Sequence[Target]

    @property
    def sums(self) -> tuple[int, int, int]:
        """Of all servers."""
        total, embryonic, intercepted = (
            sum(counts[at] for counts in self.servers.values()) for at in range(3)
        )
        return total, embryonic, intercepted

    def text(self, words: str, detailed: bool) -> str:
        """The lines below the heading; *words* are the limits."""
        total, embryonic, intercepted = self.sums
        text = f"      Set connection policy: {words}\n"
        text += f"        current embryonic conns {embryonic}, current conns {total}, drop {self.refused}\n"
        if self.limits.embryonic or self.limits.per_client_embryonic or intercepted:
            active = f"active, targets {len(self.targets)}" if self.targets else "inactive"
            text += f"        TCP intercept {active}, current conns through it {intercepted}\n"
        if detailed:
            for server, (count, half, through) in sorted(self.servers.items()):
                more = f", through intercept {through}" if through else ""
                text += f"        server {address(server)}: embryonic conns {half}, conns {count}{more}\n"
            for target in self.targets[:MOST_LISTED]:
                who = f" from {address(target.client)}" if target.client else ""
                text += f"        intercept {address(target.server)} port {target.port}{who}\n"
            if len(self.targets) > MOST_LISTED:
                text += f"        and {len(self.targets) - MOST_LISTED} more\n"
        return text

    def to_json(self, name: str, where: str) -> dict[str, Any]:
        """The same."""
        limits = self.limits
        total, embryonic, intercepted = self.sums
        return {
            "of": name,
            "where": where,
            "limits": {
                "conn_max": limits.connections,
                "embryonic_conn_max": limits.embryonic,
                "per_client_max": limits.per_client,
                "per_client_embryonic_max": limits.per_client_embryonic,
            },
            "embryonic": embryonic,
            "connections": total,
            "intercepted": intercepted,
            "refused": self.refused,
            "servers": {
                address(server): {"connections": count, "embryonic": half, "intercepted": through}
                for server, (count, half, through) in sorted(self.servers.items())
            },
            "intercept": {
                "targets": len(self.targets),
                "listed": [
                    {
                        "server": address(each.server),
                        "port": each.port,
                        "client": address(each.client) if each.client else None,
                    }
                    for each in self.targets[:MOST_LISTED]
                ],
            },
        }
