"""What happens to one connection, and why: ``packet-tracer`` and ``show service-policy flow``.

Both ask the same `classify` as the engine does. The block form is the appliance's; the phases INSPECT
and DIVERSION are ours (docs/appliance.md, section 6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from nfinspect.policy.classify import AppliedClass, Classifier, OpeningConnection
from nfinspect.policy.commands import classes, pix6, policies
from nfinspect.policy.commands.policies import LIMITS, PolicyMapDraft, class_settings
from nfinspect.policy.commands.timeouts import time_words
from nfinspect.policy.model import Plan, Policy, Translation
from nfinspect.policy.ranges import address_text
from nfinspect.policy.resolve import Configuration

TCP = 6
ALLOW, DROP = "ALLOW", "DROP"


class Way(NamedTuple):
    """Which way the kernel forwards a packet."""

    device: str = ""
    """The Linux interface where it leaves; empty if it does not."""
    gateway: str = ""
    """Empty if the destination is on that link."""
    refusal: str = ""
    """Why it is not forwarded."""
    to_itself: bool = False
    """It is for this machine."""


FindWay = Callable[[str, OpeningConnection], Way | None]
"""From the Linux interface where a packet comes in, and what it is behind the translation of its
destination, to its way; None if that is not known."""


@dataclass(frozen=True, slots=True)
class TracePhase:
    """One step, with the lines of the configuration that decided it."""

    type: str
    subtype: str = ""
    config: tuple[str, ...] = ()
    information: tuple[str, ...] = ()
    result: str = ALLOW


@dataclass(frozen=True, slots=True)
class Trace:
    """The way of a connection's SYN."""

    phases: tuple[TracePhase, ...]
    plan: Plan
    arrives: str
    leaves: str
    drop_reason: str = ""

    @property
    def text(self) -> str:
        """The trace as the appliance prints it."""
        return "\n".join(line for block in self._blocks() for line in (*block, ""))

    def _blocks(self) -> Iterator[list[str]]:
        for number, phase in enumerate(self.phases, 1):
            yield [
                f"Phase: {number}",
                f"Type: {phase.type}",
                f"Subtype: {phase.subtype}".rstrip(),
                f"Result: {phase.result}",
                "Config:",
                *phase.config,
                "Additional Information:",
                *phase.information,
            ]
        end = ["Result:"]
        for side, name in (("input", self.arrives), ("output", self.leaves)):
            end += [f"{side}-interface: {name}", f"{side}-status: up", f"{side}-line-status: up"]
        end.append("Action: drop" if self.drop_reason else "Action: allow")
        if self.drop_reason:
            end.append(f"Drop-reason: {self.drop_reason}")
        yield end

    @property
    def data(self) -> dict[str, Any]:
        """The trace in JSON types."""
        inspection = self.plan.inspection
        return {
            "result": "drop" if self.drop_reason else "allow",
            "reason": self.drop_reason or None,
            "class": self.plan.decided_by or None,
            "inspection": inspection.map.name if inspection else None,
            "input_interface": self.arrives,
            "output_interface": self.leaves,
            "phases": [
                {
                    "type": phase.type,
                    "subtype": phase.subtype,
                    "result": phase.result,
                    "config": list(phase.config),
                    "information": list(phase.information),
                }
                for phase in self.phases
            ],
        }


