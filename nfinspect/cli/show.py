"""``nfinspect show``: counters and state of the running filter, in the appliance's words."""

from __future__ import annotations

import json
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from nfinspect.cli.configuration import interface_option
from nfinspect.cli.errors import UsageFailure
from nfinspect.cli.questions import ask_filter, ask_filter_or_file, control_option, file_option
from nfinspect.live.control import UnanswerableError
from nfinspect.live.requests import REQUESTS, request
from nfinspect.policy.questions import is_question


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
    return [
        CompletionItem(word) for word in dict.fromkeys(following) if word.startswith(incomplete)
    ]


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="WHAT...", shell_complete=_next_words)
@file_option
@interface_option()
@control_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(
    words: tuple[str, ...], file: Path | None, devices: dict[str, str], control: Path, as_json: bool
) -> None:
    """Show the counters and state of the running filter, or parts of its configuration.

    \b
    WHAT is one of:
      service-policy inspect esmtp    packets inspected, dropped and masked
      queue                           packets received, held, waiting and lost
      running-config [WORDS]          the effective configuration, or what begins with the words
      conn [detail | long | count] [address A] [port P]
                                      open connections
      local-host [A]                  hosts, their connections and limits
      service-policy set connection [details]
                                      limits and timeouts of the classes, and what is counted
      xlate                           static translations
      service-policy flow tcp host A [eq PORT] host B [eq PORT]
                                      the classes that act on a connection
    """  # noqa: D301  # click wants the character itself
    if is_question(["show", *words]):
        answer = ask_filter_or_file(["show", *words], file, devices, control)
    elif file is not None:
        raise click.UsageError("--config: a file has no counters.")
    else:
        try:
            answer = ask_filter(["show", *request(words)], control)
        except UnanswerableError as error:
            raise UsageFailure(str(error)) from error
    if as_json:
        click.echo(json.dumps(answer.data, indent=2))
    else:
        click.echo(answer.text, nl=False)
