"""The options for queues that run and rules share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from nfinspect.rules.queues import MOST


def queue_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--queues`` and ``--queue-num`` to *command*, as ``queues`` and ``queue_num``."""
    for option in (
        click.option(
            "--queue-num",
            type=click.IntRange(0, MOST),
            default=0,
            show_default=True,
            metavar="K",
            help="The number of the first queue; SYNs go to queue K + 32768.",
        ),
        click.option(
            "--queues",
            type=click.IntRange(1, MOST + 1),
            default=1,
            show_default=True,
            metavar="N",
            help="How many queues to use; only 1 is supported so far.",
            callback=_only_one,
        ),
    ):
        command = option(command)
    return command


def _only_one(context: click.Context, parameter: click.Parameter, queues: int) -> int:
    if queues != 1:
        raise click.BadParameter(f"{queues} queues are not supported yet: use --queues 1")
    return queues
