"""From a draft to the policy: looks up every name, and reports those that are not defined."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nfinspect.policy.draft import ClassDraft, Draft, MapDraft
from nfinspect.policy.errors import ConfigurationError, Finding
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import Inspection, InspectionMap, Parameters, Plan, Policy
from nfinspect.policy.syntax import closest

DEFAULT_MAP = "_default_esmtp_map"
"""The map of an ``inspect esmtp`` without a name."""

DEFAULT_INSPECTION_PORT = 25
"""The ESMTP port of default-inspection-traffic."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A valid configuration."""

    policy: Policy
    maps: tuple[InspectionMap, ...]
    """Every inspection map that the text defines, applied or not."""
    notices: tuple[Finding, ...] = ()
    """What is worth knowing about it, but no error."""


def resolve(draft: Draft, default: Draft) -> Configuration:
    """Return the configuration that *draft* makes, on top of *default*.

    The default inspection map and class-map always exist, unless the text defines its own of that
    name. A text with a ``service-policy`` line is a complete configuration. One without is read as
    if typed into an appliance with the default configuration: what it says about a class replaces
    what the default says about that class.

    Raises ConfigurationError.
    """
    errors: list[Finding] = []
    maps = {
        name: _inspection_map(map_draft, errors)
        for name, map_draft in (default.maps | draft.maps).items()
    }
    _check_names(draft, default, errors)
    classes = _classes(draft, default)
    applied = draft.service_policy or default.service_policy
    assert applied is not None, "the default configuration applies a policy-map"
    if applied.text not in classes:
        errors.append(_undefined("policy-map", applied, classes))
    without_effect = _without_effect(draft, classes, applied.text)
    if draft.service_policy is None and not errors:
        errors = without_effect
    if errors:
        raise ConfigurationError(_sorted(errors))

    inspections = tuple(
        Inspection(applied.text, name, maps[_map_name(policy_class)])
        for name, policy_class in classes[applied.text].items()
        if policy_class.inspect is not None
    )
    pickup = max(
        (i.map.parameters.midstream_pickup for i in inspections),
        default=Parameters().midstream_pickup,
    )
    # All classes match the same traffic so far, so the first one that inspects gets all of it. If
    # none inspects, the port keeps a plan: rules already in place may divert it to the filter.
    plans = {DEFAULT_INSPECTION_PORT: Plan(next(iter(inspections), None))}
    return Configuration(
        Policy(plans, inspections, pickup),
        tuple(maps[name] for name in draft.maps),
        _sorted(
            [
                *draft.notices,
                *without_effect,
                *_unused_class_maps(draft, classes),
                *_dubious(applied, classes[applied.text]),
            ]
        ),
    )


def _sorted(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda finding: (finding.line, finding.column)))


def _inspection_map(draft: MapDraft, errors: list[Finding]) -> InspectionMap:
    clauses = []
    for position, clause_draft in enumerate(draft.clauses.values(), 1):
        clause = clause_draft.clause(position)
        if clause is None:
            expected = ("its action on the next line",)
            errors.append(clause_draft.word.finding("the match has no action", expected))
        else:
            clauses.append(clause)
    parameters = Parameters(**draft.parameters)
    return InspectionMap(draft.name.text, draft.description, parameters, tuple(clauses))


def _classes(draft: Draft, default: Draft) -> dict[str, dict[str, ClassDraft]]:
    """Return the classes of each policy-map, by name, in the order in which they are tried."""
    classes = {name: dict(policy.classes) for name, policy in draft.policy_maps.items()}
    if draft.service_policy is None:
        for name, policy in default.policy_maps.items():
            # A class without a line of its own leaves the default's class as it is.
            said = {k: c for k, c in classes.get(name, {}).items() if c.said is not None}
            classes[name] = policy.classes | said
    return classes


def _map_name(policy_class: ClassDraft) -> str:
    return DEFAULT_MAP if policy_class.map_name is None else policy_class.map_name.text


def _check_names(draft: Draft, default: Draft, errors: list[Finding]) -> None:
    """Find class-maps without a match, and names that are not defined."""
    for class_map in draft.class_maps.values():
        if class_map.criterion is None:
            message = f"class-map {class_map.name.quoted} has no match"
            expected = ("match default-inspection-traffic below it",)
            errors.append(class_map.name.finding(message, expected))
    maps, class_maps = default.maps | draft.maps, default.class_maps | draft.class_maps
    for policy in draft.policy_maps.values():
        for policy_class in policy.classes.values():
            if policy_class.name.text not in class_maps:
                errors.append(_undefined("class-map", policy_class.name, class_maps))
            if policy_class.map_name is not None and policy_class.map_name.text not in maps:
                kind = "policy-map type inspect esmtp"
                errors.append(_undefined(kind, policy_class.map_name, maps))


def _undefined(kind: str, name: Word, known: Iterable[str]) -> Finding:
    return name.finding(f"{kind} {name.quoted} is not defined", suggestion=closest(name, known))


def _without_effect(
    draft: Draft, classes: dict[str, dict[str, ClassDraft]], applied: str
) -> list[Finding]:
    """Return findings about definitions that have no effect. The caller makes them notices in a
    complete configuration, and errors in a partial one, which can have no other purpose."""
    findings = []
    for name, policy in draft.policy_maps.items():
        if name != applied:
            message = f"policy-map {policy.name.quoted} is not applied"
            findings.append(policy.name.finding(message, (f"service-policy {name} global",)))
    used = {
        _map_name(c)
        for policy in classes.values()
        for c in policy.values()
        if c.inspect is not None
    }
    for name, map_draft in draft.maps.items():
        if name not in used:
            message = f"no class uses the map {map_draft.name.quoted}"
            how = f"policy-map {applied}, class inspection_default, inspect esmtp {name}"
            findings.append(map_draft.name.finding(message, (how,)))
    return findings


def _unused_class_maps(
    draft: Draft, classes: dict[str, dict[str, ClassDraft]]
) -> Iterable[Finding]:
    """Yield notices about class-maps that no policy-map uses: harmless, unless the name is a
    typo."""
    used = {name for policy in classes.values() for name in policy}
    for name, class_map in draft.class_maps.items():
        if name not in used:
            message = f"no policy-map uses class-map {class_map.name.quoted}"
            yield class_map.name.finding(message, suggestion=closest(class_map.name, used))


def _dubious(applied: Word, classes: dict[str, ClassDraft]) -> list[Finding]:
    """Return notices about a policy that is valid but may not be what was intended."""
    inspecting = [c for c in classes.values() if c.inspect is not None]
    if not inspecting:
        message = f"policy-map {applied.quoted} inspects nothing: all mail passes uninspected"
        said = [c.said for c in classes.values() if c.said is not None]
        return [(said or [applied])[0].finding(message)]
    return [
        later.name.finding(f"no effect: class {inspecting[0].name.quoted} matches the same traffic")
        for later in inspecting[1:]
    ]
