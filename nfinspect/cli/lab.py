"""``nfinspect lab``: client, filter and server in network namespaces on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from nfinspect.cli.errors import FINDINGS, Failure

if TYPE_CHECKING:
    from nfinspect.lab.case import Case, Outcome
    from nfinspect.lab.demo import Ending

WIDTH_WITHOUT_TERMINAL = 140
UNWRAPPED = 10_000
"""Columns of a list that does not go to a terminal: one line per case, for grep."""


class _LabGroup(click.Group):
    """Turns a LabError into a Failure."""

    def invoke(self, ctx: click.Context) -> Any:
        from nfinspect.lab.topology import LabError

        try:
            return super().invoke(ctx)
        except LabError as error:
            raise Failure(str(error)) from error


@click.group(cls=_LabGroup)
def lab() -> None:
    """A test lab: client, filter and server in network namespaces.

    No traffic leaves the namespaces, and the machine's own network is not touched. Needs root.
    """


prefix_option = click.option(
    "--prefix",
    default="nfinspect",
    show_default=True,
    metavar="NAME",
    help="Prefix of the namespaces' names (NAME-client and so on), for more than one lab.",
)


bridge_option = click.option(
    "--bridge", is_flag=True, help="Make the filter a bridge without addresses, not a router."
)


@lab.command()
@prefix_option
@bridge_option
@click.option(
    "--offloads/--no-offloads",
    default=True,
    help="Without offloads, no packet exceeds the MTU, and all checksums are filled in.",
)
def up(prefix: str, bridge: bool, offloads: bool) -> None:
    """Build the lab and keep it until `lab down`."""
    from nfinspect.lab import topology

    topology.build(prefix, offloads=offloads, bridge=bridge)
    click.echo("The lab is up:")
    for end in sorted(
        (end for cable in topology.CABLES for end in cable), key=lambda e: e.namespace
    ):
        addresses = end.addresses
        if bridge and end.namespace == topology.FILTER:
            addresses = (f"port of {topology.BRIDGE}",)
        click.echo(f"  {end.namespace:7}{end.name:8}{' '.join(addresses)}")
    click.echo(
        "\nFor example:\n"
        f"  nfinspect lab exec filter -- nfinspect run --apply-rules{' --bridge' * bridge}\n"
        f"  nfinspect lab exec client -- swaks --server {topology.SERVER_ADDRESS} …\n"
        "  nfinspect lab down"
    )


@lab.command()
@prefix_option
def down(prefix: str) -> None:
    """End all processes in the lab and remove it."""
    from nfinspect.lab import topology
    from nfinspect.lab.namespaces import NFINSPECT

    topology.require_root()
    if not topology.is_up(prefix):
        raise Failure("the lab is not up")
    with contextlib.suppress(topology.LabError):  # also deletes the file of saved bridge settings
        topology.execute(prefix, topology.FILTER, [*NFINSPECT, "rules", "--remove"])
    topology.remove(prefix)


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


@lab.command(short_help="Send real mail through the filter and show both sides.")
@click.argument("names", metavar="[CASE]...", nargs=-1, shell_complete=_cases)
@click.option("--list", "only_list", is_flag=True, help="List the cases without running any.")
@click.option(
    "--captures",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Save the captures of both sides there.",
)
@bridge_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def demo(
    names: tuple[str, ...], only_list: bool, captures: Path | None, bridge: bool, as_json: bool
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
    if captures is not None:
        captures.mkdir(parents=True, exist_ok=True)
    steps = run_demo(names or DEMO, captures, bridge=bridge)
    return _json(steps) if as_json else _show(steps)


def _show(steps: Iterator[tuple[Case, Outcome] | Ending]) -> int:
    from rich.console import Console

    from nfinspect.lab.demo import Ending
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


@lab.command("exec", context_settings={"allow_interspersed_args": False})
@prefix_option
@click.argument("where", type=click.Choice(["client", "filter", "server"]))
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(prefix: str, where: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in a namespace of the lab, replacing this process.

    Options must come before the namespace. PATH is extended so that this nfinspect is found first.
    """
    from nfinspect.lab import topology

    if command[0] != "--" and command[0].startswith("-"):
        raise click.UsageError("options must come before client|filter|server.")
    topology.require_root()
    topology.require_programs("ip")
    if not topology.is_up(prefix):
        raise Failure("the lab is not up; start it with 'nfinspect lab up'")
    if command[0] == "--":  # customary before a command, as with sudo
        command = command[1:]
    argv = topology.command(prefix, where, command)
    beside_python = str(Path(sys.executable).parent)
    os.environ["PATH"] = f"{beside_python}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.execvp(argv[0], argv)