def trace(
    configuration: Configuration,
    seen: OpeningConnection,
    *,
    in_use: int | None = None,
    detailed: bool = False,
    find: FindWay | None = None,
) -> Trace:
    """Return what happens to the connection that *seen* shows as its SYN arrives, ahead of any
    translation; *in_use* are the connections of a running filter, *detailed* adds what was matched
    and what holds for the connection, *find* asks the kernel for the way."""
    policy = configuration.policy
    connection, undone = _untranslated(policy, seen, find)
    phases = [] if undone is None else [_un_nat(seen, connection, undone)]
    way = None if find is None else find(_device(policy, connection.arrives), connection)
    leaves, why = _egress(policy, connection, undone, way)
    refused = "" if way is None else way.refusal
    phases.append(
        TracePhase(
            "ROUTE-LOOKUP",
            "Resolve Egress Interface",
            (),
            (why,),
            DROP if refused else ALLOW,
        )
    )
    if refused or (way is not None and way.to_itself):
        return Trace(tuple(phases), Plan(None), seen.arrives, leaves or "unknown", refused)
    connection = connection._replace(leaves=leaves)
    classifier = Classifier(policy)
    plan, deciding = classifier.plan(connection), classifier.deciding(connection)
    for found in dict.fromkeys((deciding.settings, deciding.normalizer, deciding.bypass)):
        if found is not None:
            told = _matched(classifier, found, connection) * detailed
            phases.append(
                TracePhase("CONN-SETTINGS", "", _config(configuration, found), tuple(told))
            )
    if found := deciding.inspection:
        told = [f"class {found.policy.name}: {_inspection_words(plan)}"]
        told += _matched(classifier, found, connection) * detailed
        phases.append(TracePhase("INSPECT", "esmtp", _config(configuration, found), tuple(told)))
    phases += _nat(policy, connection)
    port = connection.destination_port
    diverted = policy.plan(port) is not None
    exempt = deciding.inspection is not None and deciding.inspection.policy.exempts
    if (exempt or not diverted) and plan.scopes:
        what = f"{'exempt; ' * exempt}its SYN goes to the filter, to be counted, and nothing else"
    elif not diverted:
        what = "no rule diverts it to the filter"
    elif exempt:
        what = "exempt, so it passes without the filter"
    else:
        what = "the rules divert it to the filter"
    phases.append(TracePhase("DIVERSION", "nfqueue", (), (f"TCP port {port}: {what}",)))
    if diverted and policy.plan(connection.source_port) is not None:
        reason = "(bad-syn) no mail server begins connections from its port"
        phases.append(TracePhase("FLOW-CREATION", result=DROP))
    else:
        reason = ""
        told = ["New flow created, packet dispatched to next module"]
        told += [] if in_use is None else [f"{in_use} in use"]
        told += _plan_words(plan) * detailed
        phases.append(TracePhase("FLOW-CREATION", information=tuple(told)))
    return Trace(tuple(phases), plan, seen.arrives, leaves or "unknown", reason)


def service_policy_flow(configuration: Configuration, connection: OpeningConnection) -> str:
    """Return the classes that act on *connection*, as ``show service-policy flow`` prints them."""
    classifier = Classifier(configuration.policy)
    deciding, plan = classifier.deciding(connection), classifier.plan(connection)
    actions: dict[AppliedClass, list[str]] = {}
    if found := deciding.inspection:
        actions.setdefault(found, []).append(_inspection_words(plan))
    for found in dict.fromkeys((deciding.settings, deciding.normalizer, deciding.bypass)):
        if found is not None:
            actions.setdefault(found, []).extend(class_settings(found.policy))
    lines: list[str] = []
    for found, words in actions.items():
        where = found.service_policy.interface
        for line in (
            f"Interface {where}:" if where else "Global policy:",
            f"  Service-policy: {found.service_policy.name}",
        ):
            if line not in lines:
                lines.append(line)
        lines.append(f"    Class-map: {found.policy.name}")
        lines += [f"      Match: {match}" for match in _matches(configuration, found)]
        lines += [f"        {line}" for line in _matched(classifier, found, connection)]
        lines.append("      Action:")
        lines += [f"        Input flow: {action}" for action in words]
    return "".join(f"{line}\n" for line in lines)


# Translations. The address on the interface where the SYN arrives is the mapped one.


def _untranslated(
    policy: Policy, seen: OpeningConnection, find: FindWay | None
) -> tuple[OpeningConnection, Translation | None]:
    for found in policy.translations:
        if found.version != seen.version or found.mapped_interface not in ("any", seen.arrives):
            continue
        if found.protocol and (found.protocol, found.mapped_port) != (TCP, seen.destination_port):
            continue
        mapped = _own_address(policy, found) if found.mapped is None else found.mapped
        if mapped is None and find is not None:
            way = find(_device(policy, seen.arrives), seen)
            mapped = seen.destination if way is not None and way.to_itself else None
        if mapped is not None and 0 <= seen.destination - mapped <= found.real[1] - found.real[0]:
            real = found.real[0] + seen.destination - mapped
            port = found.real_port if found.protocol else seen.destination_port
            return seen._replace(destination=real, destination_port=port), found
    return seen, None


def _own_address(policy: Policy, translation: Translation) -> int | None:
    """Return the address of the interface that a translation maps to, if the text says it."""
    for interface in policy.interfaces:
        if interface.name == translation.mapped_interface and interface.address:
            version, address = interface.address
            return address if version == translation.version else None
    return None


def _un_nat(
    seen: OpeningConnection, connection: OpeningConnection, translation: Translation
) -> TracePhase:
    was = _end(seen.version, seen.destination, seen.destination_port)
    now = _end(seen.version, connection.destination, connection.destination_port)
    told = (
        f"NAT divert to egress interface {translation.real_interface}",
        f"Untranslate {was} to {now}",
    )
    return TracePhase("UN-NAT", "static", _line_of(translation), told)


