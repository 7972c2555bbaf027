"""The filter and its surroundings in a few lines: the start of `run`, and `nfinspect status`."""

from __future__ import annotations

from collections.abc import Iterable

from nfinspect.audit.text import duration
from nfinspect.live.misfits import FilterState
from nfinspect.live.survey import FamilySurvey, Survey
from nfinspect.rules.diverted import FamilyRules

LABEL = 12
"""Columns for what a line is about."""

Line = tuple[str, str]
"""What it is about, and the words."""


def block(lines: Iterable[Line]) -> str:
    """Return *lines* as text, indented; a label that repeats is printed once."""
    text, last = "", ""
    for label, words in lines:
        text += f"  {'' if label == last else label:<{LABEL}}{words}\n"
        last = label
    return text


def setting(state: FilterState) -> list[Line]:
    """How the filter was started."""
    full = "pass uninspected (fail-open)" if state.fail_open else "are dropped (fail-closed)"
    ports = [
        f"{port} {'inspected' if name else 'not inspected'}" for port, name in state.ports.items()
    ]
    watches = [("mode", "monitor: only watches, all packets pass unchanged")]
    return [
        *(watches if state.only_watches else ()),
        ("version", state.version),
        ("policy", state.policy),
        *(("", words) for words in state.inspections),
        ("ports", ", ".join(ports) or "none"),
        ("queue", f"{state.queue}; while it is full, further packets {full}"),
        ("socket", state.control),
    ]


def surroundings(survey: Survey) -> list[Line]:
    """What the system does."""
    rules = [(name, _rules(family)) for name, family in survey.families.items()]
    lines = [("rules", f"{name}: {words}") for name, words in rules]
    if rules and all(words == rules[0][1] for _, words in rules):
        lines = [("rules", f"{' and '.join(name for name, _ in rules)}: {rules[0][1]}")]
    forwarding = ", ".join(
        f"{name} {'on' if family.forwards else 'off (a bridge)' if family.bridges else 'off'}"
        for name, family in survey.families.items()
    )
    flowtables = [("flowtables", ", ".join(survey.flowtables))] if survey.flowtables else []
    return [*lines, ("forwarding", forwarding), *flowtables]


def activity(state: FilterState) -> list[Line]:
    """What the filter has done so far."""
    latest = "" if state.latest is None else f", the latest {duration(state.latest)} ago"
    causes = ", ".join(f"{cause} {count}" for cause, count in sorted(state.uninspected.items()))
    lost = f", SYNs lost {state.syns_lost}" if state.syns_lost else ""
    return [
        ("running", f"{duration(state.running)}, process {state.process}"),
        ("packets", f"{state.received}{latest}; waiting {state.waiting}, held {state.held}{lost}"),
        ("connections", f"{state.connections} in use; passed uninspected: {causes or 'none'}"),
    ]


def _rules(family: FamilySurvey) -> str:
    rules = family.rules
    if rules is None:
        return f"unknown ({family.trouble})"
    if not rules.effective:
        return "none" if not rules.table else f"none in force (table {rules.table})"
    return f"{_flows(rules)}, table {rules.table}"


def _flows(rules: FamilyRules) -> str:
    ports = sorted({flow.port for flow in rules.effective})
    queues = sorted({flow.first_queue for flow in rules.effective})
    unread = "fail-open" if all(flow.fail_open for flow in rules.effective) else "fail-closed"
    return (
        f"port {' and '.join(map(str, ports))} to queue {' and '.join(map(str, queues))}, {unread}"
    )
