"""``nfinspect check FILE``: what a configuration means, or all errors in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table
from rich.text import Text

from nfinspect.cli.configuration import name_of, read_configuration
from nfinspect.cli.console import console
from nfinspect.cli.errors import FINDINGS
from nfinspect.policy import Configuration, ConfigurationError, Finding
from nfinspect.policy.model import Inspection
from nfinspect.policy.words import parameter_lines


@click.command()
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(file: Path, as_json: bool) -> int:
    """Check the configuration FILE (- for stdin) and print what it means.

    The exit status is 0 if it can be used, 1 if it has errors.
    """
    name = name_of(file)
    try:
        configuration = read_configuration(file)
    except ConfigurationError as error:
        if as_json:
            errors = _located(error.findings)
            empty: dict[str, Any] = {"notices": [], "inspections": []}
            click.echo(json.dumps({"file": name, "errors": errors, **empty}))
        else:
            click.echo(str(error))
        return FINDINGS
    if as_json:
        click.echo(json.dumps({"file": name, "errors": [], **_to_json(configuration)}))
    else:
        _print(configuration)
    return 0


def _print(configuration: Configuration) -> None:
    out = console()
    for port, inspection in _inspected(configuration):
        out.print(f"service-policy {inspection.service_policy}, class {inspection.class_map}:")
        out.print(f"TCP port {port}, inspect esmtp {inspection.map.name}")
        if inspection.map.description:
            out.print(f"  {inspection.map.description}", soft_wrap=True)
        out.print(_clauses(inspection))
        out.print("parameters")
        for line in parameter_lines(inspection.map.parameters):
            out.print(f"  {line}")
    for notice in configuration.notices:
        out.print(f"notice: {notice}", soft_wrap=True)


def _clauses(inspection: Inspection) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Class", justify="right", no_wrap=True)
    table.add_column("match", overflow="fold")
    table.add_column("action", overflow="fold")
    for clause in inspection.map.clauses:
        table.add_row(str(clause.position), Text(clause.words), Text(clause.action_words))
    return table


def _inspected(configuration: Configuration) -> list[tuple[int, Inspection]]:
    """Return the inspected ports with their inspections."""
    plans = configuration.policy.plans
    return [(p, plan.inspection) for p, plan in sorted(plans.items()) if plan.inspection]


def _to_json(configuration: Configuration) -> dict[str, Any]:
    return {
        "notices": _located(configuration.notices),
        "inspections": [
            {
                "port": port,
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
            for port, inspection in _inspected(configuration)
        ],
    }


def _located(findings: tuple[Finding, ...]) -> list[dict[str, Any]]:
    return [
        {
            "file": finding.file,
            "line": finding.line,
            "column": finding.column,
            "message": finding.message,
            "expected": list(finding.expected),
            "suggestion": finding.suggestion,
        }
        for finding in findings
    ]
