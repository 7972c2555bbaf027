"""``nfinspect reload``: a changed configuration for the running filter."""

from __future__ import annotations

from pathlib import Path

import click

from nfinspect.cli.errors import FINDINGS, Failure, UsageFailure
from nfinspect.cli.questions import control_option
from nfinspect.live.control import ControlError, UnanswerableError, ask
from nfinspect.live.requests import RELOAD


@click.command()
@control_option
def reload(control: Path) -> int:
    """Let the running filter read its --config again, for new connections.

    Open connections keep what they began with. A file with errors changes nothing: they are printed,
    and the exit status is 2. SIGHUP does the same.
    """
    try:
        answer = ask(control, [RELOAD])
    except UnanswerableError as error:
        raise UsageFailure(str(error)) from error
    except ControlError as error:
        raise Failure(str(error)) from error
    click.echo(answer.text, nl=False)
    return FINDINGS if any(each.startswith("warning: ") for each in answer.data) else 0
