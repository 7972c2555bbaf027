"""What a reload would change, without doing it: the rules, the plans of the ports, the configuration, and
what is to be said about the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import unified_diff

from nfinspect.live.control import Answer
from nfinspect.policy import Configuration, canonical
from nfinspect.policy.advice import advise
from nfinspect.policy.model import Plan, Policy
from nfinspect.rules.diversion import TABLES, Diversion, application, translating

FAMILIES = {"IPv4": 4, "IPv6": 6}


def foresee(
    now: Configuration, then: Configuration, rules: tuple[Diversion, Diversion], *, applies: bool
) -> Answer:
    """Return how *then* differs from *now*. *rules* are those of both; *applies*: the filter changes
    them itself."""
    of_rules = {
        family: list(_difference(*(_lines(each, version) for each in rules)))
        for family, version in FAMILIES.items()
    }
    plans = _plans(now.policy, then.policy)
    text = list(_difference(*(_canonical(each) for each in (now, then))))
    advice = [] if then.effective is None else advise(then)
    said = [str(finding) for finding in (*advice, *then.not_done)]
    who = "" if applies else " (not this filter's: nfinspect rules --apply changes them)"
    blocks = [
        *_block(f"rules{who}", (f"{f}: {line}" for f, lines in of_rules.items() for line in lines)),
        *_block(
            "plans, of new connections",
            (f"port {port}: {was} -> {will}" for port, (was, will) in plans.items()),
        ),
        *_block("configuration", text),
        *_block("to be said about it", said, nothing="nothing"),
        "nothing has been changed (nfinspect reload does it)",
    ]
    return Answer(
        "".join(f"{line}\n" for line in blocks),
        {
            "rules": of_rules,
            "rules_of_this_filter": applies,
            "plans": {str(port): {"now": w, "then": t} for port, (w, t) in plans.items()},
            "configuration": text,
            "findings": said,
        },
    )


def _block(
    title: str, lines: Iterator[str] | Sequence[str], nothing: str = "unchanged"
) -> list[str]:
    found = [f"  {line}" for line in lines]
    return [f"{title}:", *found] if found else [f"{title}: {nothing}"]


def _lines(diversion: Diversion, version: int) -> list[str]:
    """The rules, without what surrounds them."""
    text = application(diversion, TABLES[0], version)
    text += translating(diversion.nat.get(version, ()))
    return [line for line in text.splitlines() if line.startswith("-A ")]


def _canonical(configuration: Configuration) -> list[str]:
    if configuration.effective is None:
        return []
    return [line for line in canonical.text(configuration).splitlines() if line != "!"]


def _difference(now: Sequence[str], then: Sequence[str]) -> Iterator[str]:
    for line in unified_diff(now, then, n=0, lineterm=""):
        if not line.startswith(("---", "+++", "@@")):
            yield f"{line[0]} {line[1:]}"


def _plans(now: Policy, then: Policy) -> dict[int, tuple[str, str]]:
    """What becomes of the ports whose plan is another."""
    found = {}
    for port in sorted({*now.plans, *then.plans}):
        was, will = (_words(each.plans, port) for each in (now, then))
        if was != will:
            found[port] = (was, will)
    return found


def _words(plans: Mapping[int, Plan], port: int) -> str:
    plan = plans.get(port)
    if plan is None:
        return "not covered"
    inspection = plan.inspection
    if inspection is None:
        return "not inspected"
    return f"inspect esmtp {inspection.map.name}, class {inspection.class_map}"
