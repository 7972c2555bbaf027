"""The rules that divert the inspected ports to NFQUEUE, in iptables-restore format.

Where they are, and why:

- At the end of table security, chain FORWARD. This comes after the firewall's own filter FORWARD,
  so the filter sees no SYN that the firewall refuses. An accept from a queue ends the chain, so no
  rule of the firewall may follow (a queue rule in mangle skips an MSS clamp after it). If the
  kernel has no such table, they are at the end of mangle.
- In a chain of their own, so that they can be replaced and removed as a whole.
- With a conntrack match that every packet meets, for its side effect: connection tracking
  reassembles fragments. Only the first fragment has ports; the others would bypass the queue.
- In both directions, and for both families, with the same text.
- Without ``--queue-bypass``: while no filter runs on the queue, nothing passes.

A second, small chain in raw OUTPUT keeps the filter's packets on untracked connections out of
connection tracking, which would create an entry for them and might translate them. Two chains in
nat hold the policy's static translations, if it has any.

Only forwarded traffic is diverted. A mail server on the machine itself is out of scope.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nfinspect.rules.mark import MARK, MASK

CHAIN = "NFINSPECT"
DNAT, SNAT = f"{CHAIN}-DNAT", f"{CHAIN}-SNAT"
CHAINS = (CHAIN, DNAT, SNAT)

TABLES = ("security", "mangle")
"""Tables for the diverting rules, the preferred one first."""

RAW = "raw"
NAT = "nat"
BUILT_IN = ("FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING")
"""The chains that jump to ours."""

ANY_STATE = "-m conntrack --ctstate NEW,ESTABLISHED,RELATED,INVALID,UNTRACKED"


@dataclass(frozen=True, slots=True)
class Diversion:
    """Which ports are diverted to which queues."""

    ports: tuple[int, ...]
    """The servers' ports."""
    first_queue: int = 0
    queues: int = 1
    fail_open: bool = False
    """Let everything pass uninspected while no filter runs on the queue."""
    exempt: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """What the first packets of exempt connections match, by IP version (`rules.exemption`)."""
    nat: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """The rules of the chains `DNAT` and `SNAT`, by IP version (`rules.translation`)."""

    @property
    def target(self) -> str:
        """The NFQUEUE target with its options."""
        last = self.first_queue + self.queues - 1
        if self.queues == 1:
            queue = f"--queue-num {self.first_queue}"
        else:
            queue = f"--queue-balance {self.first_queue}:{last}"
        return f"NFQUEUE {queue}{' --queue-bypass' if self.fail_open else ''}"


def application(diversion: Diversion, table: str, version: int, present: Iterable[str] = ()) -> str:
    """Return the text for ``iptables-restore --noflush`` that puts the rules for an IP version into
    *table*.

    *present* are the rules of the table as listed by ``iptables -S``; those that jump to our chain
    are replaced in the same transaction, so that applying twice has the effect of applying once.
    """
    lines = [
        # creates the chain, or empties it if it exists
        f":{CHAIN} - [0:0]",
        *_deletions(present),
        f'-A FORWARD -p tcp -m comment --comment "nfinspect" -j {CHAIN}',
    ]
    for criteria in diversion.exempt.get(version, ()):
        lines.append(
            f"-A {CHAIN} -p tcp {criteria} -m conntrack --ctstate NEW --ctdir ORIGINAL"
            f' -m comment --comment "exempt" -j CONNMARK --set-xmark {MARK:#x}/{MASK:#x}'
        )
    if diversion.exempt.get(version):
        lines.append(
            f"-A {CHAIN} -p tcp -m connmark --mark {MARK:#x}/{MASK:#x}"
            f' -m comment --comment "exempt" -j ACCEPT'
        )
    for port in diversion.ports:
        for option, what in (
            ("--dport", f"requests to port {port}"),
            ("--sport", f"replies from port {port}"),
        ):
            lines.append(
                f"-A {CHAIN} -p tcp -m tcp {option} {port} {ANY_STATE}"
                f' -m comment --comment "{what}" -j {diversion.target}'
            )
    return _transaction(table, lines)


def untracking(present: Iterable[str] = ()) -> str:
    """Return the text that puts the rules for packets sent by the filter into table raw.

    *present* is as in `application`.
    """
    return _transaction(
        RAW,
        [
            f":{CHAIN} - [0:0]",
            *_deletions(present),
            f"-A OUTPUT -p tcp -m mark --mark {MARK:#x}/{MASK:#x}"
            f' -m comment --comment "nfinspect" -j {CHAIN}',
            f'-A {CHAIN} -m comment --comment "sent by nfinspect" -j CT --notrack',
        ],
    )


def translating(rules: Sequence[str], present: Sequence[str] = ()) -> str:
    """Return the text that puts *rules*, of the chains `DNAT` and `SNAT`, into table nat, or without
    rules removes them.

    *present* is as in `application`.
    """
    if not rules:
        return removal(NAT, present)
    lines = [f":{DNAT} - [0:0]", f":{SNAT} - [0:0]", *_deletions(present)]
    for built_in, chain in (("PREROUTING", DNAT), ("POSTROUTING", SNAT)):
        lines.append(f'-A {built_in} -m comment --comment "nfinspect" -j {chain}')
    return _transaction(NAT, [*lines, *rules])


def removal(table: str, present: Sequence[str]) -> str:
    """Return the text that removes our rules from *table*; empty if there are none."""
    lines = _deletions(present)
    for chain in CHAINS:
        if f"-N {chain}" in present:
            lines += [f"-F {chain}", f"-X {chain}"]
    return _transaction(table, lines) if lines else ""


def are_others(present: Iterable[str], diversion: Diversion, version: int) -> bool:
    """Whether the rules of a table, as listed by ``iptables -S``, include ours, but other ones than
    *diversion* needs: another policy or version of nfinspect has put them there. To which queue
    they divert does not count."""
    wanted = _criteria(application(diversion, TABLES[0], version).splitlines())
    return bool(found := _criteria(present)) and found != wanted


def _criteria(rules: Iterable[str]) -> set[frozenset[str]]:
    """Return what our rules match, whatever the order in which they say it."""
    return {
        frozenset(rule.partition(" -j ")[0].replace(",", " ").replace('"', "").split())
        for rule in rules
        if rule.startswith(f"-A {CHAIN} ")
    }


_JUMPS = [["-A", chain] for chain in BUILT_IN]
_TO_OURS = tuple(f" -j {chain}" for chain in CHAINS)


def _deletions(present: Iterable[str]) -> list[str]:
    return [
        rule.replace("-A", "-D", 1)
        for rule in present
        if rule.endswith(_TO_OURS) and rule.split()[:2] in _JUMPS
    ]


def _transaction(table: str, lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in (f"*{table}", *lines, "COMMIT"))


def describe(diversion: Diversion, family: str) -> str:
    """Return comment lines that explain what the rules of *family* do."""
    ports = " and ".join(map(str, diversion.ports))
    last = diversion.first_queue + diversion.queues - 1
    queue = (
        f"queue {diversion.first_queue}"
        if diversion.queues == 1
        else f"queues {diversion.first_queue} to {last}"
    )
    without = "it passes uninspected (fail-open)" if diversion.fail_open else "none of it passes"
    program = "iptables-restore" if family == "IPv4" else "ip6tables-restore"
    return (
        f"# {family}, for {program} --noflush: forwarded TCP to and from port {ports} goes to\n"
        f"# {queue}. While no filter runs there, {without}. Packets that the filter\n"
        f"# sends on untracked connections stay untracked.\n"
    )
