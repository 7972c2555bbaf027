"""The command group: lazy loading, exit status, the form of errors."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from nfinspect import FORM, __version__, cli
from nfinspect.cli.errors import Failure, UsageFailure


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments, prog_name="nfinspect")


def test_help_lists_every_command_with_its_summary() -> None:
    result = call("--help")
    assert result.exit_code == 0
    lines = [line.split(maxsplit=1) for line in result.stdout.split("Commands:\n")[1].splitlines()]
    assert lines == [[name, text] for name, (_, text) in cli.COMMANDS.items()]


def test_help_imports_no_command_and_no_heavy_library() -> None:
    program = "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
    program += "from nfinspect.cli import main; main(['--help'])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stderr.split())
    assert "nfinspect.cli" in loaded
    assert not loaded & {"scapy", "pyroute2", "rich", "netfilterqueue", "nfinspect.engine"}
    assert not loaded & {where.split(":")[0] for where, _ in cli.COMMANDS.values()}


def test_python_dash_m_runs_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nfinspect", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == f"nfinspect {__version__} ({FORM})\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = call(name, "--help")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"Usage: nfinspect {name} ")
    assert "\\" not in result.stdout


def test_missing_command_prints_the_help_and_is_a_usage_error() -> None:
    result = call()
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: nfinspect ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "No such command 'fly'."),
        (["--fly"], "No such option '--fly'."),
    ],
)
def test_wrong_usage_is_one_error_line_with_a_hint_and_status_2(
    arguments: list[str], message: str
) -> None:
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"nfinspect: error: {message}\nTry 'nfinspect --help'.\n"


@pytest.mark.parametrize(
    ("raised", "status", "stderr"),
    [
        (Failure("queue 0 is taken"), 1, "nfinspect: error: queue 0 is taken\n"),
        (UsageFailure("a.cfg:3:1: expected"), 2, "nfinspect: error: a.cfg:3:1: expected\n"),
        (click.ClickException("other"), 1, "nfinspect: error: other\n"),
        (
            FileNotFoundError(2, "No such file", "a.pcap"),
            1,
            "nfinspect: error: a.pcap: No such file\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_command_that_fails_ends_with_its_status_and_one_line(
    raised: BaseException, status: int, stderr: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise raised

    result = call_stub(fail, monkeypatch)
    assert (result.exit_code, result.stderr.lstrip("\n")) == (status, stderr)


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_command_that_returns_a_status_ends_with_it(
    returned: int | None, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call_stub(lambda: returned, monkeypatch).exit_code == status


def nfinspect(command: str, redirection: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell, with the status of nfinspect itself."""
    line = f"set -o pipefail; {sys.executable} -m nfinspect {command} {redirection}"
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)


ROOT = Path(__file__).parents[2]
COMMANDS_THAT_PRINT = pytest.mark.parametrize(
    "command",
    ["--help", "--version", "rules", "check --json {cfg}", "check {cfg}", "replay {pcap}"],
)
CFG, PCAP = ROOT / "nfinspect/policy/default.cfg", ROOT / "pcaps/auth.outside.pcap"


@COMMANDS_THAT_PRINT
def test_stdout_on_a_full_disk_is_one_error_line_and_status_1(command: str) -> None:
    done = nfinspect(command.format(cfg=CFG, pcap=PCAP), ">/dev/full")
    assert (done.returncode, done.stderr) == (
        1,
        "nfinspect: error: stdout: No space left on device\n",
    )


@COMMANDS_THAT_PRINT
def test_closed_pipe_ends_the_command_silently(command: str) -> None:
    done = nfinspect(command.format(cfg=CFG, pcap=PCAP), "| (exec <&-; sleep 0.01)")
    assert done.returncode in (0, 1)
    assert done.stderr == ""


@COMMANDS_THAT_PRINT
def test_stderr_that_cannot_be_written_leaves_the_status(command: str) -> None:
    done = nfinspect(command.format(cfg=CFG, pcap=PCAP), ">/dev/full 2>/dev/full")
    assert (done.returncode, done.stderr) == (1, "")


def test_error_that_is_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug() -> None:
        raise OSError(9, "Bad file descriptor")

    assert isinstance(call_stub(bug, monkeypatch).exception, OSError)


def call_stub(callback: object, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Call a command that does nothing but *callback*."""
    monkeypatch.setitem(cli.COMMANDS, "stub", (f"{__name__}:stub", "Of a test."))
    monkeypatch.setitem(
        sys.modules, __name__, type("module", (), {"stub": click.command("stub")(callback)})
    )
    return call("stub")
