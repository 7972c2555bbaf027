"""From a draft to the policy: every name finds its thing, or is an error at its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nfinspect.policy.draft import ClassDraft, Draft, MapDraft
from nfinspect.policy.errors import ConfigurationError, Finding
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import Inspection, InspectionMap, Parameters, Plan, Policy
from nfinspect.policy.syntax import closest

DEFAULT_MAP = "_default_esmtp_map"
"""The map of an ``inspect esmtp`` that names none."""

DEFAULT_INSPECTION_PORT = 25
"""Where default-inspection-traffic finds ESMTP."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that was understood."""

    policy: Policy
    maps: tuple[InspectionMap, ...]
    """Every inspection map that the text defines, applied or not."""
    notices: tuple[Finding, ...] = ()
    """What a person should know about it though it is no error."""


def resolve(draft: Draft, default: Draft) -> Configuration:
    """Return the configuration that *draft* means to a machine that ships with *default*.

    The default inspection map and class-map are always there, unless the text defines its own by
    that name. A text with a ``service-policy`` line is a whole configuration. One without is read
    as if typed into a machine with the default configuration: what it says about a class of the
    default's policy-map replaces what the default says about that class.

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
    idle = _idle(draft, classes, applied.text)
    if draft.service_policy is None and not errors:
        errors = idle
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
    # Every class stands for the same traffic so far: the first that inspects has it all. If none
    # does, mail is still known for what it is: rules that stand already bring it to the filter.
    plans = {DEFAULT_INSPECTION_PORT: Plan(next(iter(inspections), None))}
    return Configuration(
        Policy(plans, inspections, pickup),
        tuple(maps[name] for name in draft.maps),
        _sorted(
            [
                *draft.notices,
                *idle,
                *_unused_class_maps(draft, classes),
                *_surprises(applied, classes[applied.text]),
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
            expected = ("its action in the next line",)
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
            # A class that is only entered says nothing, and takes nothing away.
            said = {k: c for k, c in classes.get(name, {}).items() if c.said is not None}
            classes[name] = policy.classes | said
    return classes


def _map_name(policy_class: ClassDraft) -> str:
    return DEFAULT_MAP if policy_class.map_name is None else policy_class.map_name.text


def _check_names(draft: Draft, default: Draft, errors: list[Finding]) -> None:
    """Look for class-maps without a match, and for names of things that are nowhere defined."""
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
    return name.finding(f"no {kind} {name.quoted} is defined", suggestion=closest(name, known))


def _idle(draft: Draft, classes: dict[str, dict[str, ClassDraft]], applied: str) -> list[Finding]:
    """Return what is to be said about definitions that have no effect: faults in a text that was
    surely written to have one, notices in a whole configuration."""
    findings = []
    for name, policy in draft.policy_maps.items():
        if name != applied:
            message = f"policy-map {policy.name.quoted} is applied nowhere"
            findings.append(policy.name.finding(message, (f"service-policy {name} global",)))
    used = {
        _map_name(c)
        for policy in classes.values()
        for c in policy.values()
        if c.inspect is not None
    }
    for name, map_draft in draft.maps.items():
        if name not in used:
            message = f"no class inspects with the map {map_draft.name.quoted}"
            how = f"policy-map {applied}, class inspection_default, inspect esmtp {name}"
            findings.append(map_draft.name.finding(message, (how,)))
    return findings


def _unused_class_maps(
    draft: Draft, classes: dict[str, dict[str, ClassDraft]]
) -> Iterable[Finding]:
    """Yield the notices about class-maps that no policy-map has a class of: harmless, unless the
    name was meant to be another."""
    used = {name for policy in classes.values() for name in policy}
    for name, class_map in draft.class_maps.items():
        if name not in used:
            message = f"no policy-map has a class {class_map.name.quoted}"
            yield class_map.name.finding(message, suggestion=closest(class_map.name, used))


def _surprises(applied: Word, classes: dict[str, ClassDraft]) -> list[Finding]:
    """Return the notices about a policy that is sound but may not be what was meant."""
    inspecting = [c for c in classes.values() if c.inspect is not None]
    if not inspecting:
        message = f"policy-map {applied.quoted} inspects nothing: all mail passes as it is"
        said = [c.said for c in classes.values() if c.said is not None]
        return [(said or [applied])[0].finding(message)]
    return [
        later.name.finding(f"class {inspecting[0].name.quoted} has all the traffic of this class")
        for later in inspecting[1:]
    ]
