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
- SYNs, in either direction, go to a queue of their own (`rules.queues`): however many come, they take no
  place in the one that carries data.
- Without ``--queue-bypass``: while no filter runs on the queue, nothing passes.

Exempt connections (`rules.exemption`) are marked in conntrack by chains that only their first packet
meets, and marked ones return before the queue.

If the policy limits connections, those that it does not inspect are shown to the filter with their first
packet (`rules.counting`): exempt ones by `EXEMPT`, those to other ports by `COUNT`, behind the queue's rules.

A second, small chain in raw OUTPUT keeps the filter's packets on untracked connections out of
connection tracking, which would create an entry for them and might translate them. Two chains in
nat hold the policy's static translations, if it has any.

Only forwarded traffic is diverted. A mail server on the machine itself is out of scope.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nfinspect.rules.counting import Covered
from nfinspect.rules.interception import (
    ANSWERS,
    OUTPUT_DNAT,
    PROXY,
    SYN,
    SYN_ACK,
    SYNS,
    answers_not_tracked,
    not_tracked,
    not_translated,
)
from nfinspect.rules.mark import MARK, MASK
from nfinspect.rules.queues import syn_queue

CHAIN = "NFINSPECT"
DNAT, SNAT = f"{CHAIN}-DNAT", f"{CHAIN}-SNAT"
EXEMPT, QUEUE, COUNT = f"{CHAIN}-EXEMPT", f"{CHAIN}-QUEUE", f"{CHAIN}-COUNT"
CALLED = (CHAIN, DNAT, SNAT, PROXY, SYNS, ANSWERS, OUTPUT_DNAT)
"""Our chains that a built-in chain jumps to. All others begin with `CHAIN` and a hyphen."""

TABLES = ("security", "mangle")
"""Tables for the diverting rules, the preferred one first."""

RAW = "raw"
NAT = "nat"
BUILT_IN = ("FORWARD", "INPUT", "OUTPUT", "PREROUTING", "POSTROUTING")
"""The chains that jump to ours."""

MULTIPORT = 15
"""Ports in one match."""

ANY_STATE = "-m conntrack --ctstate NEW,ESTABLISHED,RELATED,INVALID,UNTRACKED"


FIRST = "-m conntrack --ctstate NEW --ctdir ORIGINAL"
"""The first packet of a connection; while nobody answers, its repetitions too."""

MARKED = f"{MARK:#x}/{MASK:#x}"

OPENS = "-p tcp -m tcp --tcp-flags SYN,ACK SYN"
"""The first packet of a handshake, whatever other flags it has."""

SETS_MARK = f"-j CONNMARK --set-xmark {MARKED}"

PASSES_MARKED = f'-p tcp -m connmark --mark {MARKED} -m comment --comment "exempt" -j ACCEPT'


@dataclass(frozen=True, slots=True)
class Exemption:
    """Which connections are not diverted."""

    chains: Mapping[str, Sequence[str]]
    """The rules of each chain; the first one gets the first packets of all connections. Empty if the
    filter decides about all of them."""
    notes: tuple[str, ...] = ()
    """What the rules leave to the filter, and why."""


