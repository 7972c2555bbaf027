"""``python -m bench`` measures and writes RESULTS.md; ``python -m bench loss`` writes LOSS.md,
``intercept`` INTERCEPT.md, ``flood`` FLOOD.md; ``memory`` (MEMORY.md), ``clauses`` (CLAUSES.md) and
``micro`` need no root."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import click

from bench import classification, clauses, flood, intercept, loss, machine, memory, micro, profiling
from bench.forms import form
from bench.loads import BULK, LOADS, SMALL
from bench.measure import rounds
from bench.paths import paths
from bench.plot import plot
from bench.report import PLOT, results
from bench.summary import Sample, judge
from nfinspect.lab.lab import orderly_end
from nfinspect.lab.topology import LabError

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
PROFILE = HERE / "PROFILE.md"
LOSS = HERE / "LOSS.md"
INTERCEPT = HERE / "INTERCEPT.md"
FLOOD = HERE / "FLOOD.md"
CLAUSES = HERE / "CLAUSES.md"
MEMORY = HERE / "MEMORY.md"

QUICKER = 10
"""``--quick`` divides the sessions of each load by this."""
PROFILED = tuple(replace(load, sessions=5 * load.sessions) for load in (SMALL, BULK))
"""Loads long enough for at least a thousand samples."""


@click.group(invoke_without_command=True)
@click.option("--rounds", "count", default=5, show_default=True, type=click.IntRange(1))
@click.option("--quick", is_flag=True, help="A tenth of each load, and no file is written.")
@click.option(
    "--profile", is_flag=True, help="Profile the filter instead; writes bench/PROFILE.md."
)
@click.option("--minutes", default=20.0, show_default=True, help="No round starts later than this.")
@click.pass_context
def bench(context: click.Context, count: int, quick: bool, profile: bool, minutes: float) -> None:
    """Measure the filter against plain forwarding and accept-only NFQUEUE, as root.

    Writes bench/RESULTS.md with its plot, and bench/PROFILE.md if an aim is missed.
    """
    if context.invoked_subcommand is not None:
        return
    command = " ".join(["script/bench", *sys.argv[1:]])
    facts = machine.facts()
    try:
        with orderly_end():
            is_short = False
            if not profile:
                samples = _measure(count, quick, minutes)
                loads = [load.shortened(QUICKER) for load in LOADS] if quick else list(LOADS)
                _write(RESULTS, results(samples, loads, facts, command), keep=not quick)
                if not quick:
                    (HERE / PLOT).write_text(plot(samples, "What the filter costs"))
                is_short = not all(judgement.is_met for judgement in judge(samples))
            if profile or (is_short and not quick):
                taken = [profiling.take(load) for load in PROFILED]
                _write(PROFILE, profiling.profiles(taken, facts, command), keep=not quick)
    except LabError as error:
        raise click.ClickException(str(error)) from error


def _measure(count: int, quick: bool, minutes: float) -> list[Sample]:
    loads = [load.shortened(QUICKER) for load in LOADS] if quick else list(LOADS)
    samples: list[Sample] = []
    started = time.monotonic()
    for round_ in rounds(count, loads, paths(), report=_report):
        samples += round_
        if time.monotonic() - started > minutes * 60:
            _report("the time is up")
            break
    return samples


def _write(file: Path, text: str, *, keep: bool) -> None:
    click.echo(text)
    if keep:
        file.write_text(text)
        _report(f"written to {file}")


def _report(line: str) -> None:
    click.echo(f"bench: {line}", err=True)


@bench.command(name="loss")
@click.option("--rounds", "count", default=3, show_default=True, type=click.IntRange(1))
@click.option(
    "--quick", is_flag=True, help="A few conditions, a tenth of the mail; writes nothing."
)
def loss_(count: int, quick: bool) -> None:
    """Measure transfers over a path that loses and reorders, as root; writes bench/LOSS.md."""
    command = " ".join(["script/bench", *sys.argv[1:]])
    facts = machine.facts()
    size = loss.QUICK_SIZE if quick else loss.SIZE
    conditions = loss.QUICK_CONDITIONS if quick else loss.CONDITIONS
    transfers: list[loss.Transfer] = []
    try:
        with orderly_end():
            for round_ in loss.rounds(1 if quick else count, conditions, size, report=_report):
                transfers += round_
                _write(LOSS, loss.results(transfers, facts, command, size), keep=not quick)
    except LabError as error:
        raise click.ClickException(str(error)) from error


@bench.command(name="intercept")
@click.option("--rounds", "count", default=3, show_default=True, type=click.IntRange(1))
@click.option("--quick", is_flag=True, help="One round; writes nothing.")
def intercept_(count: int, quick: bool) -> None:
    """Measure transfers through TCP intercept, as root; writes bench/INTERCEPT.md."""
    command = " ".join(["python -m bench", *sys.argv[1:]])
    facts = machine.facts()
    transfers: list[intercept.Transfer] = []
    conditions = intercept.CONDITIONS
    try:
        with orderly_end():
            for round_ in intercept.rounds(1 if quick else count, conditions, report=_report):
                transfers += round_
                _write(INTERCEPT, intercept.results(transfers, facts, command), keep=not quick)
    except LabError as error:
        raise click.ClickException(str(error)) from error


@bench.command(name="flood")
@click.option("--rounds", "count", default=3, show_default=True, type=click.IntRange(1))
@click.option("--quick", is_flag=True, help="One short round; writes nothing.")
def flood_(count: int, quick: bool) -> None:
    """Measure mail while SYNs flood its server, as root; writes bench/FLOOD.md."""
    command = " ".join(["python -m bench", *sys.argv[1:]])
    facts = machine.facts()
    seconds = flood.QUICK_SECONDS if quick else flood.SECONDS
    samples: list[flood.Sample] = []
    try:
        with orderly_end():
            for round_ in flood.rounds(1 if quick else count, seconds, report=_report):
                samples += round_
                _write(FLOOD, flood.results(samples, facts, command), keep=not quick)
    except LabError as error:
        raise click.ClickException(str(error)) from error


@bench.command(name="memory")
@click.option("--quick", is_flag=True, help="A tenth of the connections; writes nothing.")
def memory_(quick: bool) -> None:
    """Measure the engine's memory per connection; needs no root; writes bench/MEMORY.md."""
    command = " ".join(["python -m bench", *sys.argv[1:]])
    measured = list(memory.measure(QUICKER if quick else 1, report=_report))
    expiries = list(memory.measure_expiry(QUICKER if quick else 1, report=_report))
    _write(MEMORY, memory.results(measured, expiries, machine.facts(), command), keep=not quick)


@bench.command(name="clauses")
@click.option("--quick", is_flag=True, help="One round, no instructions; writes nothing.")
def clauses_(quick: bool) -> None:
    """Compare maps of few and of many clauses; needs no root; writes bench/CLAUSES.md."""
    command = " ".join(["python -m bench", *sys.argv[1:]])
    _write(CLAUSES, clauses.results(clauses.run(quick=quick), form(), command), keep=not quick)


@bench.command(name="micro")
def micro_() -> None:
    """Time the engine alone, packet by packet; needs no root."""
    click.echo(f"nfinspect, {form()}\n")
    for workload in micro.WORKLOADS:
        click.echo("\n".join([*micro.run(workload), ""]))


@bench.command(name="classification")
def classification_() -> None:
    """Count what finding a connection's class costs in long access lists; needs no root."""
    click.echo(f"nfinspect, {form()}\n")
    click.echo("\n".join(classification.run()))


if __name__ == "__main__":
    bench(prog_name="python -m bench")
