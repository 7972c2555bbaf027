"""The way back from rules that were applied, with a kernel that is a list."""

from pathlib import Path

import pytest

from nfinspect.live import bridge, iptables, rollback
from nfinspect.live.iptables import RulesError
from nfinspect.rules.diversion import Diversion


class Machine:
    """What is in place."""

    def __init__(self) -> None:
        self.ports: tuple[int, ...] = ()
        self.bridged = False
        self.refuses = False
        self.waits: list[tuple[str, float]] = []

    def keep(self) -> dict[str, dict[str, list[str]]]:
        return {"IPv4": {"security": [str(port) for port in self.ports]}}

    def put_back(self, before: dict[str, dict[str, list[str]]]) -> bool:
        changed = before != self.keep()
        self.ports = tuple(map(int, before["IPv4"]["security"]))
        return changed

    def apply(self, diversion: Diversion) -> list[str]:
        if self.refuses:
            raise RulesError("refused")
        self.ports = diversion.ports
        return []

    def bridge(self) -> bool:
        fresh, self.bridged = not self.bridged, True
        return fresh

    def no_bridge(self) -> bool:
        there, self.bridged = self.bridged, False
        return there

    def tries(self, *ports: int, bridged: bool = False, confirm: float = 0.0) -> None:
        rollback.apply(
            Diversion(ports),
            bridged=bridged,
            confirm=confirm,
            wait=lambda token, seconds: self.waits.append((token, seconds)),
        )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    machine = Machine()
    monkeypatch.setattr(rollback, "DIRECTORY", tmp_path / "run")
    monkeypatch.setattr(iptables, "keep", machine.keep)
    monkeypatch.setattr(iptables, "put_back", machine.put_back)
    monkeypatch.setattr(iptables, "apply", machine.apply)
    monkeypatch.setattr(bridge, "apply", machine.bridge)
    monkeypatch.setattr(bridge, "remove", machine.no_bridge)
    monkeypatch.setattr(bridge, "in_place", lambda: machine.bridged)
    monkeypatch.setattr(rollback, "PAUSE", 0.0)
    return machine


def test_earlier_set_comes_back_once(machine: Machine) -> None:
    machine.tries(25)
    machine.tries(25, 587, bridged=True)
    machine.tries(25, 587, bridged=True)  # no change: the set before is still the first
    assert rollback.roll_back()
    assert (machine.ports, machine.bridged) == ((25,), False)
    with pytest.raises(RulesError, match="no earlier set is known"):
        rollback.roll_back()


def test_set_that_nobody_confirms_is_rolled_back_to_the_last_confirmed_one(
    machine: Machine,
) -> None:
    machine.tries(25)
    machine.tries(26, confirm=60)
    machine.tries(27, confirm=60)
    (first, _), (second, seconds) = machine.waits
    rollback.wait(first, 0)  # somebody tries another set by now
    assert (machine.ports, seconds) == ((27,), 60)
    rollback.wait(second, 0)
    assert machine.ports == (25,)
    with pytest.raises(RulesError, match="too late"):
        rollback.confirmed()


def test_confirmed_set_stays_and_the_way_back_too(machine: Machine) -> None:
    machine.tries(25)
    machine.tries(26, confirm=60)
    rollback.confirmed()
    rollback.wait(machine.waits[0][0], 0)
    assert machine.ports == (26,)
    with pytest.raises(RulesError, match="no rules wait for that"):
        rollback.confirmed()
    rollback.roll_back()
    assert machine.ports == (25,)


def test_other_applications_and_removal_end_the_wait(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.tries(25, confirm=60)
    machine.tries(26)
    rollback.wait(machine.waits[0][0], 0)
    assert machine.ports == (26,)
    machine.tries(27, confirm=60)
    monkeypatch.setattr(iptables, "remove", lambda: True)
    assert rollback.remove()
    rollback.wait(machine.waits[1][0], 0)
    assert machine.ports == (27,)
    assert list(rollback.DIRECTORY.iterdir()) == []


def test_rules_that_cannot_be_applied_leave_everything_as_it_was(machine: Machine) -> None:
    machine.tries(24)
    machine.tries(25)
    machine.refuses = True
    with pytest.raises(RulesError, match="refused"):
        machine.tries(26, bridged=True, confirm=60)
    assert not machine.bridged
    rollback.wait(machine.waits[0][0], 0)
    assert machine.ports == (25,)
    rollback.roll_back()
    assert machine.ports == (24,)


def test_damaged_file_says_nothing(machine: Machine) -> None:
    machine.tries(25)
    machine.tries(26)
    (file,) = rollback.DIRECTORY.iterdir()
    file.write_text('{"before": 3}')
    with pytest.raises(RulesError, match="no earlier set"):
        rollback.roll_back()
