"""``nfinspect show``: counters and state of the running filter, in the appliance's words."""

from __future__ import annotations

import json
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from nfinspect.cli.control import control_option
from nfinspect.cli.errors import Failure, UsageFailure
from nfinspect.live.control import ControlError, UnanswerableError, ask
from nfinspect.live.requests import REQUESTS, request


def _next_words(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """What a shell offers after the words so far."""
    so_far = tuple(context.params.get("words") or ())
    following = [
        known[len(so_far)]
        for known in REQUESTS
        if known[: len(so_far)] == so_far and len(known) > len(so_far)
    ]
    return [CompletionItem(word) for word in following if word.startswith(incomplete)]


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="WHAT...", shell_complete=_next_words)
@control_option()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(words: tuple[str, ...], control: Path, as_json: bool) -> None:
    """Show the counters and state of the running filter.

    \b
    WHAT is one of:
      service-policy inspect esmtp    packets inspected, dropped and masked
      queue                           packets received, held, waiting and lost
    """  # noqa: D301  # click wants the character itself
    try:
        answer = ask(control, ["show", *request(words)])
    except UnanswerableError as error:
        raise UsageFailure(str(error)) from error
    except ControlError as error:
        raise Failure(str(error)) from error
    if as_json:
        click.echo(json.dumps(answer.data, indent=2))
    else:
        click.echo(answer.text, nl=False)
