"""The highest constant rate at which a filter in the lab loses none of the packets that are played."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from nfinspect.replay.pace import Pace, PaceKind
from nfinspect.replay.playing import PlayOutcome, Setting
from nfinspect.replay.through_lab import through_lab

STEP = 0.1
"""The search ends when a rate with losses is no more than this fraction above one without."""
SLOWEST = 100.0
"""Packets per second."""


def find(
    captures: Sequence[Path], setting: Setting, tried: Callable[[PlayOutcome], None]
) -> PlayOutcome | None:
    """Return the outcome at the highest rate without loss, that of unlimited speed if nothing is lost
    then; None if there is none. *tried* is called with each outcome.

    Raises what `through_lab` raises.
    """

    def at(pace: Pace) -> PlayOutcome:
        outcome = through_lab(captures, replace(setting, pace=pace))
        tried(outcome)
        return outcome

    best = at(Pace(PaceKind.NOTHING))
    if not best.lost:
        return best
    above, found = best.packets_per_second, None
    below = 0.0
    rate = above / 2
    while rate >= SLOWEST:
        outcome = at(Pace(PaceKind.RATE, rate))
        if outcome.lost:
            above = rate
        else:
            found, below = outcome, rate
        if below and above <= below * (1 + STEP):
            break
        rate = (above + below) / 2 if below else above / 2
    return found
