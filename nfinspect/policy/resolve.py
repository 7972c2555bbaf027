"""From a draft to the policy: looks up every name, and reports those that are not defined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from nfinspect.policy.commands import (
    classes,
    inspection,
    interfaces,
    nat,
    normalizer,
    pix6,
    policies,
    sysopt,
    timeouts,
)
from nfinspect.policy.commands.classes import CLASS_DEFAULT, ClassMap, ClassMaps
from nfinspect.policy.commands.inspection import InspectionMaps, MapDraft
from nfinspect.policy.commands.numbers import IP, TCP
from nfinspect.policy.commands.objects import undefined
from nfinspect.policy.commands.policies import ClassDraft, PolicyMaps
from nfinspect.policy.coverage import uncovered
from nfinspect.policy.errors import ConfigurationError, Finding
from nfinspect.policy.grammar import Draft
from nfinspect.policy.lexer import Word
from nfinspect.policy.model import (
    ClassPolicy,
    Inspection,
    InspectionMap,
    Match,
    Parameters,
    Plan,
    Policy,
    ServicePolicy,
)
from nfinspect.policy.ranges import ALL_PORTS, Ranges
from nfinspect.policy.syntax import closest

DEFAULT_MAP = "_default_esmtp_map"
"""The map of an ``inspect esmtp`` without a name."""

MOST_PORTS = 64
"""Ports of one range that are diverted; of a wider range only port 25 is."""


@dataclass(frozen=True, slots=True)
class Effective:
    """The definitions that hold: those of the text, and of the default where it says nothing."""

    draft: Draft
    maps: Mapping[str, MapDraft]
    class_maps: Mapping[str, ClassMap]
    policies: Mapping[str, Mapping[str, ClassDraft]]
    """The classes of each policy-map, in the order in which they are tried."""
    applied: Mapping[str, Word]
    """The policy-map's name, by interface; under an empty name the global one."""

    @property
    def names_applied(self) -> tuple[str, ...]:
        """The policy-maps that are applied, each once."""
        return tuple(dict.fromkeys(name.text for name in self.applied.values()))


@dataclass(frozen=True, slots=True)
class Configuration:
    """A valid configuration."""

    policy: Policy
    maps: tuple[InspectionMap, ...]
    """Every inspection map that the text defines, applied or not."""
    own_notices: tuple[Finding, ...] = ()
    """What is worth knowing about it, but no error."""
    not_done: tuple[Finding, ...] = ()
    """Lines that change what happens to mail on an appliance, and do not here."""
    understood: int = 0
    """Lines that have a meaning here."""
    other: Mapping[str, int] = field(default_factory=dict)
    """Lines that are not about this filter, by command."""
    effective: Effective | None = field(default=None, compare=False, repr=False)
    """What the policy was made from."""

    @property
    def notices(self) -> tuple[Finding, ...]:
        """What whoever runs this should be told."""
        return in_order((*self.own_notices, *self.not_done))


@dataclass(slots=True)
class _Resolving:
    """The state of resolving one text."""

    draft: Draft
    default: Draft
    maps: dict[str, InspectionMap] = field(default_factory=dict)
    class_maps: dict[str, ClassMap] = field(default_factory=dict)
    matches: dict[str, Match] = field(default_factory=dict)
    policies: dict[str, dict[str, ClassDraft]] = field(default_factory=dict)
    """The classes of each policy-map, in the order in which they are tried."""
    ports: dict[int, Ranges] = field(default_factory=dict)
    """The server's ports that the lists of classes permit, by the identity of their entries."""


def is_complete(draft: Draft) -> bool:
    """Whether the text says what is applied, and so does not add to the default."""
    return bool(draft[PolicyMaps].applied) or (pix6.applies(draft) and not draft[PolicyMaps].maps)


