"""What a bridge needs: sysctl settings are saved and restored, also if something fails."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nfinspect.live import bridge
from nfinspect.live.iptables import RulesError
from nfinspect.rules.bridge import SETTINGS

NAMES = (*SETTINGS, "bridge-nf-call-arptables", "bridge-nf-pass-vlan-input-dev")


class System:
    """Settings in a directory, and an nft that records whether the guard is installed."""

    def __init__(self, directory: Path) -> None:
        self.settings = directory / "net-bridge"
        self.run = directory / "run"
        self.run.mkdir()
        self.guarded = False
        self.refusal = ""
        self.installed = True

    def load(self, **values: int) -> None:
        """Load br_netfilter; by default it calls iptables but looks into no encapsulation."""
        self.settings.mkdir()
        for name in NAMES:
            (self.settings / name).write_text("1" if "-call-" in name else "0")
        for name, value in values.items():
            (self.settings / f"bridge-nf-{name.replace('_', '-')}").write_text(str(value))

    def read(self) -> dict[str, int]:
        return {name: int((self.settings / name).read_text()) for name in NAMES}

    def saved(self) -> list[Path]:
        return list(self.run.iterdir())

    def which(self, program: str) -> str | None:
        return f"/usr/sbin/{program}" if self.installed else None

    def execute(self, command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
        assert command[0] == "nft"
        if command[1] == "list":
            return subprocess.CompletedProcess(command, 0 if self.guarded else 1, "", "no table")
        if self.refusal:
            return subprocess.CompletedProcess(command, 1, "", self.refusal)
        self.guarded = "chain forward" in text
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> System:
    system = System(tmp_path)
    monkeypatch.setattr(bridge, "SETTINGS", system.settings)
    monkeypatch.setattr(bridge, "RUN", system.run)
    monkeypatch.setattr(bridge, "execute", system.execute)
    monkeypatch.setattr(bridge.shutil, "which", system.which)
    return system


@pytest.fixture
def modprobe(monkeypatch: pytest.MonkeyPatch, system: System) -> Callable[[bool], None]:
    def provide(works: bool) -> None:
        def run(command: list[str], **_: object) -> None:
            assert command == ["modprobe", "br_netfilter"]
            if not works:
                raise FileNotFoundError
            system.load()

        monkeypatch.setattr(bridge.subprocess, "run", run)

    return provide


def test_apply_changes_settings_and_remove_restores_them(system: System) -> None:
    system.load(call_ip6tables=0, filter_pppoe_tagged=1)
    before = system.read()
    assert bridge.apply()
    assert system.guarded
    assert system.read() == before | SETTINGS
    assert bridge.remove()
    assert system.read() == before
    assert (system.guarded, system.saved()) == (False, [])


def test_removal_after_applying_twice_restores_the_first_settings(system: System) -> None:
    system.load()
    before = system.read()
    assert bridge.apply()
    assert not bridge.apply()
    assert bridge.remove()
    assert system.read() == before


def test_saved_settings_have_the_format_of_sysctl(system: System) -> None:
    system.load()
    bridge.apply()
    (file,) = system.saved()
    comment, *lines = file.read_text().splitlines()
    assert comment.startswith("# ")
    assert lines == [
        "net.bridge.bridge-nf-call-iptables = 1",
        "net.bridge.bridge-nf-call-ip6tables = 1",
        "net.bridge.bridge-nf-filter-vlan-tagged = 0",
        "net.bridge.bridge-nf-filter-pppoe-tagged = 0",
    ]


def test_removal_without_apply_reports_that_nothing_was_removed(system: System) -> None:
    system.load()
    assert not bridge.remove()


def test_module_loaded_by_apply_calls_no_tables_after_removal(
    system: System, modprobe: Callable[[bool], None]
) -> None:
    modprobe(True)
    assert bridge.apply()
    assert bridge.remove()
    assert {name for name, value in system.read().items() if value} == set()


def test_kernel_without_the_module_is_an_error(
    system: System, modprobe: Callable[[bool], None]
) -> None:
    modprobe(False)
    with pytest.raises(RulesError, match="br_netfilter is not available"):
        bridge.apply()
    assert system.saved() == []


def test_removal_succeeds_although_the_module_has_been_unloaded(system: System) -> None:
    system.load()
    bridge.apply()
    for name in NAMES:
        (system.settings / name).unlink()
    system.settings.rmdir()
    assert bridge.remove()
    assert system.saved() == []


def test_guard_that_nft_refuses_leaves_everything_as_it_was(system: System) -> None:
    system.load()
    before = system.read()
    system.refusal = "Error: Operation not supported"
    with pytest.raises(RulesError, match="nft: Error: Operation not supported"):
        bridge.apply()
    assert (system.read(), system.saved()) == (before, [])


def test_second_apply_that_nft_refuses_leaves_the_first_in_place(system: System) -> None:
    system.load()
    bridge.apply()
    system.refusal = "Error"
    with pytest.raises(RulesError):
        bridge.apply()
    assert (system.guarded, len(system.saved())) == (True, 1)


def test_without_nft_nothing_is_changed(system: System) -> None:
    system.load()
    before = system.read()
    system.installed = False
    with pytest.raises(RulesError, match=r"nft is not installed \(apt-get install nftables\)"):
        bridge.apply()
    assert (system.read(), system.saved()) == (before, [])
    assert not bridge.remove()
