"""``nfinspect status``: whether mail reaches the running filter, and what passes it uninspected."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

import click

from nfinspect.cli.errors import FINDINGS, Failure
from nfinspect.cli.questions import control_option
from nfinspect.live import misfits, survey
from nfinspect.live.control import ControlError, NoFilterError, UnanswerableError, ask
from nfinspect.live.misfits import FilterState, Misfit, Severity
from nfinspect.live.overview import activity, block, setting, surroundings
from nfinspect.live.requests import STATUS
from nfinspect.live.survey import Survey


@click.command()
@control_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(control: Path, as_json: bool) -> int:
    """Tell whether mail reaches the running filter, and what passes it uninspected.

    Looks at the rules for both directions and families and their queue, at forwarding and
    flowtables, and asks the filter. The exit status is 0 if a filter runs and there is no warning, 1
    otherwise.
    """
    state = _ask(control)
    seen = survey.take()
    found = misfits.find(seen, state, control=str(control))
    if as_json:
        click.echo(json.dumps(_to_json(state, seen, found), indent=2))
    else:
        _print(state, seen, found)
    warned = any(misfit.severity is Severity.WARNING for misfit in found)
    return FINDINGS if warned else 0


def _ask(control: Path) -> FilterState | None:
    try:
        return FilterState(**ask(control, [STATUS]).data)
    except NoFilterError:
        return None
    except (ControlError, UnanswerableError) as error:
        raise Failure(str(error)) from error


def _print(state: FilterState | None, seen: Survey, found: list[Misfit]) -> None:
    click.echo("nfinspect is running" if state else "nfinspect is not running")
    if state is not None:
        click.echo(block(setting(state)), nl=False)
    if state is None or state.namespace == seen.namespace:
        click.echo(block(surroundings(seen)), nl=False)
    if state is not None:
        click.echo(block(activity(state)), nl=False)
    for misfit in found:
        click.echo(_folded(f"{misfit.severity.value}: {misfit.text}"))
        if misfit.cure:
            click.echo(_folded(f"  {misfit.cure}"))


def _folded(text: str) -> str:
    """On a terminal, *text* folded between words; elsewhere a program may read the line."""
    if not sys.stdout.isatty():
        return text
    columns = shutil.get_terminal_size().columns
    return textwrap.fill(text, columns, subsequent_indent="    ", break_on_hyphens=False)


def _to_json(state: FilterState | None, seen: Survey, found: list[Misfit]) -> dict[str, Any]:
    return {
        "running": state is not None,
        "filter": None if state is None else dataclasses.asdict(state),
        "families": {name: dataclasses.asdict(family) for name, family in seen.families.items()},
        "flowtables": list(seen.flowtables),
        "misfits": [misfit.to_json() for misfit in found],
    }