def resolve(
    draft: Draft, default: Draft, devices: Mapping[str, str] | None = None
) -> Configuration:
    """Return the configuration that *draft* makes, on top of *default*.

    The default inspection map and class-map always exist, unless the text defines its own of that
    name. A text with a ``service-policy`` line is a complete configuration, and so is one of PIX 6.
    Any other is read as if typed into an appliance with the default configuration: what it says
    about a class replaces what the default says about that class. *devices* are Linux interfaces by
    the appliance's name.

    Raises ConfigurationError.
    """
    state = _Resolving(draft, default)
    for part in (default, draft):
        for name, map_draft in part[InspectionMaps].maps.items():
            state.maps[name] = inspection.resolve(draft, map_draft)
    state.class_maps = _class_maps(state)
    state.policies = _policies(state)
    applied = draft[PolicyMaps].applied
    if not applied and not is_complete(draft):
        applied = default[PolicyMaps].applied
    service_policies = _service_policies(state, applied)
    translations = nat.resolve(draft)
    without_effect = _without_effect(state, applied)
    if not is_complete(draft) and not draft.findings:
        draft.findings += without_effect
    if draft.findings:
        raise ConfigurationError(in_order(draft.findings))

    inspections = tuple(
        c.inspection for policy in service_policies for c in policy.classes if c.inspection
    )
    pickup = max(
        (i.map.parameters.midstream_pickup for i in inspections),
        default=Parameters().midstream_pickup,
    )
    global_timeouts = timeouts.resolve(draft)
    policy = Policy(
        _plans(state, service_policies),
        inspections,
        pickup,
        service_policies,
        translations,
        interfaces.resolve(draft, devices or {}),
        global_timeouts,
        pix6.applies(draft),
        sysopt.resolve(draft),
    )
    draft.not_done += uncovered(
        policy,
        {
            (name, each.name.text): each.limits_word
            for name, found in state.policies.items()
            for each in found.values()
        },
    )
    draft.notices += [
        replace(finding, code=code, read=classes.READ)
        for code, findings in (
            ("without-effect", without_effect),
            ("unused-class-map", _unused_class_maps(state)),
            ("inspects-nothing", _inspects_nothing(state, applied, policy)),
        )
        for finding in findings
    ]
    return Configuration(
        policy,
        tuple(state.maps[name] for name in draft[InspectionMaps].maps),
        in_order(draft.notices),
        in_order(draft.not_done),
        effective=Effective(
            draft,
            {**default[InspectionMaps].maps, **draft[InspectionMaps].maps},
            state.class_maps,
            state.policies,
            applied,
        ),
    )


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings in the order of the text, each once."""
    return tuple(
        sorted(dict.fromkeys(findings), key=lambda finding: (finding.line, finding.column))
    )


def _class_maps(state: _Resolving) -> dict[str, ClassMap]:
    default = state.default[ClassMaps].maps
    own = dict(state.draft[ClassMaps].maps)
    if not is_complete(state.draft):
        for name, class_map in default.items():
            if name in own and not own[name].default_inspection:
                only = own[name].access_list
                if own[name].first_match in (only, None):
                    # Typed into an appliance, the lines add to the class-map that is there.
                    own[name].default_inspection = class_map.default_inspection
    return default | own


def _policies(state: _Resolving) -> dict[str, dict[str, ClassDraft]]:
    """Return the classes of each policy-map, by name, in the order in which they are tried."""
    found = {n: dict(p.classes) for n, p in state.draft[PolicyMaps].maps.items()}
    if not is_complete(state.draft):
        for name, policy in state.default[PolicyMaps].maps.items():
            merged = dict(policy.classes)
            for class_name, own in found.get(name, {}).items():
                there = merged.get(class_name)
                merged[class_name] = _added(there, own) if there else own
            found[name] = merged
    for word in state.draft[PolicyMaps].applied.values():
        # A part of a listing that applies the factory's policy-map, and leaves its definition out.
        name = word.text
        if name not in found and name in state.default[PolicyMaps].maps:
            found[name] = dict(state.default[PolicyMaps].maps[name].classes)
            state.draft.notice(
                word,
                f"policy-map {word.quoted} is not defined here: it is read as the factory"
                " configuration has it, with inspection of mail",
                "default-applies",
                "docs/configuration.md#complete-and-partial-configurations",
            )
    return found


def _added(there: ClassDraft, own: ClassDraft) -> ClassDraft:
    """Return what a class says after the lines of *own* were typed in addition to *there*."""
    if own.said is None:
        own.said, own.inspect, own.map_name = there.said, there.inspect, there.map_name
    elif own.inspect is None:
        own.removed = own.removed or there.inspect is not None
    return own


def _service_policies(state: _Resolving, applied: dict[str, Word]) -> tuple[ServicePolicy, ...]:
    found = []
    fixups = _fixup_classes(state, applied.get(""))
    for where, name in applied.items():
        if name.text not in state.policies:
            undefined(state.draft, "policy-map", name.text, name, state.policies)
            continue
        made = [_class(state, name.text, where, c) for c in state.policies[name.text].values()]
        own = tuple(c for c in made if c is not None)
        found.append(ServicePolicy(name.text, where, own + (() if where else fixups)))
    if fixups and "" not in applied:
        found.append(ServicePolicy("fixup", "", fixups))
    names = {word.text for word in applied.values()}
    for map_name, policy_map in state.draft[PolicyMaps].maps.items():
        if map_name not in names:
            for policy_class in policy_map.classes.values():
                _check_names(state, policy_class)
    return tuple(found)


def _fixup_classes(state: _Resolving, applied: Word | None) -> tuple[ClassPolicy, ...]:
    draft = state.draft
    if not pix6.applies(draft) or not pix6.match(draft).ports:
        return ()
    policy = applied.text if applied else "fixup"
    inspection = Inspection(policy, pix6.CLASS, pix6.MAP)
    match = pix6.match(draft)
    if word := draft[pix6.Fixups].word:
        _report_many_ports(state, match, word)
    return (ClassPolicy(pix6.CLASS, match, inspection),)


def _check_names(state: _Resolving, policy_class: ClassDraft) -> bool:
    """Report names that are not defined; return whether the class-map is."""
    name, map_name = policy_class.name, policy_class.map_name
    if map_name is not None and map_name.text not in state.maps:
        kind = "policy-map type inspect esmtp"
        undefined(state.draft, kind, map_name.text, map_name, state.maps)
    if name.text not in state.class_maps and name.text != CLASS_DEFAULT:
        undefined(state.draft, "class-map", name.text, name, state.class_maps)
        return False
    return True


def _class(
    state: _Resolving, policy_name: str, interface: str, draft: ClassDraft
) -> ClassPolicy | None:
    """Return what a policy-map says about a class, or None if that has nothing to do with mail."""
    is_defined = _check_names(state, draft)
    if not draft.says_something or not is_defined:
        return None
    name = draft.name.text
    match = _match(state, name)
    made = None
    if draft.inspect is not None:
        inspection_map = state.maps.get(
            DEFAULT_MAP if draft.map_name is None else draft.map_name.text
        )
        if inspection_map is not None:
            made = Inspection(policy_name, name, inspection_map, not interface)
        _report_many_ports(state, match, draft.inspect)
    class_map = state.class_maps.get(name)
    is_default = class_map is not None and class_map.default_inspection and match.entries is None
    exempts = (
        draft.said is not None and draft.inspect is None and not draft.removed and not is_default
    )
    said = draft.settings
    normalizer.leave_out(state.draft, said.get("tcp-map", ""))
    return ClassPolicy(
        name,
        match,
        made,
        exempts,
        policies.settings(draft),
        said.get("tcp-map", ""),
        "bypass" in said,
    )


def _match(state: _Resolving, name: str) -> Match:
    if name not in state.matches:
        class_map = state.class_maps.get(name)
        state.matches[name] = (
            Match() if class_map is None else classes.resolve(state.draft, class_map)
        )
    return state.matches[name]


def _plans(state: _Resolving, service_policies: tuple[ServicePolicy, ...]) -> dict[int, Plan]:
    """Return what is known of connections by the server's port alone: the first class that inspects
    it decides, whatever addresses it may ask for."""
    found: dict[int, Plan] = {}
    for policy in service_policies:
        for policy_class in policy.classes:
            if policy_class.inspection is not None:
                for port in _diverted(state, policy_class.match):
                    found.setdefault(port, Plan(policy_class.inspection))
    # If none inspects port 25 it keeps a plan: rules already in place may divert it to the filter.
    found.setdefault(classes.DEFAULT_INSPECTION_PORT, Plan(None))
    return found


def _ports(state: _Resolving, match: Match) -> Ranges:
    """Return the server's ports of the connections that a match may hold."""
    if match.ports != ALL_PORTS or match.entries is None:
        return match.ports
    key = id(match.entries)
    if key not in state.ports:
        shared = {id(e.services): e.services for e in match.entries if e.permit}
        services = (service for each in shared.values() for service in each)
        state.ports[key] = Ranges.of(
            r for protocol, _, d in services if protocol in (IP, TCP) for r in d.ranges
        )
    return state.ports[key]


