"""The rules of TCP intercept: the kernel's SYNPROXY answers SYNs to those servers that the running filter names.

Two sets for each IP version name them, `SERVERS` and `PAIRS` (a client and a server). Their SYNs are kept out
of connection tracking, as SYNPROXY demands, and so are its answers; the chain `PROXY`, which the running filter fills, has
SYNPROXY with the options of each server. While no embryonic limit is exceeded, sets and chain are empty.

With a static translation a client addresses the filter itself, so SYNPROXY answers in INPUT, and its own
SYN, which the client never sent, is translated in OUTPUT.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from nfinspect.packet.options import SynOptions
from nfinspect.policy.model import ConnectionLimits, Policy
from nfinspect.policy.ranges import address_text

CHAIN = "NFINSPECT"
PROXY, SYNS, ANSWERS = f"{CHAIN}-PROXY", f"{CHAIN}-SYN", f"{CHAIN}-SYNACK"
OUTPUT_DNAT = f"{CHAIN}-ODNAT"

SYN = "--tcp-flags FIN,SYN,RST,ACK SYN"
SYN_ACK = "--tcp-flags FIN,SYN,RST,ACK SYN,ACK"
LAST_ACK = "--tcp-flags FIN,SYN,RST,ACK ACK"

DEFAULT_OPTIONS = SynOptions(None, 7, True, True)
"""Of a server whose SYN-ACK has not been seen."""
DEFAULT_MSS = {4: 1460, 6: 1440}


def servers_set(version: int) -> str:
    """Return the name of the set of servers."""
    return f"{CHAIN}-SERVERS{version}"


def pairs_set(version: int) -> str:
    """Return the name of the set of servers, each with a client."""
    return f"{CHAIN}-PAIRS{version}"


LIFETIME = 30
"""Seconds for which an entry stays in a set."""


def kinds(version: int) -> tuple[tuple[str, str], ...]:
    """Return the names of the sets, each with its type."""
    return (servers_set(version), "hash:ip,port"), (pairs_set(version), "hash:ip,port,ip")


def creating(version: int) -> list[str]:
    """Return the commands that create the sets by hand."""
    family = "inet" if version == 4 else "inet6"
    return [
        f"ipset create {name} {kind} family {family} timeout {LIFETIME}"
        for name, kind in kinds(version)
    ]


def intercepts(policy: Policy) -> bool:
    """Return whether a policy has an embryonic limit."""
    limits = [translation.limits for translation in policy.translations]
    limits += [
        each.settings.limits
        for service_policy in policy.service_policies
        for each in service_policy.classes
        if each.settings
    ]
    return any(map(_embryonic, limits))


def _embryonic(limits: ConnectionLimits) -> bool:
    return bool(limits.per_client_embryonic) or (
        limits.embryonic > 0 and not 0 < limits.connections <= limits.embryonic
    )


def _matches(version: int) -> tuple[str, str]:
    return (
        f"-m set --match-set {servers_set(version)} dst,dst",
        f"-m set --match-set {pairs_set(version)} dst,dst,src",
    )


def not_tracked(version: int) -> list[str]:
    """Return the rules of chain `SYNS`."""
    return [f"-p tcp {match} -j CT --notrack" for match in _matches(version)]


def answers_not_tracked(version: int) -> list[str]:
    """Return the rules of chain `ANSWERS`: SYNPROXY's SYN-ACK shall not meet the entry of an earlier
    connection between the same ports, which would change its numbers."""
    matches = (f"{servers_set(version)} src,src", f"{pairs_set(version)} src,src,dst")
    return [f"-p tcp -m set --match-set {match} -j CT --notrack" for match in matches]


def not_translated(version: int) -> list[str]:
    """Return the rules before those that translate: the ACK which completes the handshake with SYNPROXY is
    for the address that the SYN was for."""
    return [f"-p tcp -m tcp --tcp-flags SYN NONE {match} -j ACCEPT" for match in _matches(version)]


def proxy_rules(
    version: int, servers: Iterable[tuple[bytes, int, SynOptions | None]]
) -> Iterator[str]:
    """Yield the rules of chain `PROXY` for servers with address, port and the options of their
    SYN-ACK."""
    for address, port, options in servers:
        text = address_text(version, int.from_bytes(address))
        to = f"-d {text} -p tcp -m tcp --dport {port}"
        target = f"SYNPROXY {' '.join(_words(version, options or DEFAULT_OPTIONS))}"
        yield f"{to} {SYN} -m conntrack --ctstate UNTRACKED -j {target}"
        yield f"{to} {LAST_ACK} -m conntrack --ctstate NEW,INVALID,UNTRACKED -j {target}"


def filling(table: str, rules: Sequence[str]) -> str:
    """Return the text for ``iptables-restore --noflush`` that makes *rules* those of chain `PROXY`."""
    lines = (f"*{table}", f":{PROXY} - [0:0]", *(f"-A {PROXY} {rule}" for rule in rules), "COMMIT")
    return "".join(f"{line}\n" for line in lines)


def _words(version: int, options: SynOptions) -> Iterator[str]:
    if options.sack_permitted:
        yield "--sack-perm"
    if options.timestamps:
        yield "--timestamp"
    if options.window_scale is not None:
        yield f"--wscale {options.window_scale}"
    yield f"--mss {options.mss or DEFAULT_MSS[version]}"
