"""``python -m tests.differential --cases N [--seed S]``: as many cases as wanted."""

from __future__ import annotations

import itertools
import sys
import time

import click

from tests.differential import dialogue
from tests.differential.compare import differences
from tests.differential.written import misread


@click.command()
@click.option("--cases", default=20_000, show_default=True, type=click.IntRange(1))
@click.option("--mails", default=1000, show_default=True, help="Written by Python's email package.")
@click.option("--dialogues", default=3000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(cases: int, mails: int, dialogues: int, seed: int) -> None:
    """Judge random mails with a naive evaluator and with the streaming one, and compare."""
    started = time.process_time()
    count = 0
    for difference in differences(cases, seed):
        click.echo(str(difference))
        count += 1
    for text in itertools.chain(misread(mails, seed), dialogue.differences(dialogues, seed)):
        click.echo(text)
        count += 1
    spent = time.process_time() - started
    click.echo(f"{cases} cases, {mails} mails of another author, {dialogues} dialogues:")
    click.echo(f"{count} differences, {spent:.0f} s of CPU")
    sys.exit(bool(count))


if __name__ == "__main__":
    main(prog_name="python -m tests.differential")
