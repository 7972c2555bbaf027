"""``nfinspect check FILE``: what a configuration means, or all errors in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table
from rich.text import Text

from nfinspect.cli.configuration import interface_option, name_of, read_text
from nfinspect.cli.console import console
from nfinspect.cli.errors import FINDINGS
from nfinspect.live.iptables import RulesError, others_in_place, ours_in_place
from nfinspect.live.obstacles import CAP_NET_ADMIN, has_capability
from nfinspect.policy import Configuration, ConfigurationError, Finding, canonical, parse_policy
from nfinspect.policy.advice import advise
from nfinspect.policy.commands.policies import class_settings, settings_words
from nfinspect.policy.commands.timeouts import time_words
from nfinspect.policy.model import ClassPolicy, ConnectionLimits, Inspection, Interface, Translation
from nfinspect.policy.ranges import ALL_PORTS, address_text
from nfinspect.policy.words import parameter_lines
from nfinspect.rules.of_policy import diversion_of

SHOWN_PORTS = 12
"""Ranges of ports that are listed of a class."""

SHOWN_LINES = 12
"""Line numbers that are listed of one advice."""


@click.command()
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--extract",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Write what matters of the configuration to FILE (- for stdout), in canonical form.",
)
@interface_option()
def check(file: Path, as_json: bool, extract: Path | None, devices: dict[str, str]) -> int:
    """Check the configuration FILE (- for stdin) and print what it means.

    The exit status is 0 if it can be used, 1 if it has errors.
    """
    name = name_of(file)
    try:
        configuration = parse_policy(read_text(file), name, devices)
    except ConfigurationError as error:
        if as_json:
            errors = _located(error.findings)
            empty = {"not_done": [], "advice": [], "understood": 0, "other": {}, "inspections": []}
            click.echo(json.dumps({"file": name, "errors": errors, **empty}))
        else:
            click.echo(str(error))
        return FINDINGS
    if extract is not None:
        with click.open_file(str(extract), "w", encoding="utf-8") as out:
            out.write(canonical.text(configuration))
        if extract == Path("-"):
            return 0
    advice = _advise(configuration, name)
    if as_json:
        click.echo(json.dumps({"file": name, "errors": [], **_to_json(configuration, advice)}))
    else:
        _print(configuration, advice)
    return 0


def _advise(configuration: Configuration, file: str) -> tuple[Finding, ...]:
    """Return all advice, that about this machine included."""
    return (*advise(configuration), *_about_rules(configuration, file))


def _about_rules(configuration: Configuration, file: str) -> Iterator[Finding]:
    """Yield advice about the rules in place, which only a privileged user may read."""
    if not has_capability(CAP_NET_ADMIN):
        return
    try:
        others = ours_in_place() and all(
            others_in_place(diversion_of(configuration.policy, bridged=bridged))
            for bridged in (False, True)
        )
    except RulesError:
        return  # no iptables here: nothing is in place
    if others:
        yield Finding(
            file,
            1,
            1,
            "the rules in place are not those of this configuration and version of nfinspect:"
            " nfinspect rules --apply puts these in their place",
            code="other-rules",
            read="docs/operation.md#rules",
        )


def _grouped(advice: Iterable[Finding]) -> Iterator[tuple[Finding, list[int]]]:
    """Yield each advice once, and the other lines that it is about as well."""
    by_words: dict[tuple[str, str], list[Finding]] = {}
    for finding in advice:
        by_words.setdefault((finding.code, finding.message), []).append(finding)
    for first, *others in by_words.values():
        yield first, [finding.line for finding in others]


def _listed(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:SHOWN_LINES]))
    more = len(lines) - SHOWN_LINES
    which = "line" if len(lines) == 1 else "lines"
    return f"{which} {shown}{f' and {more} more' if more > 0 else ''}"


def _print(configuration: Configuration, advice: Iterable[Finding]) -> None:
    out = console()
    for inspection in configuration.policy.inspections:
        out.print(f"service-policy {inspection.service_policy}, class {inspection.class_map}:")
        ports = ", ".join(_ports(configuration, inspection))
        within = _within(configuration, inspection.class_map)
        what = "inspect esmtp" if inspection.map.extended else "the seven verbs of RFC 821,"
        out.print(f"TCP port {ports}{within}, {what} {inspection.map.name}", soft_wrap=True)
        if inspection.map.description:
            out.print(Text(f"  {inspection.map.description}"), soft_wrap=True)
        out.print(_clauses(inspection))
        out.print("parameters")
        for line in parameter_lines(inspection.map.parameters):
            out.print(f"  {line}")
    for line in _other_lines(configuration):
        out.print(Text(line), soft_wrap=True)
    for finding, lines in _grouped(advice):
        out.print(Text(f"advice: {finding}"), soft_wrap=True)
        if lines:
            out.print(f"  the same: {_listed(lines)}", soft_wrap=True)
    out.print(f"understood: {_lines(configuration.understood)}")
    other = sorted(configuration.other.items(), key=lambda item: (-item[1], item[0]))
    by_command = ", ".join(f"{command} {count}" for command, count in other)
    total = _lines(sum(configuration.other.values()))
    out.print(
        Text(f"not about this filter: {total}{f' ({by_command})' if other else ''}"), soft_wrap=True
    )
    count = _lines(len({finding.line for finding in configuration.not_done}))
    out.print(f"not done, although it changes what happens to mail: {count}")
    for finding in configuration.not_done:
        out.print(Text(str(finding)), soft_wrap=True)


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"


def _other_lines(configuration: Configuration) -> Iterator[str]:
    """Yield what the policy says besides which map inspects what."""
    policy = configuration.policy
    for service_policy in policy.service_policies:
        for found in service_policy.classes:
            said = _said(found)
            if said:
                within = _within(configuration, found.name)
                name = f"class {found.name}{within}"
                yield f"service-policy {service_policy.name} {service_policy.where}, {name}: {said}"
    for translation in policy.translations:
        yield f"translation {_translation_words(translation)}"
    for interface in policy.interfaces:
        yield f"interface {_interface_words(interface)}"


def _within(configuration: Configuration, class_map: str) -> str:
    """Return the access-list that a class is narrowed by, for people."""
    assert configuration.effective is not None
    found = configuration.effective.class_maps.get(class_map)
    if found is None or found.access_list is None:
        return ""
    return f" (access-list {found.access_list.text})"


def _said(found: ClassPolicy) -> str:
    parts = ["exempt from inspection"] if found.exempts else []
    return "; ".join([*parts, *class_settings(found)])


def _translation_words(translation: Translation) -> str:
    first, last = translation.real
    real = address_text(translation.version, first)
    mapped = (
        "the interface's address"
        if translation.mapped is None
        else address_text(translation.version, translation.mapped)
    )
    if translation.protocol:
        protocol = {6: "tcp", 17: "udp"}[translation.protocol]
        real, mapped = (
            f"{real} {protocol} {translation.real_port}",
            f"{mapped} {translation.mapped_port}",
        )
    elif first != last:
        real = f"{real} to {address_text(translation.version, last)}"
    words = f"({translation.real_interface},{translation.mapped_interface}): {real} is {mapped}"
    limits = _limit_words(translation.limits)
    return f"{words}; {limits}" if limits else words


def _limit_words(limits: ConnectionLimits) -> str:
    words = []
    if limits.connections:
        words.append(f"at most {limits.connections} connections")
    if limits.embryonic:
        words.append(f"at most {limits.embryonic} embryonic")
    return ", ".join(words)


def _interface_words(interface: Interface) -> str:
    return f"{interface.name}: security level {interface.level}, Linux interface {interface.device}"


def _clauses(inspection: Inspection) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Class", justify="right", no_wrap=True)
    table.add_column("match", overflow="fold")
    table.add_column("action", overflow="fold")
    for clause in inspection.map.clauses:
        table.add_row(str(clause.position), Text(clause.words), Text(clause.action_words))
    return table


def _ports(configuration: Configuration, inspection: Inspection) -> list[str]:
    """Return the ports of the class that *inspection* belongs to, for people."""
    match = next(
        found.match
        for service_policy in configuration.policy.service_policies
        for found in service_policy.classes
        if found.inspection is inspection
    )
    if match.ports == ALL_PORTS:
        return ["any"]
    shown = [
        str(first) if first == last else f"{first} to {last}" for first, last in match.ports.ranges
    ]
    return [*shown[:SHOWN_PORTS], *(["…"] if len(shown) > SHOWN_PORTS else [])]


def _to_json(configuration: Configuration, advice: Iterable[Finding]) -> dict[str, Any]:
    policy = configuration.policy
    return {
        "not_done": _located(configuration.not_done),
        "advice": _located(advice),
        "understood": configuration.understood,
        "other": dict(configuration.other),
        "inspections": [
            {
                "ports": _ports(configuration, inspection),
                "service_policy": inspection.service_policy,
                "class_map": inspection.class_map,
                "map": inspection.map.name,
                "description": inspection.map.description,
                "parameters": parameter_lines(inspection.map.parameters),
                "match": [
                    {"clause": f"match {clause.words}", "action": clause.action_words}
                    for clause in inspection.map.clauses
                ],
            }
            for inspection in policy.inspections
        ],
        "classes": [
            {
                "service_policy": service_policy.name,
                "interface": service_policy.interface or None,
                "class_map": found.name,
                "inspection": found.inspection.map.name if found.inspection else None,
                "exempt": found.exempts,
                "set_connection": settings_words(found.settings) if found.settings else [],
            }
            for service_policy in policy.service_policies
            for found in service_policy.classes
        ],
        "translations": [_translation_words(t) for t in policy.translations],
        "interfaces": [
            {"name": i.name, "security_level": i.level, "device": i.device}
            for i in policy.interfaces
        ],
        "timeouts": {
            "embryonic": time_words(policy.timeouts.embryonic),
            "half_closed": time_words(policy.timeouts.half_closed),
            "idle": time_words(policy.timeouts.idle),
        },
    }


def _located(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [
        {
            "file": finding.file,
            "line": finding.line,
            "column": finding.column,
            "message": finding.message,
            "expected": list(finding.expected),
            "suggestion": finding.suggestion,
            "code": finding.code,
            "read": finding.read,
        }
        for finding in findings
    ]