def _nat(policy: Policy, connection: OpeningConnection) -> Iterator[TracePhase]:
    """Yield the translation of the source, if there is one."""
    for found in policy.translations:
        mapped = found.mapped_address(connection.source)
        if (
            not found.protocol
            and mapped is not None
            and found.version == connection.version
            and found.real[0] <= connection.source <= found.real[1]
            and found.mapped_interface in ("any", connection.leaves)
        ):
            was = _end(found.version, connection.source, connection.source_port)
            now = _end(found.version, mapped, connection.source_port)
            yield TracePhase(
                "NAT", "static", _line_of(found), (f"Static translate {was} to {now}",)
            )
            return


def _device(policy: Policy, name: str) -> str:
    """Return the Linux interface of a name."""
    return next((each.device for each in policy.interfaces if each.name == name), name)


def _egress(
    policy: Policy, connection: OpeningConnection, undone: Translation | None, way: Way | None
) -> tuple[str, str]:
    """Return the interface where the SYN leaves, and how that is known."""
    arrives = connection.arrives
    if way is not None:
        if way.refusal:
            return "", "the kernel does not forward it"
        if way.to_itself:
            return "NP Identity Ifc", "to this machine itself: not forwarded, so not filtered"
        known = (each.name for each in policy.interfaces if each.device == way.device)
        name = next(known, way.device)
        hop = way.gateway or address_text(connection.version, connection.destination)
        return name, f"found next-hop {hop} using egress ifc {name}"
    if undone is not None and undone.real_interface != "any":
        return undone.real_interface, f"found egress ifc {undone.real_interface} by its translation"
    names = names_of_interfaces(policy)
    if len(names) == 2 and arrives in names:
        other = names[1 - names.index(arrives)]
        return other, f"assumed egress ifc {other}: there is no other"
    return "", "egress ifc unknown: the routes of this machine decide"


def names_of_interfaces(policy: Policy) -> tuple[str, ...]:
    """Return the interfaces that a SYN may arrive on."""
    return tuple(interface.name for interface in policy.interfaces) or ("outside", "inside")


# Words.


def _end(version: int, address: int, port: int) -> str:
    return f"{address_text(version, address)}/{port}"


def _line_of(translation: Translation) -> tuple[str, ...]:
    return () if translation.word is None else (translation.word.line.statement.strip(),)


def _inspection_words(plan: Plan) -> str:
    if plan.inspection is not None:
        return f"inspect esmtp {plan.inspection.map.name}"
    return "not inspected: state bypass" if plan.state_bypass else "no inspect esmtp"


def _plan_words(plan: Plan) -> list[str]:
    times = plan.timeouts
    pairs = (
        ("embryonic", times.embryonic),
        ("half-closed", times.half_closed),
        ("idle", times.idle),
    )
    limits = zip(LIMITS, plan.limits.all, strict=True)
    return [
        f"timeout {' '.join(f'{word} {time_words(value)}' for word, value in pairs)}",
        *(f"{word} {most}" for word, most in limits if most),
    ]


def _matches(configuration: Configuration, found: AppliedClass) -> list[str]:
    return [
        line.strip().removeprefix("match ")
        for line in _class_map(configuration, found)
        if line.startswith(" match")
    ] or ["any"]


def _matched(
    classifier: Classifier, found: AppliedClass, connection: OpeningConnection
) -> list[str]:
    entry = classifier.entry(found, connection)
    if entry is None or entry.word is None:
        return []
    return [f"Access rule: {entry.word.line.statement.strip()}"]


def _class_map(configuration: Configuration, found: AppliedClass) -> list[str]:
    assert configuration.effective is not None
    class_map = configuration.effective.class_maps.get(found.policy.name)
    return [] if class_map is None else list(classes.lines(class_map))


def _config(configuration: Configuration, found: AppliedClass) -> tuple[str, ...]:
    """Return the lines that make a class what it is."""
    effective = configuration.effective
    assert effective is not None
    name, policy = found.policy.name, found.service_policy
    if name == pix6.CLASS:
        return tuple(pix6.lines(effective.draft))
    draft = effective.policies[policy.name][name]
    return (
        *_class_map(configuration, found),
        *policies.lines(PolicyMapDraft(effective.applied[policy.interface], {name: draft})),
        f"service-policy {policy.name} {policy.where}",
    )
