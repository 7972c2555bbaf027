"""Fixtures: a lab, a filter running in it, and a check of every syslog line.

A module that needs the filter requests `running`, and `stage` if it needs servers and clients too;
they last for the whole module. `syslog` fails a test if there is a line that it does not expect.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence

import pytest

from nfinspect.lab import expected_lines as lines
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.stage import MailStage
from nfinspect.lab.topology import LabError
from tests.end_to_end.two_minutes import TwoMinutes

PATIENCE = 10.0
"""Seconds within which an expected line must appear."""


@pytest.fixture(scope="module")
def shared_lab() -> Iterator[Lab]:
    """Namespaces for the whole module; its own `lab` sets and removes rules for each test."""
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def plain_lab() -> Iterator[Lab]:
    """A lab without offloads: every packet is a frame within the MTU, with its checksum filled in."""
    with Lab(offloads=False) as lab:
        yield lab


@pytest.fixture(scope="module")
def running(plain_lab: Lab) -> Iterator[RunningFilter]:
    """The filter in that lab. Stopping it fails if a packet is waiting or an error was reported."""
    filter_ = plain_lab.filter()
    yield filter_
    filter_.stop()


@pytest.fixture(scope="module")
def stage(plain_lab: Lab) -> MailStage:
    return MailStage(plain_lab)


class Syslog:
    """The syslog lines of one test: those that are expected must appear, and no others."""

    def __init__(self, running: RunningFilter) -> None:
        self._running = running
        self._seen = len(running.syslog)

    def expect(
        self,
        templates: Sequence[lines.Template],
        *,
        client: str,
        server: str,
        in_order: bool = True,
    ) -> None:
        """Fail unless the lines since the last call are these, no more and no fewer."""
        wanted = lines.required(templates)
        self._running.wait(lambda: len(self._running.syslog) - self._seen >= wanted, PATIENCE)
        appeared = self._running.syslog[self._seen :]
        self._seen += len(appeared)
        wrong = lines.differences(
            appeared, templates, client=client, server=server, in_order=in_order
        )
        assert not wrong, "\n".join(["syslog:", *wrong])

    def finish(self) -> None:
        """Fail if there is a line that was not expected."""
        left = self._running.syslog[self._seen :]
        assert not left, "\n".join(["unexpected syslog lines:", *left])


@pytest.fixture
def syslog(running: RunningFilter) -> Iterator[Syslog]:
    watch = Syslog(running)
    yield watch
    watch.finish()


# The longest tests wait two minutes for one packet. They start before all others, in labs of their
# own, and are evaluated after them.

LONG = {"two_minutes": False, "two_minutes_with_restarts": True}
"""The fixtures of these tests, and whether the filter is restarted."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not LONG.keys().isdisjoint(getattr(item, "fixturenames", ())))


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    # SIGTERM, like Ctrl-C, must take the labs down.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started: dict[str, TwoMinutes | LabError] = {}
    session.config.stash[_STARTED] = started
    for name, restarts in LONG.items():
        if any(name in getattr(item, "fixturenames", ()) for item in session.items):
            try:
                started[name] = TwoMinutes.begin(restarts=restarts)
            except LabError as error:
                started[name] = error


def pytest_unconfigure(config: pytest.Config) -> None:
    for each in config.stash.get(_STARTED, {}).values():
        if isinstance(each, TwoMinutes):
            each.end()


_STARTED = pytest.StashKey[dict[str, TwoMinutes | LabError]]()


def _started(config: pytest.Config, name: str) -> TwoMinutes:
    each = config.stash[_STARTED][name]
    if isinstance(each, LabError):
        raise each
    return each


@pytest.fixture(scope="session")
def two_minutes(pytestconfig: pytest.Config) -> TwoMinutes:
    return _started(pytestconfig, "two_minutes")


@pytest.fixture(scope="session")
def two_minutes_with_restarts(pytestconfig: pytest.Config) -> TwoMinutes:
    return _started(pytestconfig, "two_minutes_with_restarts")
