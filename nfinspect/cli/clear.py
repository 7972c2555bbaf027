"""``nfinspect clear``: end connections of the running filter, or count anew."""

from __future__ import annotations

from pathlib import Path

import click

from nfinspect.cli.errors import Failure, UsageFailure
from nfinspect.cli.questions import control_option
from nfinspect.live.control import ControlError, UnanswerableError, ask
from nfinspect.live.requests import CLEAR


@click.command()
@click.argument(
    "words", nargs=-1, required=True, metavar="{conn [address ADDRESS] | service-policy}"
)
@control_option
def clear(words: tuple[str, ...], control: Path) -> None:
    """End the connections that are open in the running filter, all or those of a host; or let the
    counters of 'show service-policy' begin anew.

    'clear conn': open connections keep the policy that they began with: after 'nfinspect reload' this makes
    everybody begin anew. Nothing is sent; the peers' packets are dropped until they give up.
    """
    try:
        answer = ask(control, [CLEAR, *words])
    except UnanswerableError as error:
        raise UsageFailure(str(error)) from error
    except ControlError as error:
        raise Failure(str(error)) from error
    click.echo(answer.text, nl=False)