@dataclass(frozen=True, slots=True)
class Diversion:
    """Which ports are diverted to which queues."""

    ports: tuple[int, ...]
    """The servers' ports."""
    first_queue: int = 0
    queues: int = 1
    fail_open: bool = False
    """Let everything pass uninspected while no filter runs on the queue."""
    exempt: Mapping[int, Exemption] = field(default_factory=dict)
    """The exempt connections, by IP version (`rules.exemption`)."""
    nat: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """The rules of the chains `DNAT` and `SNAT`, by IP version (`rules.translation`)."""
    bridged: bool = False
    """Interfaces are matched on a bridge too, where that matters."""
    intercepts: bool = False
    """The kernel can answer SYNs (`rules.interception`)."""
    counts: bool = False
    """The policy limits connections: first packets of exempt ones are queued."""
    covered: Mapping[int, Sequence[Covered]] = field(default_factory=dict)
    """Servers of other ports that are counted, by IP version (`rules.counting`)."""

    @property
    def notes(self) -> list[str]:
        """What the rules leave to the filter."""
        return [note for exempt in self.exempt.values() for note in exempt.notes]

    @property
    def target(self) -> str:
        """The NFQUEUE target with its options."""
        return self._target(self.first_queue)

    @property
    def syn_target(self) -> str:
        """The same for SYNs."""
        return self._target(syn_queue(self.first_queue))

    def _target(self, first: int) -> str:
        if self.queues == 1:
            queue = f"--queue-num {first}"
        else:
            queue = f"--queue-balance {first}:{first + self.queues - 1}"
        return f"NFQUEUE {queue}{' --queue-bypass' if self.fail_open else ''}"

    def counting(self, target: str) -> str:
        """A target for packets that are only counted: while no filter runs they pass."""
        return target if self.fail_open else f"{target} --queue-bypass"


def application(
    diversion: Diversion,
    table: str,
    version: int,
    present: Sequence[str] = (),
    *,
    keep_marked: bool = False,
) -> str:
    """Return the text for ``iptables-restore --noflush`` that puts the rules for an IP version into
    *table*.

    *present* are the rules of the table as listed by ``iptables -S``; ours are replaced in the same
    transaction, so that applying twice has the effect of applying once. A text for a table without
    our rules is refused as a whole where there are some, and changes nothing. With *keep_marked*,
    connections that were exempt as they began stay so, though the policy exempts nobody now.
    """
    chains: dict[str, list[str]] = {CHAIN: []}
    exempt, covered = diversion.exempt.get(version), diversion.covered.get(version, ())
    if exempt is not None and exempt.chains:
        decides, *_ = exempt.chains
        chains[CHAIN] = [
            PASSES_MARKED,
            *(
                f"{ports} {FIRST} -j {decides}"
                for ports in port_matches("--dport", diversion.ports)
            ),
        ]
        chains |= {name: list(rules) for name, rules in exempt.chains.items()}
        chains[EXEMPT] = _marking(diversion) if diversion.counts else [SETS_MARK, "-j ACCEPT"]
        if any(f"-g {QUEUE}" in rule for rules in chains.values() for rule in rules):
            chains[QUEUE] = [f"{OPENS} -j {diversion.syn_target}", f"-j {diversion.target}"]
    elif keep_marked or covered:
        chains[CHAIN] = [PASSES_MARKED]
    if covered:
        chains[COUNT] = _marking(diversion)
    if diversion.intercepts:
        if diversion.counts and PASSES_MARKED in chains[CHAIN]:
            answer = f'-p tcp -m tcp {SYN_ACK} -m connmark --mark {MARKED} -m comment --comment "how servers answer"'
            chains[CHAIN].insert(0, f"{answer} -j {diversion.counting(diversion.target)}")
        chains[CHAIN].insert(0, f'-p tcp -m comment --comment "TCP intercept" -j {PROXY}')
        chains[PROXY] = []
    for ports in _several(diversion.ports):
        chains[CHAIN].append(
            f"{OPENS} -m multiport --ports {ports} {ANY_STATE}"
            f' -m comment --comment "SYNs" -j {diversion.syn_target}'
        )
    for port in diversion.ports:
        for option, what in (
            ("--dport", f"requests to port {port}"),
            ("--sport", f"replies from port {port}"),
        ):
            chains[CHAIN].append(
                f"-p tcp -m tcp {option} {port} {ANY_STATE}"
                f' -m comment --comment "{what}" -j {diversion.target}'
            )
    for each in covered:
        to = f"{each.matches('-d', '--dport')} -m conntrack --ctdir ORIGINAL"
        chains[CHAIN].append(f'{to} -m comment --comment "counted" -j {COUNT}')
        if diversion.intercepts:
            answer = f"{each.matches('-s', '--sport')} -m tcp {SYN_ACK} -m conntrack --ctdir REPLY"
            chains[CHAIN].append(f'{answer} -m comment --comment "counted" -j {COUNT}')
    calls = [f'-A FORWARD -p tcp -m comment --comment "nfinspect" -j {CHAIN}']
    if diversion.intercepts and diversion.nat.get(version):
        calls.append(f'-A INPUT -p tcp -m comment --comment "nfinspect" -j {PROXY}')
    return _transaction(table, _replacing(present, chains, calls))


