"""Why a queue is unavailable, as far as the system shows."""

from pathlib import Path

import pytest

from nfinspect.live import obstacles, queue_table


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake /proc: all capabilities, NFQUEUE available, no queue bound."""
    (tmp_path / "status").write_text("Name:\tx\nCapEff:\t000001ffffffffff\n")
    (tmp_path / "nfnetlink_queue").write_text("")
    monkeypatch.setattr(obstacles, "STATUS", tmp_path / "status")
    monkeypatch.setattr(queue_table, "TABLE", tmp_path / "nfnetlink_queue")
    return tmp_path


def test_missing_capability_is_named_first(system: Path) -> None:
    (system / "status").write_text("CapEff:\t00000000a80425fb\n")  # a container's usual set
    (system / "nfnetlink_queue").unlink()
    assert obstacles.of_queue(3) == (
        "reading queue 3 needs CAP_NET_ADMIN: run nfinspect as root, or grant it the capability"
    )


def test_missing_kernel_module_is_named(system: Path) -> None:
    (system / "nfnetlink_queue").unlink()
    assert obstacles.of_queue(3) == (
        "NFQUEUE is not available: the kernel module nfnetlink_queue is not loaded"
        " (modprobe nfnetlink_queue)"
    )


def test_queue_in_use_names_its_owner(system: Path) -> None:
    (system / "nfnetlink_queue").write_text("3 20107 0 2 65531 0 0 2 1\n")
    assert obstacles.of_queue(3).startswith(
        "queue 3 is in use by another process (netlink port 20107,"
    )


def test_unknown_reason_is_reported_as_unknown(system: Path) -> None:
    assert obstacles.of_queue(3) == "the kernel refused queue 3 without giving a reason"


@pytest.mark.parametrize(
    ("effective", "has"), [("0000000000001000", True), ("0000000000000fff", False), ("0", False)]
)
def test_capability_is_read_from_the_status(system: Path, effective: str, has: bool) -> None:
    (system / "status").write_text(f"CapInh:\t0000000000001000\nCapEff:\t{effective}\n")
    assert obstacles.has_capability(obstacles.CAP_NET_ADMIN) is has


def test_status_without_capabilities_means_none(system: Path) -> None:
    (system / "status").write_text("Name:\tx\n")
    assert not obstacles.has_capability(obstacles.CAP_NET_ADMIN)
