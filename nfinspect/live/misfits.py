"""Why mail does not reach the filter, or passes it uninspected: one row for each reason.

`find` compares what the system does (`survey`) with what the filter expects (`FilterState`).
docs/operation.md has the same rows, with what to do about each.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from nfinspect.live.survey import FORWARDING, FamilySurvey, Survey
from nfinspect.rules.diversion import CHAIN
from nfinspect.rules.diverted import DIRECTIONS, FamilyRules, Flow
from nfinspect.rules.queues import syn_queue

QUIET = 60.0
"""Seconds without a first packet after which `run` says so."""


class Severity(enum.Enum):
    WARNING = "warning"
    """Mail passes uninspected, or does not pass at all, and nobody has asked for that."""
    NOTICE = "notice"


class MisfitRow(NamedTuple):
    severity: Severity
    text: str
    """A template for the facts of `find`."""
    cure: str = ""
    """The command or the advice that ends it, a template too."""

    def filled(self, kind: str, facts: Mapping[str, Any]) -> Misfit:
        """Return it with *facts* in the templates."""
        return Misfit(kind, self.severity, self.text.format_map(facts), self.cure.format_map(facts))


APPLY = "nfinspect rules --apply{queue_option}"
APPLY_BRIDGE = "nfinspect rules --apply --bridge{queue_option}"

ROWS = {
    "no-filter": MisfitRow(Severity.WARNING, "no filter answers on {control}", "nfinspect run"),
    "other-namespace": MisfitRow(
        Severity.WARNING,
        "the filter (process {process}) runs in another network namespace, whose rules are not seen"
        " from here",
        "nsenter --net --target {process} nfinspect status",
    ),
    "rules-unknown": MisfitRow(
        Severity.WARNING, "{family}: whether mail is diverted is unknown: {trouble}"
    ),
    "no-rules": MisfitRow(
        Severity.WARNING,
        "there are no rules of nfinspect: mail passes this machine uninspected",
        APPLY,
    ),
    "foreign-rules": MisfitRow(
        Severity.NOTICE,
        "packets arrive, but not by rules of nfinspect: whether these divert everything is unknown",
    ),
    "family-missing": MisfitRow(
        Severity.WARNING, "there are no rules for {family}: {family} mail passes uninspected", APPLY
    ),
    "chain-not-called": MisfitRow(
        Severity.WARNING,
        "{family}: FORWARD in table {table} does not call chain {chain}: mail passes uninspected",
        APPLY,
    ),
    "chain-empty": MisfitRow(
        Severity.WARNING,
        "{family}: chain {chain} in table {table} is empty: mail passes uninspected",
        APPLY,
    ),
    "port-missing": MisfitRow(
        Severity.WARNING,
        "{family}: port {port} is not diverted: its mail passes uninspected",
        APPLY,
    ),
    "direction-missing": MisfitRow(
        Severity.WARNING,
        "{family}: {direction} port {port} are not diverted: no mail passes there",
        APPLY,
    ),
    "rule-ahead": MisfitRow(
        Severity.WARNING,
        "{family}: a rule ahead of nfinspect's may let mail pass uninspected: {rule}",
        "let it leave the inspected ports alone",
    ),
    "other-queue": MisfitRow(
        Severity.WARNING,
        "{family}: the rules send mail to queue {rules_queue}, {reader}, and this filter reads queue"
        " {queue}",
        APPLY + ", or nfinspect run --queue-num {rules_queue}",
    ),
    "unread-queue": MisfitRow(
        Severity.WARNING,
        "{family}: the rules send mail to queue {rules_queue}, which nobody reads: {unread}",
        "nfinspect run{queue_option}, or nfinspect rules --remove",
    ),
    "syns-elsewhere": MisfitRow(
        Severity.WARNING,
        "{family}: the rules send SYNs to queue {rules_queue}, {reader}, and this filter reads them"
        " from queue {syn_queue}: no connection begins",
        APPLY,
    ),
    "syns-with-mail": MisfitRow(
        Severity.NOTICE,
        "{family}: the rules send SYNs to the queue that carries mail: a flood of them delays it",
        APPLY,
    ),
    "syns-lost": MisfitRow(
        Severity.NOTICE,
        "SYNs were lost because their queue, {syn_queue}, was full: a flood of them, or a filter that"
        " stood still; nfinspect show queue counts them",
        "an embryonic limit lets the kernel answer a flood",
    ),
    "forwarding-off": MisfitRow(
        Severity.WARNING,
        "{family} forwarding is off: no {family} mail passes this machine",
        "sysctl -w {setting}=1",
    ),
    "bridge-hidden": MisfitRow(
        Severity.WARNING,
        "{family}: this machine is a bridge, whose frames iptables does not see: mail passes"
        " uninspected",
        APPLY_BRIDGE,
    ),
    "flowtable": MisfitRow(
        Severity.WARNING,
        "connections in flowtable '{name}' bypass the filter",
        "exclude the inspected ports from it",
    ),
    "inspects-nothing": MisfitRow(
        Severity.NOTICE, "the policy inspects nothing: all mail passes uninspected"
    ),
    "no-packets": MisfitRow(
        Severity.NOTICE,
        "no packet has arrived since the start",
        "does mail take its way through this machine?",
    ),
    "uninspected": MisfitRow(
        Severity.NOTICE, "connections pass uninspected ({cause}); nfinspect status counts them"
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FilterState:
    """What the running filter knows of itself; the data of the control socket's ``status``."""

    version: str
    process: int
    namespace: int
    """Its network namespace (`survey.namespace`)."""
    running: float
    """Seconds since the start."""
    policy: str
    """The file it came from."""
    inspections: list[str]
    """Each ``inspect`` in the appliance's words."""
    ports: dict[str, str | None]
    """The inspection map of each diverted port; None if it is not inspected."""
    control: str
    queue: int
    fail_open: bool
    only_watches: bool
    """A full queue lets packets pass."""
    received: int
    """Packets."""
    latest: float | None
    """Seconds since the latest packet."""
    waiting: int
    syns_lost: int
    """SYNs that their queue could not take."""
    held: int
    connections: int
    uninspected: dict[str, int]
    """Connections by cause."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """One thing that is not as it should be."""

    kind: str
    """A key of `ROWS`."""
    severity: Severity
    text: str
    cure: str

    def __str__(self) -> str:
        cure = f" ({self.cure})" if self.cure else ""
        return f"{self.severity.value}: {self.text}{cure}"

    def to_json(self) -> dict[str, str]:
        """Return it as an object of JSON types."""
        return {
            "kind": self.kind,
            "severity": self.severity.value,
            "text": self.text,
            "cure": self.cure,
        }


def flowtable(name: str) -> Misfit:
    """Return the misfit of a flowtable."""
    return ROWS["flowtable"].filled("flowtable", {"name": name})


Found = tuple[str, dict[str, Any]]
"""A key of `ROWS` and the facts for its templates."""


def find(survey: Survey, state: FilterState | None, *, control: str = "") -> list[Misfit]:
    """Return what keeps mail from the filter, and what passes it uninspected.

    Without a running filter *state* is None, and *control* is the socket that was asked.
    """
    found = []
    for kind, facts in _joined(_find(survey, state, control)):
        queue = state.queue if state else facts.get("rules_queue", 0)
        facts = {
            "chain": CHAIN,
            "queue": queue,
            "syn_queue": syn_queue(queue),
            "queue_option": f" --queue-num {queue}" if queue else "",
            **facts,
        }
        found.append(ROWS[kind].filled(kind, facts))
    return found


def _joined(found: Iterable[Found]) -> list[Found]:
    """The same with one entry for what holds for several families."""
    joined: dict[tuple[Any, ...], Found] = {}
    for kind, facts in found:
        others = {name: fact for name, fact in facts.items() if name != "family"}
        known = joined.setdefault((kind, *others.items()), (kind, facts))
        if known[1] is not facts:
            known[1]["family"] += f" and {facts['family']}"
    return list(joined.values())


def _find(survey: Survey, state: FilterState | None, control: str) -> Iterator[Found]:
    if state is None:
        yield "no-filter", {"control": control}
    elif state.namespace != survey.namespace:
        yield "other-namespace", {"process": state.process}
        yield from _passing(state)
        return
    if state is None or state.ports:
        yield from _rules(survey, state)
    for name, family in survey.families.items():
        if family.bridges and not family.bridged_seen:
            yield "bridge-hidden", {"family": name}
        elif not family.forwards and not family.bridges and family.used:
            yield "forwarding-off", {"family": name, "setting": FORWARDING[name]}
    for table in survey.flowtables:
        yield "flowtable", {"name": table}
    if state is not None:
        yield from _passing(state)


def _rules(survey: Survey, state: FilterState | None) -> Iterator[Found]:
    known: dict[str, FamilyRules] = {}
    for name, family in survey.families.items():
        if family.rules is None:
            yield "rules-unknown", {"family": name, "trouble": family.trouble}
        else:
            known[name] = family.rules
    missing = [name for name, rules in known.items() if not rules.table]
    if missing and len(missing) == len(survey.families):
        yield ("foreign-rules" if state and state.received else "no-rules"), {}
        return
    for name, rules in known.items():
        if not rules.table:
            yield "family-missing", {"family": name}
        else:
            facts = {"family": name, "table": rules.table}
            for kind, more in _family(rules, survey, state):
                yield kind, facts | more


def _family(rules: FamilyRules, survey: Survey, state: FilterState | None) -> Iterator[Found]:
    if not rules.called:
        yield "chain-not-called", {}
        return
    if not rules.flows:
        yield "chain-empty", {}
        return
    if rules.ahead:
        first, *others = rules.ahead
        more = f" (and {len(others)} more)" if others else ""
        yield "rule-ahead", {"rule": first + more}
    if state is not None:
        yield from _ports(rules, state)
    yield from _queues(rules, survey.queues, None if state is None else state.queue)


def _ports(rules: FamilyRules, state: FilterState) -> Iterator[Found]:
    there = {(flow.direction, flow.port) for flow in rules.flows}
    for port in map(int, state.ports):
        absent = [each for each in DIRECTIONS.values() if (each, port) not in there]
        if len(absent) == len(DIRECTIONS):
            yield "port-missing", {"port": port}
        elif absent:
            yield "direction-missing", {"port": port, "direction": absent[0]}


def _queues(rules: FamilyRules, read: frozenset[int], own: int | None) -> Iterator[Found]:
    """What goes to a queue that is not the filter's *own*, or, without a filter, that nobody reads."""
    found = False
    for number, flow in {flow.first_queue: flow for flow in rules.effective}.items():
        if own is not None and not flow.first_queue <= own <= flow.last_queue:
            found = True
            yield "other-queue", {"rules_queue": number, "reader": _reader(flow, read)}
        elif own is None and number not in read:
            yield "unread-queue", {"rules_queue": number, "unread": _unread(flow)}
    if own is not None and not found:
        yield from _syns(rules, read, syn_queue(own))