def _marking(diversion: Diversion) -> list[str]:
    """The rules that mark a connection, and show the filter whether it may begin."""
    rules = [SETS_MARK, f"{OPENS} -j {diversion.counting(diversion.syn_target)}"]
    if diversion.intercepts:
        rules.append(f"-p tcp -m tcp {SYN_ACK} -j {diversion.counting(diversion.target)}")
    return [*rules, "-j ACCEPT"]


_INTERFACE = re.compile(r" -i \S+ ")


def port_matches(option: str, ports: Sequence[int]) -> list[str]:
    """Return what matches packets with one of *ports*; *option* is ``--dport`` or ``--sport``."""
    if len(ports) == 1:
        return [f"-p tcp -m tcp {option} {ports[0]}"]
    return [f"-p tcp -m multiport {option}s {some}" for some in _several(ports)]


def _several(ports: Sequence[int]) -> list[str]:
    """Return *ports* as the match multiport takes them."""
    return [
        ",".join(map(str, ports[at : at + MULTIPORT])) for at in range(0, len(ports), MULTIPORT)
    ]


def _replacing(
    present: Sequence[str], chains: Mapping[str, Sequence[str]], calls: Sequence[str]
) -> list[str]:
    """Return the lines that put *chains* into a table, and the rules that call them."""
    there = our_chains(present)
    obsolete = [name for name in there if name not in chains]
    return [
        # empties the chain
        *(f":{name} - [0:0]" for name in chains if name in there),
        *(f"-F {name}" for name in obsolete),
        *_deletions(present),
        *(f"-X {name}" for name in obsolete),
        *(f"-N {name}" for name in chains if name not in there),
        *calls,
        *(f"-A {name} {rule}" for name, rules in chains.items() for rule in rules),
    ]


def untracking(present: Sequence[str] = (), intercepted: int = 0) -> str:
    """Return the text that puts the rules for packets sent by the filter into table raw, and those for
    TCP intercept, if an IP version is *intercepted*.

    *present* is as in `application`.
    """
    call = f'-A OUTPUT -p tcp -m mark --mark {MARKED} -m comment --comment "nfinspect" -j {CHAIN}'
    rules = ['-m comment --comment "sent by nfinspect" -j CT --notrack']
    chains, calls = {CHAIN: rules}, [call]
    if intercepted:
        chains[SYNS] = not_tracked(intercepted)
        chains[ANSWERS] = answers_not_tracked(intercepted)
        calls += [
            f'-A {built_in} -p tcp -m tcp {flags} -m comment --comment "nfinspect" -j {chain}'
            for built_in, flags, chain in (
                ("PREROUTING", SYN, SYNS),
                ("OUTPUT", SYN_ACK, ANSWERS),
            )
        ]
    return _transaction(RAW, _replacing(present, chains, calls))


def translating(rules: Sequence[str], present: Sequence[str] = (), intercepted: int = 0) -> str:
    """Return the text that puts *rules*, of the chains `DNAT` and `SNAT`, into table nat, or without
    rules removes them; with those for TCP intercept, if an IP version is *intercepted*.

    *present* is as in `application`.
    """
    if not rules:
        return removal(NAT, present)
    calls = [
        f'-A {built_in} -m comment --comment "nfinspect" -j {chain}'
        for built_in, chain in (("PREROUTING", DNAT), ("POSTROUTING", SNAT))
    ]
    chains: dict[str, Sequence[str]] = {DNAT: (), SNAT: ()}
    if intercepted:
        chains[DNAT] = not_translated(intercepted)
        chains[OUTPUT_DNAT] = [
            _INTERFACE.sub(" ", rule).removeprefix(f"-A {DNAT} ")
            for rule in rules
            if rule.startswith(f"-A {DNAT} ")
        ]
        calls.append(
            "-A OUTPUT -p tcp -m addrtype ! --src-type LOCAL"
            f' -m comment --comment "nfinspect" -j {OUTPUT_DNAT}'
        )
    lines = _replacing(present, chains, calls)
    return _transaction(NAT, [*lines, *rules])


