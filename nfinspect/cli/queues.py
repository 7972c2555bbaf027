"""The options by which run and rules agree on the queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def queue_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give *command* ``--queues`` and ``--queue-num``, as ``queues`` and ``queue_num``."""
    for option in (
        click.option(
            "--queue-num",
            type=click.IntRange(0, 65535),
            default=0,
            show_default=True,
            metavar="K",
            help="The first queue.",
        ),
        click.option(
            "--queues",
            type=click.IntRange(1, 65536),
            default=1,
            show_default=True,
            metavar="N",
            help="The number of queues. One for now: connections are not spread over workers yet.",
            callback=_only_one,
        ),
    ):
        command = option(command)
    return command


def _only_one(context: click.Context, parameter: click.Parameter, queues: int) -> int:
    if queues != 1:
        raise click.BadParameter(
            f"{queues} queues: nfinspect has one worker for now, so --queues 1"
        )
    return queues
