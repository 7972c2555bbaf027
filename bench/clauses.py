"""What clauses cost: the same sessions under maps of no clause, of the default ones, of each criterion, and of
nine hundred; needs no root.

Hardly a clause matches, so that what is measured is looking, not logging.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence

from bench import instructions
from bench.instructions import NoValgrindError
from bench.machine import facts
from bench.micro import WORKLOADS, Workload
from bench.report import table
from bench.session import FIRST_PORT, Packet, session
from nfinspect.arrival import Arrival
from nfinspect.engine import Engine
from nfinspect.policy import default_policy, parse_policy
from nfinspect.policy.criteria import ROWS, Criterion, CriterionRow, Kind
from nfinspect.policy.model import Policy

DEFAULT = "the default map"
NAME = "measured"
MANY = 60
"""Clauses of each criterion in the largest map."""
ROUNDS = 9
EVERYTHING = "everything"
"""An expression that is found in all that is not empty."""

_UNUSED = {
    Criterion.COMMAND_VERB: "ETRN HELP NOOP RSET SAML SEND SOML VRFY",
    Criterion.EHLO_REPLY_PARAMETER: "auth binaryname checkpoint vrfy",
    Criterion.MIME_ENCODING: "7bit 8bit binary others quoted-printable",
}
"""Words that do not occur in the session."""
_BEYOND = 20_000_000
"""Bytes; nothing in the session is as long."""


def maps() -> dict[str, str | None]:
    """The configuration of each map, by what it is called; None is the default one."""
    return {
        DEFAULT: None,
        "no clause": _configuration([]),
        "one clause of each criterion": _configuration(_lines(1)),
        "one more of each with not": _configuration([*_lines(1), *_lines(1, negated=True)]),
        f"{MANY * len(ROWS)} clauses": _configuration(_lines(MANY)),
    }


def _configuration(clauses: Sequence[str]) -> str:
    expressions = sorted({line.split()[-1] for line in clauses if " regex " in line})
    lines = [
        f'regex {name} "{"." if name == EVERYTHING else f"{name}[.](exe|scr)$"}"'
        for name in expressions
    ]
    lines += [f"policy-map type inspect esmtp {NAME}", " parameters", "  mask-banner"]
    for clause in clauses:
        lines += [f" match {clause}", "  log"]
    lines += [" match ehlo-reply-parameter others", "  mask"]
    lines += ["policy-map global_policy", " class inspection_default", f"  inspect esmtp {NAME}"]
    return "\n".join([*lines, "service-policy global_policy global", ""])


def _lines(count: int, *, negated: bool = False) -> list[str]:
    word = "not " if negated else ""
    return [
        f"{word}{row.criterion.value} {value}"
        for row in ROWS
        for value in itertools.islice(_values(row, negated=negated), count)
    ]


def _values(row: CriterionRow, *, negated: bool) -> Iterator[str]:
    """Different values that the session does not meet."""
    if row.kind is Kind.EXPRESSION:
        prefix = row.criterion.value.split()[-1]
        yield from (f"regex {EVERYTHING if negated else f'{prefix}{n}'}" for n in range(MANY))
    elif row.kind is Kind.WORDS:
        words = row.words if negated else _UNUSED[row.criterion].split()
        if negated:
            yield " ".join(words)
        for length in range(1, len(words) + 1):
            yield from (" ".join(each) for each in itertools.permutations(words, length))
    elif negated:
        yield "gt 1"
    else:
        least = _BEYOND if row.kind is Kind.LENGTH else 1000
        yield from (f"gt {least + n}" for n in range(MANY))


def policy_of(configuration: str | None) -> Policy:
    return default_policy() if configuration is None else parse_policy(configuration, NAME).policy


def run(*, quick: bool = False) -> list[str]:
    """Measure; lines of text."""
    lines: list[str] = []
    for load in WORKLOADS:
        packets = session(load.size, load.segment)
        rows = list(_rows(load, packets, quick=quick))
        lines += [f"## {load.name}", ""]
        heads = ["map", "clauses", "instructions a session", "ratio", "CPU a session", "ratio"]
        lines += [*table(heads, rows), ""]
    return lines


def _rows(load: Workload, packets: Sequence[Packet], *, quick: bool) -> Iterator[list[str]]:
    configurations = maps()
    spent = _cpu(load, packets, configurations, 1 if quick else ROUNDS)
    counted: dict[str, float] = {}
    try:
        for name, configuration in configurations.items() if not quick else ():
            counted[name] = instructions.per_session(
                packets, *load.counted, configuration=configuration
            )
    except NoValgrindError:
        counted.clear()
    for name, configuration in configurations.items():
        clauses = len(policy_of(configuration).inspections[0].map.clauses)
        shown = [f"{counted[name]:,.0f}", _ratio(counted, name)] if counted else ["-", "-"]
        yield [name, str(clauses), *shown, f"{spent[name] * 1e6:,.0f} µs", _ratio(spent, name)]


def _ratio(values: dict[str, float], name: str) -> str:
    return f"{values[name] / values[DEFAULT]:.2f}"


def _cpu(
    load: Workload, packets: Sequence[Packet], configurations: dict[str, str | None], rounds: int
) -> dict[str, float]:
    """CPU seconds of a session under each map: the least of several rounds, in which they take turns."""
    policies = {name: policy_of(text) for name, text in configurations.items()}
    least = dict.fromkeys(policies, float("inf"))
    for _ in range(rounds):
        for name, policy in policies.items():
            engine = Engine(policy, started=0.0)
            arrivals = [
                Arrival(None, packet.at_port(port), 1000.0, checksum_ready=False, gso=packet.gso)
                for port in range(FIRST_PORT, FIRST_PORT + load.sessions)
                for packet in packets
            ]
            started = time.process_time()
            for arrival in arrivals:
                engine.arrive(arrival)
            spent = time.process_time() - started
            assert engine.connections == 0, name
            least[name] = min(least[name], spent / load.sessions)
    return least


def results(lines: Sequence[str], form: str, command: str) -> str:
    """The text of CLAUSES.md."""
    head = [
        "# What clauses cost",
        "",
        f"`{command}`, nfinspect {form}. Ratios are to the default map, of seven clauses.",
        "A session is one mail; CPU is the least of several rounds in which the maps take turns.",
        "",
    ]
    return "\n".join([*head, *lines, *(f"- {name}: {fact}" for name, fact in facts().items()), ""])