def _report_many_ports(state: _Resolving, match: Match, word: Word) -> None:
    """Report ports that a class inspects, and that are not diverted."""
    if any(last - first >= MOST_PORTS for first, last in _ports(state, match).ranges):
        state.draft.leave_out(
            word,
            f"not done as it stands: of a class without ports, or with a range of more than {MOST_PORTS},"
            f" only port {classes.DEFAULT_INSPECTION_PORT} is inspected",
        )


def _diverted(state: _Resolving, match: Match) -> Iterator[int]:
    """Yield the ports of a match that are diverted to the filter: see `MOST_PORTS`."""
    for first, last in _ports(state, match).ranges:
        if last - first < MOST_PORTS:
            yield from range(first, last + 1)
        elif first <= classes.DEFAULT_INSPECTION_PORT <= last:
            yield classes.DEFAULT_INSPECTION_PORT


def _without_effect(state: _Resolving, applied: dict[str, Word]) -> list[Finding]:
    """Return findings about definitions that have no effect. The caller makes them notices in a
    complete configuration, and errors in a partial one, which can have no other purpose."""
    findings = []
    names = {word.text for word in applied.values()}
    first = next(iter(names), "")
    for name, policy in state.draft[PolicyMaps].maps.items():
        about_mail = not policy.classes or any(c.says_something for c in policy.classes.values())
        if name not in names and (about_mail or is_complete(state.draft)):
            message = f"policy-map {policy.name.quoted} is not applied"
            findings.append(policy.name.finding(message, (f"service-policy {name} global",)))
    used = {
        DEFAULT_MAP if c.map_name is None else c.map_name.text
        for policy_classes in state.policies.values()
        for c in policy_classes.values()
        if c.inspect is not None
    }
    for name, map_draft in state.draft[InspectionMaps].maps.items():
        if name not in used and name != DEFAULT_MAP:
            message = f"no class uses the map {map_draft.name.quoted}"
            how = f"policy-map {first}, class inspection_default, inspect esmtp {name}"
            findings.append(map_draft.name.finding(message, (how,)))
    return findings


def _unused_class_maps(state: _Resolving) -> Iterable[Finding]:
    """Yield notices about class-maps that no policy-map uses: harmless, unless the name is a
    typo."""
    used = {name for policy in state.policies.values() for name in policy}
    for name, class_map in state.draft[ClassMaps].maps.items():
        if name not in used and state.policies:
            message = f"no policy-map uses class-map {class_map.name.quoted}"
            yield class_map.name.finding(message, suggestion=closest(class_map.name.text, used))


def _inspects_nothing(
    state: _Resolving, applied: dict[str, Word], policy: Policy
) -> Iterable[Finding]:
    if policy.inspections:
        return
    for name in applied.values():
        said = [c.said for c in state.policies[name.text].values() if c.said is not None]
        message = f"policy-map {name.quoted} inspects nothing: all mail passes uninspected"
        yield (said or [name])[0].finding(message)
        return
