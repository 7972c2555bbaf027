"""``nfinspect lab demo``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from nfinspect.cli.errors import FINDINGS
from nfinspect.cli.lab.options import bridge_option

if TYPE_CHECKING:
    from nfinspect.lab.case import Case, Outcome
    from nfinspect.lab.demo import Ending

WIDTH_WITHOUT_TERMINAL = 140
UNWRAPPED = 10_000
"""Columns of a list that does not go to a terminal: one line per case, for grep."""


def _cases(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """What a shell offers for CASE."""
    from nfinspect.lab.cases import CASES

    return [
        CompletionItem(case.name, help=case.shows)
        for case in CASES
        if case.name.startswith(incomplete)
    ]


@click.command(short_help="Send real mail through the filter and show both sides.")
@click.argument("names", metavar="[CASE]...", nargs=-1, shell_complete=_cases)
@click.option("--list", "only_list", is_flag=True, help="List the cases without running any.")
@click.option(
    "--captures",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Save the captures of both sides there.",
)
@bridge_option
@click.option(
    "--svg",
    "picture_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Save the pictures of the cases there as well, as an image.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def demo(
    names: tuple[str, ...],
    only_list: bool,
    captures: Path | None,
    bridge: bool,
    picture_file: Path | None,
    as_json: bool,
) -> int:
    """Send real mail through the filter and show what both sides see.

    Runs in a lab of its own: swaks and Postfix as clients, Postfix as the server, and the default
    policy unless a case has its own. `--list` lists the CASEs; without arguments, those marked with
    * are run.

    The exit status is 0 if every case went as expected, else 1.
    """
    from nfinspect.lab.cases import CASES, DEMO
    from nfinspect.lab.demo import demo as run_demo

    if only_list:
        columns, _ = shutil.get_terminal_size((UNWRAPPED, 0))
        for case in CASES:
            head = f"{'*' if case.name in DEMO else ' '} {case.name:24} "
            click.echo(click.wrap_text(case.shows, columns, head, " " * len(head)))
        return 0
    unknown = set(names) - {case.name for case in CASES}
    if unknown:
        raise click.UsageError(f"No such case: {', '.join(sorted(unknown))}.")
    if as_json and picture_file is not None:
        raise click.UsageError("--svg is a picture of what --json replaces.")
    if captures is not None:
        captures.mkdir(parents=True, exist_ok=True)
    steps = run_demo(names or DEMO, captures, bridge=bridge)
    if as_json:
        return _json(steps)
    title = " ".join(["nfinspect lab demo", *names, *["--bridge"] * bridge])
    return _show(steps, title, picture_file)


def _show(
    steps: Iterator[tuple[Case, Outcome] | Ending], title: str, picture_file: Path | None
) -> int:
    from rich.console import Console

    from nfinspect.lab.demo import Ending
    from nfinspect.lab.drawing import svg
    from nfinspect.lab.picture import picture, summary

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    outcomes = []
    for step in steps:
        if isinstance(step, Ending):
            console.print(step.service_policy, step.queue, sep="\n", markup=False)
        else:
            outcomes.append(step)
            console.print(picture(*step), "")
    console.print(summary(outcomes))
    if picture_file is not None:
        picture_file.write_text(svg(title, [picture(*each) for each in outcomes]))
    return 0 if all(outcome.as_expected for _, outcome in outcomes) else FINDINGS


def _json(steps: Iterator[tuple[Case, Outcome] | Ending]) -> int:
    from nfinspect.lab.demo import Ending

    cases = []
    for step in steps:
        if not isinstance(step, Ending):
            case, outcome = step
            cases.append({"name": case.name, "shows": case.shows, **outcome.to_json()})
    as_expected = all(case["as_expected"] for case in cases)
    click.echo(json.dumps({"cases": cases, "as_expected": as_expected}, indent=2))
    return 0 if as_expected else FINDINGS
