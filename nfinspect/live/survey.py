"""What of the system decides whether mail reaches the queue: rules, forwarding, bridges, flowtables.

A survey runs a few programs and takes some 20 ms, or seconds while another iptables has the lock:
the worker's loop lets a thread take it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nfinspect.live import flowtables, iptables, queue_table
from nfinspect.live.bridge import SETTINGS as BRIDGE_SETTINGS
from nfinspect.live.iptables import IPV4, IPV6, IPV6_INTERFACES, AddressFamily, RulesError
from nfinspect.rules import diverted
from nfinspect.rules.diverted import FamilyRules

FORWARDING = {IPV4.name: "net.ipv4.ip_forward", IPV6.name: "net.ipv6.conf.all.forwarding"}
"""The settings that let a machine route, by family."""

SHOWN_TO_IPTABLES = {IPV4.name: "bridge-nf-call-iptables", IPV6.name: "bridge-nf-call-ip6tables"}
"""The settings of br_netfilter, by family."""

GLOBAL_SCOPE = "00"


@dataclass(frozen=True, slots=True)
class FamilySurvey:
    """One address family."""

    rules: FamilyRules | None = None
    """None if they could not be listed."""
    trouble: str = ""
    """Why not."""
    forwards: bool = True
    """The machine routes."""
    bridges: bool = False
    """A machine that does not route has a bridge."""
    bridged_seen: bool = True
    """iptables sees bridged frames."""
    used: bool = True
    """The machine has addresses by which others could reach it."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The network namespace of this process."""

    families: Mapping[str, FamilySurvey] = field(default_factory=dict)
    """By the family's name; a family that the kernel does not have is missing."""
    flowtables: tuple[str, ...] = ()
    queues: frozenset[int] = frozenset()
    """Queues that a process reads."""
    namespace: int = 0
    """What identifies it."""


def namespace() -> int:
    """Return what identifies the network namespace of this process."""
    return Path("/proc/self/ns/net").stat().st_ino


def take() -> Survey:
    """Look at the system; what cannot be found out is said in the survey."""
    return Survey(
        families={family.name: _family(family) for family in iptables.families()},
        flowtables=tuple(flowtables.names()),
        queues=queue_table.bound(),
        namespace=namespace(),
    )


def _family(family: AddressFamily) -> FamilySurvey:
    rules, trouble = None, ""
    try:
        rules = diverted.read(iptables.listing(family))
    except RulesError as error:
        trouble = str(error).removeprefix(f"{family.name}: ")
    forwards = _is_set(Path("/proc/sys") / FORWARDING[family.name].replace(".", "/"))
    return FamilySurvey(
        rules,
        trouble,
        forwards,
        not forwards and _has_bridge(),
        _is_set(BRIDGE_SETTINGS / SHOWN_TO_IPTABLES[family.name]),
        family is not IPV6 or _has_global_address(IPV6_INTERFACES.read_text()),
    )


def _is_set(setting: Path) -> bool:
    try:
        return setting.read_text().strip() != "0"
    except OSError:  # the module is not loaded
        return False


def _has_bridge() -> bool:
    try:
        done = iptables.execute(["ip", "-o", "link", "show", "type", "bridge"])
    except RulesError:
        return False
    return bool(done.stdout)


def _has_global_address(interfaces: str) -> bool:
    rows = [line.split() for line in interfaces.splitlines()]
    return any(row[3] == GLOBAL_SCOPE and row[5] != "lo" for row in rows if len(row) >= 6)
