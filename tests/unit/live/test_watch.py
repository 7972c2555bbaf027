"""The running filter's own look at its surroundings: what changes is reported once."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

import pytest

from nfinspect.live.aside import Aside
from nfinspect.live.misfits import QUIET, FilterState
from nfinspect.live.survey import Survey
from nfinspect.live.watch import PERIOD, Watch
from tests.unit.live.test_misfits import NONE, STATE, survey

NO_IPV6 = (
    "warning: there are no rules for IPv6: IPv6 mail passes uninspected (nfinspect rules --apply)"
)


class Watched:
    """A watch with a clock and a system of the test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.system = survey()
        self.state: FilterState = STATE
        self.reports: list[str] = []
        self.surveys = 0
        self.watch = Watch(self.look, lambda: self.state, self.reports.append, lambda: self.now)
        self.watch.begin()
        self.watch.tell()

    def look(self) -> Survey:
        self.surveys += 1
        return self.system

    def later(self, seconds: float = PERIOD) -> list[str]:
        """What is reported when so much time has passed."""
        self.reports.clear()
        self.now += seconds
        before = self.watch.survey
        self.watch.serve()
        finish(lambda: self.watch.survey is not before or not self.busy, self.watch.serve)
        return self.reports

    @property
    def busy(self) -> bool:
        return self.watch._aside.busy


def finish(done: Callable[[], bool], serve: Callable[[], None]) -> None:
    """Serve until the thread has done its work."""
    for thread in threading.enumerate():
        if thread.name == "survey":
            thread.join(10)
    serve()
    assert done()


def test_what_does_not_fit_at_the_start_is_reported_and_not_repeated() -> None:
    watched = Watched()
    assert watched.reports == []
    watched.system = survey(ipv6=NONE)
    assert watched.later() == [NO_IPV6]
    assert watched.later() == []
    assert watched.later() == []


def test_warning_that_is_over_is_reported() -> None:
    watched = Watched()
    watched.system = survey(ipv6=NONE)
    watched.later()
    watched.system = survey()
    assert watched.later() == [
        "notice: over: there are no rules for IPv6: IPv6 mail passes uninspected"
    ]
    watched.system = survey(ipv6=NONE)
    assert watched.later() == [NO_IPV6]


def test_system_is_looked_at_once_in_each_period() -> None:
    watched = Watched()
    watched.later(PERIOD / 2)
    assert watched.surveys == 1
    watched.later(PERIOD / 2)
    assert watched.surveys == 2


def test_each_cause_for_which_connections_pass_uninspected_is_reported_once() -> None:
    watched = Watched()
    watched.state = dataclasses.replace(STATE, uninspected={"TLS started": 1})
    assert watched.later() == [
        "notice: connections pass uninspected (TLS started); nfinspect status counts them"
    ]
    watched.state = dataclasses.replace(STATE, uninspected={"TLS started": 5})
    assert watched.later() == []


def test_silence_since_the_start_is_reported_after_a_while() -> None:
    watched = Watched()
    watched.state = dataclasses.replace(STATE, received=0, latest=None, running=QUIET - 1)
    assert watched.later() == []
    watched.state = dataclasses.replace(STATE, received=0, latest=None, running=QUIET)
    assert watched.later() == [
        "notice: no packet has arrived since the start (does mail take its way through this machine?)"
    ]
    watched.state = STATE
    assert watched.later() == []


def test_work_aside_has_one_result_or_raises() -> None:
    aside: Aside[int] = Aside("work")
    wait = threading.Event()
    aside.start(lambda: wait.wait(10) and 5)
    assert aside.busy
    assert aside.take() is None
    wait.set()
    for thread in threading.enumerate():
        if thread.name == "work":
            thread.join(10)
    assert aside.take() == 5
    assert not aside.busy
    assert aside.take() is None

    aside.start(lambda: 1 // 0)
    for thread in threading.enumerate():
        if thread.name == "work":
            thread.join(10)
    with pytest.raises(ZeroDivisionError):
        aside.take()
