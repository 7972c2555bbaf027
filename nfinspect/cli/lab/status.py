"""``nfinspect lab status``: the labs on this machine, and what runs in them."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from nfinspect.cli.errors import FINDINGS
from nfinspect.live.control import ControlError, UnanswerableError, ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nfinspect.lab.condition import Condition

LONGEST = 8
"""Of the words in front."""


@click.command()
@click.option("--prefix", metavar="NAME", help="Only the lab of this name.  [default: all labs]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(prefix: str | None, as_json: bool) -> int:
    """Tell which labs there are, and what runs in them.

    The exit status is 0 if there is one, and in each that `lab up` began the filter answers; else 1.
    """
    from nfinspect.lab import place, topology
    from nfinspect.lab.condition import State, condition

    topology.require_root()
    if prefix is not None:
        topology.require_name(prefix)
    names = place.names() if prefix is None else [prefix] * topology.is_up(prefix)
    labs = [(lab := condition(name), _queue(lab.controls)) for name in names]
    labs = [each for each in labs if topology.is_up(each[0].prefix)]  # it may just have gone
    if as_json:
        found = [_to_json(*each) for each in labs]
        click.echo(json.dumps({"labs": found}, indent=2))
    else:
        _print(labs, prefix)
    well = all(
        lab.state is not State.LEFT_BEHIND and (lab.bare or queue is not None)
        for lab, queue in labs
    )
    return 0 if labs and well else FINDINGS


def _queue(controls: tuple[Path, ...]) -> dict[str, Any] | None:
    """What the filter says of its queue; None if none answers."""
    for control in controls:
        try:
            answer: dict[str, Any] = ask(control, ["show", "queue"]).data
        except (ControlError, UnanswerableError):
            continue
        return answer
    return None


def _to_json(lab: Condition, queue: dict[str, Any] | None) -> dict[str, Any]:
    fields = dataclasses.asdict(lab)
    del fields["controls"]
    return {**fields, "filter": {"ready": queue is not None, "queue": queue}}


def _print(labs: list[tuple[Condition, dict[str, Any] | None]], prefix: str | None) -> None:
    if not labs:
        click.echo("no lab is up" if prefix is None else f"the lab '{prefix}' is not up")
    for number, (lab, queue) in enumerate(labs):
        click.echo("\n" * bool(number) + f"{lab.prefix}: {lab.state}; {lab.about}")
        for word, text in _rows(lab, queue):
            click.echo(f"  {word:{LONGEST}}  {text}")
        if lab.state == "left behind":
            click.echo(
                "warning: the command that kept it was killed\n"
                f"  nfinspect lab down --prefix {lab.prefix}"
            )


def _rows(lab: Condition, queue: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    for word, each in lab.namespaces.items():
        if not each.exists:
            yield word, click.style(f"there is no namespace {each.name}", "red")
            continue
        shown = (f"{name} {' '.join(found)}" for name, found in each.interfaces.items())
        yield word, f"{each.name}: {'; '.join(shown)}"
        for process in each.processes:
            yield "", f"{process.pid} {process.command}"
    if queue is not None:
        verdicts = ", ".join(f"{word} {count}" for word, count in queue["verdicts"].items())
        yield "queue", f"the filter is ready; waiting {queue['waiting']}; {verdicts}"
        if lost := queue["kernel_dropped"] + queue["user_dropped"]:
            yield "", click.style(f"{lost} packets were lost, as the queue was full", "red")
    elif not lab.bare:
        yield "queue", click.style("no filter answers, so no mail passes", "red")
    yield from lab.files.items()
