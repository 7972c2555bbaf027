"""The running filter looks whether mail still reaches it, and tells the operator when that changes."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from nfinspect.live import misfits
from nfinspect.live.aside import Aside
from nfinspect.live.misfits import QUIET, FilterState, Misfit, Severity
from nfinspect.live.survey import Survey

PERIOD = 5.0
"""Seconds between two looks. One takes a few milliseconds of CPU time."""


class Watch:
    """Compares what the system does with what the filter expects, again and again."""

    def __init__(
        self,
        look: Callable[[], Survey],
        state: Callable[[], FilterState],
        report: Callable[[str], None],
        now: Callable[[], float] = monotonic,
    ) -> None:
        """*look* takes a survey, in a thread; *state* is asked in the loop; *report* prints a
        message for the operator."""
        self._look = look
        self._state = state
        self._report = report
        self._now = now
        self._aside: Aside[Survey] = Aside("survey")
        self._next = 0.0
        self._told: dict[str, Misfit] = {}
        """What has been reported and lasts, by text."""
        self.survey = Survey()
        """The latest."""

    def begin(self) -> None:
        """Take the first survey at once; `tell` reports it."""
        self.survey = self._look()
        self._next = self._now() + PERIOD

    def serve(self) -> None:
        """Take a survey when it is time, and report what has changed; never waits."""
        if self._aside.busy:
            survey = self._aside.take()
            if survey is not None:
                self.survey = survey
                self.tell()
        elif self._now() >= self._next:
            self._next = self._now() + PERIOD
            self._aside.start(self._look)

    def tell(self) -> None:
        """Report what is not as it should be and has not been reported, and warnings that are
        over."""
        state = self._state()
        present = {
            misfit.text: misfit
            for misfit in misfits.find(self.survey, state)
            if misfit.kind != "no-packets" or state.running >= QUIET
        }
        for text, misfit in present.items():
            if text not in self._told:
                self._report(str(misfit))
        for text, misfit in self._told.items():
            if text not in present and misfit.severity is Severity.WARNING:
                self._report(f"notice: over: {text}")
        self._told = present
