"""Applying rules: which commands are called, with what input, and the errors if they fail."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from nfinspect.live import iptables
from nfinspect.live.iptables import RulesError
from nfinspect.rules.diversion import Diversion

PORT_25 = Diversion((25,))
NO_TABLE = "iptables v1.8.9 (legacy): can't initialize iptables table: Table does not exist"


class Kernel:
    """Answers iptables commands from tables by name; some commands fail with a inputs message."""

    def __init__(self) -> None:
        self.tables: dict[str, str] = {"security": "-P FORWARD ACCEPT\n"}
        self.tables |= dict.fromkeys(("mangle", "raw", "nat"), "")
        self.failures: dict[str, str] = {}
        self.called: list[str] = []
        self.inputs: list[str] = []

    def execute(self, command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
        line = " ".join(command)
        self.called.append(line)
        self.inputs.append(text)
        for part, message in self.failures.items():
            if part in line:
                return subprocess.CompletedProcess(command, 4, "", message)
        if "-S" in command:
            table = command[command.index("-t") + 1]
            if table not in self.tables:
                return subprocess.CompletedProcess(command, 3, "", NO_TABLE)
            return subprocess.CompletedProcess(command, 0, self.tables[table], "")
        return subprocess.CompletedProcess(command, 0, "", "")

    @property
    def restored(self) -> list[str]:
        """The commands called that change something."""
        return [c for c in self.called if "restore" in c and "--test" not in c]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(iptables, "execute", kernel.execute)
    monkeypatch.setattr(iptables, "IPV6_INTERFACES", tmp_path / "if_inet6")
    (tmp_path / "if_inet6").touch()
    return kernel


def test_both_ip_versions_are_tested_before_either_is_changed(kernel: Kernel) -> None:
    assert iptables.apply(PORT_25) == []
    assert kernel.called == [
        "iptables --wait 5 -t security -S",
        "iptables --wait 5 -t raw -S",
        "iptables --wait 5 -t nat -S",
        "ip6tables --wait 5 -t security -S",
        "ip6tables --wait 5 -t raw -S",
        "ip6tables --wait 5 -t nat -S",
        "iptables-restore --noflush --wait 5 --test",
        "ip6tables-restore --noflush --wait 5 --test",
        "iptables-restore --noflush --wait 5",
        "ip6tables-restore --noflush --wait 5",
    ]
    assert all(text.startswith("*security\n") for text in kernel.inputs[6:])
    assert all("COMMIT\n*raw\n" in text for text in kernel.inputs[6:])


def test_refusal_for_one_ip_version_leaves_both_as_they_were(kernel: Kernel) -> None:
    kernel.failures["ip6tables-restore"] = "ip6tables-restore: line 4 failed"
    with pytest.raises(RulesError, match="IPv6: ip6tables-restore: line 4 failed"):
        iptables.apply(PORT_25)
    assert kernel.restored == []


def test_other_rules_are_found_in_every_table_and_family(kernel: Kernel) -> None:
    assert not iptables.others_in_place(PORT_25)
    del kernel.tables["security"]
    kernel.tables["mangle"] = "-A NFINSPECT -p tcp -m tcp --dport 26 -j NFQUEUE --queue-num 0\n"
    assert iptables.others_in_place(PORT_25)
    assert kernel.restored == []


def test_kernel_without_the_security_table_gets_the_rules_in_mangle_with_a_warning(
    kernel: Kernel,
) -> None:
    del kernel.tables["security"]
    warnings = iptables.apply(PORT_25)
    assert [warning.split(":")[0] for warning in warnings] == ["IPv4", "IPv6"]
    assert all("no table security" in w and "end of mangle FORWARD" in w for w in warnings)
    assert kernel.inputs[-1].startswith("*mangle\n")


def test_kernel_without_the_raw_table_gets_the_other_rules_with_a_warning(kernel: Kernel) -> None:
    del kernel.tables["raw"]
    warnings = iptables.apply(PORT_25)
    assert all("no table raw" in warning for warning in warnings)
    assert (len(warnings), "*raw" in kernel.inputs[-1]) == (2, False)


def test_translations_go_into_table_nat_and_leave_it_with_a_policy_that_has_none(
    kernel: Kernel,
) -> None:
    rule = "-A NFINSPECT-DNAT -d 192.0.2.1 -j DNAT --to-destination 10.0.0.1"
    assert iptables.apply(Diversion((25,), nat={4: (rule,)})) == []
    assert ("*nat\n" in kernel.inputs[-2], "*nat\n" in kernel.inputs[-1]) == (True, False)
    assert rule in kernel.inputs[-2]
    kernel.tables["nat"] = f"-N NFINSPECT-DNAT\n-A PREROUTING -j NFINSPECT-DNAT\n{rule}\n"
    iptables.apply(PORT_25)
    assert (
        "-F NFINSPECT-DNAT\n-D PREROUTING -j NFINSPECT-DNAT\n-X NFINSPECT-DNAT\n"
        in kernel.inputs[-2]
    )
    del kernel.tables["nat"]
    warnings = iptables.apply(Diversion((25,), nat={4: (rule,)}))
    assert ["no table nat" in warning for warning in warnings] == [True]


def test_kernel_with_neither_security_nor_mangle_is_an_error(kernel: Kernel) -> None:
    kernel.tables.clear()
    with pytest.raises(RulesError, match="IPv4: this kernel has neither table security nor mangle"):
        iptables.apply(PORT_25)


def test_kernel_without_ipv6_gets_only_the_ipv4_rules(kernel: Kernel) -> None:
    iptables.IPV6_INTERFACES.unlink()
    iptables.apply(PORT_25)
    assert kernel.restored == ["iptables-restore --noflush --wait 5"]


def test_removal_looks_in_every_table_for_both_ip_versions(kernel: Kernel) -> None:
    kernel.tables["mangle"] = "-N NFINSPECT\n-A FORWARD -p tcp -j NFINSPECT\n"
    assert iptables.remove()
    assert [c for c in kernel.called if c.startswith("iptables ")] == [
        "iptables --wait 5 -t security -S",
        "iptables --wait 5 -t mangle -S",
        "iptables --wait 5 -t raw -S",
        "iptables --wait 5 -t nat -S",
    ]
    assert kernel.restored == [
        "iptables-restore --noflush --wait 5",
        "ip6tables-restore --noflush --wait 5",
    ]


def test_removal_without_rules_changes_nothing(kernel: Kernel) -> None:
    del kernel.tables["security"]
    assert not iptables.remove()
    assert kernel.restored == []


MARKED = (
    "-N NFINSPECT\n-A FORWARD -p tcp -j NFINSPECT\n-A NFINSPECT -p tcp -m connmark --mark"
    " 0x8000000/0x8000000 -m comment --comment exempt -j ACCEPT\n"
)


@pytest.mark.parametrize("open_ones", [0, 3])
def test_open_connections_that_were_exempt_stay_so_and_are_told_of(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, open_ones: int
) -> None:
    monkeypatch.setattr(iptables.exempt_connections, "count", lambda version, ports: open_ones)
    kernel.tables["security"] = MARKED
    notices = iptables.apply(PORT_25)
    assert ("-m connmark --mark" in kernel.inputs[-1]) == bool(open_ones)
    assert [str(each) for each in notices] == [
        f"{family}: connections that are open and were exempt as they began stay so to their end: 3"
        for family in ("IPv4", "IPv6")
        if open_ones
    ]
    assert all(isinstance(each, iptables.Notice) for each in notices)


def test_connections_that_cannot_be_counted_are_not_cut_off(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(version: int, ports: Sequence[int]) -> int:
        raise OSError(95, "ctnetlink")

    monkeypatch.setattr(iptables.exempt_connections, "count", fail)
    kernel.tables["security"] = MARKED
    iptables.apply(PORT_25)
    assert "-m connmark --mark" in kernel.inputs[-1]