def removal(table: str, present: Sequence[str]) -> str:
    """Return the text that removes our rules from *table*; empty if there are none."""
    lines = _replacing(present, {}, ())
    return _transaction(table, lines) if lines else ""


def our_chains(present: Iterable[str]) -> list[str]:
    """Return the names of our chains in a listing of ``iptables -S``."""
    names = (rule.removeprefix("-N ") for rule in present if rule.startswith("-N "))
    return [name for name in names if name == CHAIN or name.startswith(f"{CHAIN}-")]


def are_others(present: Sequence[str], diversion: Diversion, version: int) -> bool:
    """Whether the rules of a table, as listed by ``iptables -S``, include ours, but other ones than
    *diversion* needs: another policy or version of nfinspect has put them there. To which queue
    they divert does not count."""
    kept = passes_marked(present)
    text = application(diversion, TABLES[0], version, keep_marked=kept)
    return bool(found := _criteria(present)) and found != _criteria(text.splitlines())


def passes_marked(present: Iterable[str]) -> bool:
    """Whether exempt connections pass by the rules of a table, as listed by ``iptables -S``."""
    wanted = f"-m connmark --mark {MARKED}"
    return any(rule.startswith(f"-A {CHAIN} ") and wanted in rule for rule in present)


def _criteria(rules: Iterable[str]) -> set[frozenset[str]]:
    """Return what our rules match, whatever the order in which they say it."""
    return {
        frozenset(rule.partition(" -j NFQUEUE")[0].replace(",", " ").replace('"', "").split())
        for rule in rules
        if rule.startswith((f"-A {CHAIN} ", f"-A {CHAIN}-"))
        and not rule.startswith(f"-A {PROXY} ")  # the running filter fills it
    }


_JUMPS = [["-A", chain] for chain in BUILT_IN]
_TO_OURS = tuple(f" -j {chain}" for chain in CALLED)


def is_call(rule: str) -> bool:
    """Whether a rule of a listing is in a built-in chain and calls one of ours."""
    return rule.endswith(_TO_OURS) and rule.split()[:2] in _JUMPS


def _deletions(present: Iterable[str]) -> list[str]:
    return [rule.replace("-A", "-D", 1) for rule in present if is_call(rule)]


def _transaction(table: str, lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in (f"*{table}", *lines, "COMMIT"))


def describe(diversion: Diversion, family: str) -> str:
    """Return comment lines that explain what the rules of *family* do."""
    ports = " and ".join(map(str, diversion.ports))
    queue, syns = (
        f"queue {first}"
        if diversion.queues == 1
        else f"queues {first} to {first + diversion.queues - 1}"
        for first in (diversion.first_queue, syn_queue(diversion.first_queue))
    )
    without = "it passes uninspected (fail-open)" if diversion.fail_open else "none of it passes"
    exempt = diversion.exempt.get(4 if family == "IPv4" else 6)
    more = ""
    if exempt is not None:
        if exempt.chains:
            more = "# Connections that the policy exempts pass by themselves.\n"
        more += "".join(f"# {note}\n" for note in exempt.notes)
    version = 4 if family == "IPv4" else 6
    if diversion.counts and ((exempt and exempt.chains) or diversion.covered.get(version)):
        more += "# Those that limits may cover are shown to the filter as they begin; while none runs they pass.\n"
    program = "iptables-restore" if family == "IPv4" else "ip6tables-restore"
    return (
        f"# {family}, for {program} --noflush: forwarded TCP to and from port {ports} goes to\n"
        f"# {queue}, SYNs to {syns}. While no filter runs there, {without}.\n"
        f"# Packets that the filter sends on untracked connections stay untracked.\n{more}"
    )
