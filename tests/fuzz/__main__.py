"""``python -m tests.fuzz``: random hostile sessions, as many as wanted, or one of them in detail."""

from __future__ import annotations

import sys
import time

import click

from tests.fuzz.drawing import Kind
from tests.fuzz.guard import DifferenceError
from tests.fuzz.session import Session, Tally

EVERY = 60.0
"""Seconds between words of progress."""


@click.command()
@click.option("--seed", type=int, default=0, help="The first session; alone, the only one.")
@click.option("--sessions", type=int, help="How many sessions.")
@click.option("--segments", type=int, help="Until so many segments have reached the filter.")
@click.option("--seconds", type=float, help="Until so much CPU time is used up.")
@click.option("--kind", type=click.Choice([kind.name for kind in Kind]), help="Only such sessions.")
@click.option("--intercepted", is_flag=True, help="Through TCP intercept as on a bridge.")
def main(
    seed: int,
    sessions: int | None,
    segments: int | None,
    seconds: float | None,
    kind: str | None,
    intercepted: bool,
) -> None:
    """Run hostile sessions through the filter, and compare with the oracle.

    With a seed alone: show that session packet by packet. Exit status 1 if there is a difference.
    """
    if sessions is segments is seconds is None:
        sys.exit(show(seed, intercepted=intercepted))
    tally = Tally()
    failures = 0
    started = time.process_time()
    told = time.monotonic()
    while (
        (sessions is None or tally.sessions < sessions)
        and (segments is None or tally.segments < segments)
        and (seconds is None or time.process_time() - started < seconds)
    ):
        if kind is None or Kind[kind] == seed % len(Kind):
            session = Session(seed, intercepted=intercepted)
            try:
                session.run()
            except DifferenceError as error:
                failures += 1
                how = " --intercepted" * intercepted
                print(f"python -m tests.fuzz{how} --seed {seed}\n{error}\n", flush=True)
            session.add_to(tally)
        seed += 1
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            print(f"{tally.sessions} sessions, {tally.segments} segments", flush=True)
    print(summary(tally, time.process_time() - started, failures))
    sys.exit(1 if failures else 0)


def show(seed: int, *, intercepted: bool = False) -> int:
    """One session, packet by packet."""
    session = Session(seed, print, intercepted=intercepted)
    print(session.describe())
    try:
        session.run()
    except DifferenceError as error:
        print(f"\nDIFFERENCE: {error}")
        return 1
    return 0


def summary(tally: Tally, seconds: float, failures: int) -> str:
    """What a run has come to."""
    drops = sorted(tally.drops.items(), key=lambda pair: -pair[1])
    return "\n".join(
        (
            f"{tally.sessions} sessions, {tally.segments} segments, {failures} differences, "
            f"{seconds:.0f} s of CPU",
            f"{tally.forged} segments were an attacker's; the filter held {tally.held} and sent "
            f"{tally.injected} of its own; it told of {tally.conflicts} conflicts and closed "
            f"{tally.closed} connections",
            f"{tally.expired} packets expired behind the filter; in {tally.sequels} sessions it built "
            f"another connection in place of a forgotten one, and {tally.reopened} times a server "
            f"accepted one",
            "dropped: " + ", ".join(f"{count} {reason.value}" for reason, count in drops),
        )
    )


if __name__ == "__main__":
    main()
