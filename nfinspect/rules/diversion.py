"""The rules that divert the inspected ports to NFQUEUE, as iptables-restore reads them.

Where they stand, and why:

- Table security, chain FORWARD, at its end. It comes after the firewall's own filter FORWARD, so
  that the filter sees no SYN which the firewall refuses; and an accept from a queue ends the chain
  it was queued in, so that nothing of the firewall's may stand behind (a queue rule in mangle skips
  an MSS clamp behind it). A kernel without that table gets them at the end of mangle.
- In a chain of their own, so that they are replaced and removed as a whole.
- With a conntrack match that every packet meets. It is there for its side effect: connection
  tracking reassembles fragments, of which only the first has ports; the others would pass by.
- In both directions, and in both families, whose texts do not differ.
- Without ``--queue-bypass``: while no filter runs on the queue, nothing passes.

A second, small chain in raw OUTPUT keeps what the filter sends for a connection that is not tracked
out of connection tracking: it would begin an entry there, and be translated.

Only what the machine forwards is diverted. A mail server on the machine itself is out of scope.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nfinspect.rules.mark import MARK, MASK

CHAIN = "NFINSPECT"

TABLES = ("security", "mangle")
"""Where the rules that divert may stand, the best place first."""

RAW = "raw"
BUILT_IN = ("FORWARD", "OUTPUT")
"""The chains that lead to ours."""

ANY_STATE = "-m conntrack --ctstate NEW,ESTABLISHED,RELATED,INVALID,UNTRACKED"


@dataclass(frozen=True, slots=True)
class Diversion:
    """What is diverted where to."""

    ports: tuple[int, ...]
    """Of the servers."""
    first_queue: int = 0
    queues: int = 1
    fail_open: bool = False
    """Let everything pass uninspected while no filter runs on the queue."""

    @property
    def target(self) -> str:
        """The NFQUEUE target with its options."""
        last = self.first_queue + self.queues - 1
        if self.queues == 1:
            queue = f"--queue-num {self.first_queue}"
        else:
            queue = f"--queue-balance {self.first_queue}:{last}"
        return f"NFQUEUE {queue}{' --queue-bypass' if self.fail_open else ''}"


def application(diversion: Diversion, table: str, present: Iterable[str] = ()) -> str:
    """Return the text for ``iptables-restore --noflush`` that puts the rules into *table*.

    *present* are the rules of the table as ``iptables -S`` lists them; those that lead to our chain
    are replaced, in the same transaction, so that applying twice is applying once.
    """
    lines = [
        # restore empties a chain of the user's that it is told of, if it is there already
        f":{CHAIN} - [0:0]",
        *_deletions(present),
        f'-A FORWARD -p tcp -m comment --comment "nfinspect" -j {CHAIN}',
    ]
    for port in diversion.ports:
        for option, what in (("--dport", f"requests to port {port}"), ("--sport", "their replies")):
            lines.append(
                f"-A {CHAIN} -p tcp -m tcp {option} {port} {ANY_STATE}"
                f' -m comment --comment "{what}" -j {diversion.target}'
            )
    return _transaction(table, lines)


def untracking(present: Iterable[str] = ()) -> str:
    """Return the text that puts the rule for the filter's own packets into table raw.

    *present* as in `application`.
    """
    return _transaction(
        RAW,
        [
            f":{CHAIN} - [0:0]",
            *_deletions(present),
            f"-A OUTPUT -p tcp -m mark --mark {MARK:#x}/{MASK:#x}"
            f' -m comment --comment "nfinspect" -j {CHAIN}',
            f'-A {CHAIN} -m comment --comment "of the filter itself" -j CT --notrack',
        ],
    )


def removal(table: str, present: Sequence[str]) -> str:
    """Return the text that takes out of *table* what is ours there; empty if nothing."""
    lines = _deletions(present)
    if f"-N {CHAIN}" in present:
        lines += [f"-F {CHAIN}", f"-X {CHAIN}"]
    return _transaction(table, lines) if lines else ""


_JUMPS = [["-A", chain] for chain in BUILT_IN]


def _deletions(present: Iterable[str]) -> list[str]:
    return [
        rule.replace("-A", "-D", 1)
        for rule in present
        if rule.endswith(f" -j {CHAIN}") and rule.split()[:2] in _JUMPS
    ]


def _transaction(table: str, lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in (f"*{table}", *lines, "COMMIT"))


def describe(diversion: Diversion, family: str) -> str:
    """Return comment lines that tell a reader what the rules of *family* do."""
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
        f"# {queue}. While no filter runs there, {without}. What the filter itself\n"
        f"# sends for a connection that is not tracked stays untracked.\n"
    )
