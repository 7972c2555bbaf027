"""Connections that the kernel passes: read from conntrack's messages, and told to the engine."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from nfinspect.actions import Action
from nfinspect.live import tracking
from nfinspect.live.netlink import attribute, nested
from nfinspect.live.tracking import CountedByKernel, Switch, read_sighting
from nfinspect.tcp.kernel_connection import Sighting, TrackedState
from tests.unit.live.test_conntrack import key
from tests.unit.live.test_older import CLIENT, SERVER, entry

OPENING, ANSWERED, ESTABLISHED = (TrackedState(each) for each in range(3))
MARK = 0x0800_0000


def message(state: int, *, more: bytes = b"", **fields: int) -> bytes:
    return entry(state, mark=MARK, **fields) + attribute(12, b"\0\0\1\0") + more


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (1, OPENING),
        (2, ANSWERED),
        (3, ESTABLISHED),
        (4, ESTABLISHED),
        (6, ESTABLISHED),
        (7, TrackedState.FINISHED),
        (8, TrackedState.RESET),
        (9, OPENING),
    ],
)
def test_states_are_read(state: int, wanted: TrackedState) -> None:
    sighting = read_sighting(message(state), 5.0)
    assert sighting is not None
    assert (sighting.key, sighting.number, sighting.state) == (key(CLIENT, SERVER), 256, wanted)
    assert sighting.client_closed == (state in (4, 6))
    assert sighting.handle[0] == socket.AF_INET


def test_what_it_carries_and_how_long_it_stays_is_read() -> None:
    counters = [
        nested(kind, attribute(1, number.to_bytes(8)), attribute(2, (number * 100).to_bytes(8)))
        for kind, number in ((9, 3), (10, 4))
    ]
    said = attribute(7, (30).to_bytes(4))
    sighting = read_sighting(message(3, more=b"".join(counters) + said), 5.0)
    assert sighting is not None
    assert (sighting.packets, sighting.size, sighting.due) == (7, 700, 35.0)


def test_other_connections_are_not() -> None:
    assert read_sighting(entry(3), 0.0) is None
    assert read_sighting(entry(3, mark=MARK, protocol=b"\x11"), 0.0) is None
    assert read_sighting(message(0), 0.0) is None
    gone = read_sighting(message(3), 0.0, gone=True)
    assert gone is not None
    assert gone.state is TrackedState.GONE
    with pytest.raises(ValueError, match="attribute"):
        read_sighting(message(3)[:-3], 0.0)


class Engine:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.passed = 0
        self.told: list[list[int]] = []
        self.seen: list[set[int]] = []
        self.to_forget: list[bytes] = []

    def tell(self, sightings: Collection[Sighting], now: float) -> Sequence[Action]:
        self.told.append([each.number for each in sightings])
        return []

    def look(self, sightings: Collection[Sighting], since: float, now: float) -> Sequence[Action]:
        assert since <= now
        self.seen.append({each.number for each in sightings})
        return []

    def forgotten(self) -> list[bytes]:
        found, self.to_forget = self.to_forget, []
        return found


def sighting(number: int, state: TrackedState = ESTABLISHED) -> Sighting:
    return Sighting(b"", number, state, b"")


class Kernel:
    """Connection tracking with these messages."""

    def __init__(self) -> None:
        self.waiting: list[Sighting | Exception] = []
        self.entries: list[Sighting] = []
        self.looks = 0
        self.forgot: list[bytes] = []
        self.trouble: OSError | None = None
        self.closed = False

    def events(self) -> Sighting | None:
        if not self.waiting:
            return None
        found = self.waiting.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def table(self) -> list[Sighting]:
        self.looks += 1
        if self.trouble is not None:
            raise self.trouble
        return list(self.entries)

    def forget(self, handle: bytes) -> None:
        self.forgot.append(handle)

    def close(self) -> None:
        self.closed = True


class Setup:
    def __init__(self, *, wanted: bool = True) -> None:
        self.engine, self.kernel = Engine(), Kernel()
        self.messages: list[str] = []
        self.wanted = wanted
        self.counted = CountedByKernel(
            self.engine,
            lambda decide: decide(tracking.monotonic()),
            lambda: self.wanted,
            self.messages.append,
            lambda: self.kernel,
        )

    def settle(self) -> None:
        """Serve until no look is under way."""
        self.counted.serve()
        while self.counted._looking.busy:
            self.counted.serve()


def test_table_is_counted_before_the_first_packet_and_events_from_then_on() -> None:
    setup = Setup()
    setup.kernel.entries = [sighting(1), sighting(2)]
    setup.counted.begin()
    assert setup.engine.seen == [{1, 2}]
    setup.kernel.waiting = [sighting(1, TrackedState.FINISHED), sighting(3, OPENING)]
    setup.counted.serve()
    setup.counted.serve()
    assert setup.engine.told == [[1, 3]]
    assert setup.kernel.looks == 1


def test_nobody_is_asked_while_the_policy_counts_nothing() -> None:
    setup = Setup(wanted=False)
    setup.counted.begin()
    setup.settle()
    assert setup.kernel.looks == 0
    setup.wanted = True
    setup.settle()
    setup.settle()
    assert setup.kernel.looks == 1


@pytest.mark.parametrize("error", [OSError(errno.ENOBUFS, "lost"), ValueError("cut off")])
def test_lost_events_lead_to_a_look(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(tracking, "SHORTEST", 0.0)
    monkeypatch.setattr(tracking, "SHARE", float("inf"))
    setup = Setup()
    setup.counted.begin()
    for _ in range(3):
        setup.kernel.waiting = [sighting(1), error, error, sighting(2)]
        setup.settle()
        setup.settle()
    assert setup.engine.told == [[1, 2]] * 3
    assert setup.kernel.looks == 4
    lost = [text for text in setup.messages if "events of connection tracking were lost" in text]
    assert len(lost) == isinstance(error, OSError)


def test_looks_are_not_more_frequent_however_much_is_lost() -> None:
    setup = Setup()
    setup.counted.begin()
    for _ in range(50):
        setup.kernel.waiting = [OSError(errno.ENOBUFS, "lost")]
        setup.settle()
    assert setup.kernel.looks == 1


def test_who_ended_during_a_look_is_not_found_by_it() -> None:
    setup = Setup()
    setup.counted.begin()
    setup.counted._looked = float("-inf")
    setup.counted._earliest = 0.0
    setup.kernel.entries = [sighting(1), sighting(2)]
    setup.counted.serve()
    setup.kernel.waiting = [sighting(1, TrackedState.RESET)]
    setup.settle()
    assert setup.engine.seen == [set(), {2}]


def test_time_for_events_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "BUDGET", 0.0)
    setup = Setup()
    setup.counted.begin()
    setup.kernel.waiting = [sighting(each) for each in range(3)]
    setup.counted.serve()
    assert setup.engine.told == [[0]]
    assert len(setup.kernel.waiting) == 2


def test_timed_out_entries_are_forgotten_and_everything_is_put_back() -> None:
    setup = Setup()
    setup.counted.begin()
    setup.engine.to_forget = [b"a"]
    setup.counted.serve()
    setup.engine.to_forget = [b"b"]
    setup.counted.close()
    assert setup.kernel.forgot == [b"a", b"b"]
    assert setup.kernel.closed


def test_trouble_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "PERIOD", 0.0)
    monkeypatch.setattr(tracking, "QUIET_PERIOD", 0.0)
    setup = Setup()
    setup.kernel.trouble = OSError(errno.EPERM, "not permitted")
    setup.counted.begin()
    setup.settle()
    setup.settle()
    assert setup.kernel.looks == 3
    assert len(setup.messages) == 1
    assert "table cannot be read" in setup.messages[0]


def test_without_connection_tracking_the_operator_is_told() -> None:
    def fail() -> Kernel:
        raise OSError(errno.EPROTONOSUPPORT, "no ctnetlink")

    setup = Setup()
    setup.counted._connect = fail
    setup.counted.begin()
    setup.counted.serve()
    setup.counted.serve()
    assert len(setup.messages) == 1
    assert "do not count connections that are not inspected" in setup.messages[0]


@pytest.mark.parametrize(
    ("before", "meanwhile", "after"),
    [("0\n", "1\n", "0"), ("2\n", "2\n", "2\n"), ("0\n", "2\n", "2\n"), ("1\n", "1\n", "1\n")],
)
def test_setting_of_the_kernel_is_turned_on_and_put_back(
    tmp_path: Path, before: str, meanwhile: str, after: str
) -> None:
    path = tmp_path / "acct"
    path.write_text(before)
    switch = Switch(path)
    assert path.read_text().strip() != "0"
    path.write_text(meanwhile)
    switch.put_back()
    assert path.read_text() == after


def test_missing_setting_is_left_alone(tmp_path: Path) -> None:
    Switch(tmp_path / "none" / "acct").put_back()