def _syns(rules: FamilyRules, read: frozenset[int], own: int) -> Iterator[Found]:
    """The same for SYNs, if mail does go to the filter's queue."""
    for number, flow in {flow.first_queue: flow for flow in rules.syns}.items():
        if not flow.first_queue <= own <= flow.last_queue:
            yield "syns-elsewhere", {"rules_queue": number, "reader": _reader(flow, read)}
    if not {flow.port for flow in rules.flows} <= {flow.port for flow in rules.syns}:
        yield "syns-with-mail", {}


def _reader(flow: Flow, read: frozenset[int]) -> str:
    if flow.first_queue in read:
        return "which another process reads"
    return f"which nobody reads ({_unread(flow)})"


def _unread(flow: Flow) -> str:
    return "mail passes uninspected" if flow.fail_open else "no mail passes"


def _passing(state: FilterState) -> Iterator[Found]:
    if not any(state.ports.values()):
        yield "inspects-nothing", {}
    if not state.received:
        yield "no-packets", {}
    if state.syns_lost:
        yield "syns-lost", {}
    for cause in sorted(state.uninspected):
        yield "uninspected", {"cause": cause}


def stays(families: Mapping[str, FamilySurvey], queue: int) -> str:
    """Return what it means that the rules stay when the filter on *queue* ends; empty if there are
    none for it."""
    flows = {
        flow
        for family in families.values()
        if family.rules is not None
        for flow in family.rules.effective
        if flow.first_queue <= queue <= flow.last_queue
    }
    if not flows:
        return ""
    ports = " and ".join(str(port) for port in sorted({flow.port for flow in flows}))
    if all(flow.fail_open for flow in flows):
        meaning = f"mail to and from port {ports} passes uninspected"
    else:
        meaning = (
            f"no mail passes to or from port {ports} ('nfinspect rules --remove' lets it pass)"
        )
    return f"the rules stay: until a filter runs on queue {queue} again, {meaning}"
