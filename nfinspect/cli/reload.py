"""``nfinspect reload``: a changed configuration for the running filter."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nfinspect.cli.errors import FINDINGS, Failure, UsageFailure
from nfinspect.cli.questions import control_option
from nfinspect.live.control import ControlError, UnanswerableError, ask
from nfinspect.live.requests import DRY_RUN, RELOAD


@click.command()
@control_option
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what would change: rules, plans, configuration, and what check says; change nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print one JSON object.")
def reload(control: Path, dry_run: bool, as_json: bool) -> int:
    """Let the running filter read its --config again, for new connections.

    Open connections keep what they began with. A file with errors changes nothing: they are printed,
    and the exit status is 2. SIGHUP does the same.
    """
    if as_json and not dry_run:
        raise click.UsageError("--json needs --dry-run.")
    try:
        answer = ask(control, [RELOAD, DRY_RUN] if dry_run else [RELOAD])
    except UnanswerableError as error:
        raise UsageFailure(str(error)) from error
    except ControlError as error:
        raise Failure(str(error)) from error
    click.echo(f"{json.dumps(answer.data)}\n" if as_json else answer.text, nl=False)
    if dry_run:
        return 0
    return FINDINGS if any(each.startswith("warning: ") for each in answer.data) else 0
