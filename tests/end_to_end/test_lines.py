"""Lines of the running filter: every one is either written or counted, whatever becomes of stdout
and however many packets provoke one."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from nfinspect.lab.lab import Lab
from nfinspect.lab.namespaces import NFINSPECT
from nfinspect.lab.topology import CLIENT, FILTER, SERVER_ADDRESS
from nfinspect.live.control import ask
from tests.end_to_end.ends import PATIENCE, eventually, queue

BATCH = 8000
"""Packets sent at once; the queue holds twice as many."""

NO_PICKUP = """
policy-map type inspect esmtp m
 parameters
  midstream-pickup 0
policy-map global_policy
 class inspection_default
  no inspect esmtp
  inspect esmtp m
"""

STRAY_SEGMENTS = """
import socket, struct, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
raw.connect((sys.argv[1], 0))
ends = socket.inet_aton(raw.getsockname()[0]) + socket.inet_aton(sys.argv[1])
fields = bytes.fromhex("c0000019 00000001 00000000 50040000")
total = sum(struct.unpack("!12H", ends + fields)) + socket.IPPROTO_TCP + 20
checksum = ~(total % 0xFFFF) & 0xFFFF
segment = fields + struct.pack("!HH", checksum, 0)
for _ in range(int(sys.argv[2])):
    raw.send(segment)
"""

DENIED = re.compile(
    r"%ASA-6-106015: Deny TCP \(no connection\) from \d+\.\d+\.\d+\.\d+/49152"
    r" to \d+\.\d+\.\d+\.\d+/25 flags RST  on interface outside"
)


@pytest.fixture
def lab(shared_lab: Lab) -> Iterator[Lab]:
    shared_lab.run(FILTER, [*NFINSPECT, "rules", "--apply"])
    yield shared_lab
    shared_lab.run(FILTER, [*NFINSPECT, "rules", "--remove"])


@contextlib.contextmanager
def live(
    lab: Lab, *arguments: str, stdout: int | IO[Any] = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """A filter that picks up nothing, so that every stray segment provokes a line."""
    config = lab.directory / "no-pickup.cfg"
    config.write_text(NO_PICKUP)
    common = ["--config", str(config), "--control", str(lab.directory / "control")]
    process = lab.popen(FILTER, [*NFINSPECT, "run", *common, *arguments], stdout=stdout)
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == "nfinspect ready, queues 0-0\n"
        while not process.stderr.readline().startswith(LAST_DETAIL):
            pass
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


LAST_DETAIL = "  forwarding "
"""The last line about how the filter was started."""

RULES_STAY = (
    "nfinspect: notice: the rules stay: until a filter runs on queue 0 again, no mail passes to or"
    " from port 25 ('nfinspect rules --remove' lets it pass)\n"
)
"""The last line of stderr."""


def denied(lab: Lab) -> int:
    data = ask(lab.directory / "control", ["show", "service-policy", "inspect", "esmtp"]).data
    count: int = data["denied_without_connection"]
    return count


def flood(lab: Lab, count: int) -> None:
    """Send so many stray segments, no faster than the filter decides them."""
    before = sent = denied(lab)
    while sent < before + count:
        batch = min(BATCH, before + count - sent)
        lab.run(CLIENT, [sys.executable, "-c", STRAY_SEGMENTS, SERVER_ADDRESS, str(batch)])
        sent += batch
        eventually(lambda sent=sent: denied(lab) == sent)


def lost(errors: str) -> int:
    """What the end of the run says is lost."""
    found = re.search(r"^nfinspect: (\d+) lines were lost: stdout did not take them$", errors, re.M)
    assert found, errors
    return int(found[1])


def assert_whole(lines: Sequence[str]) -> None:
    wrong = [line for line in lines if not DENIED.fullmatch(line)]
    assert not wrong, wrong[:3]


# ---- a reader that stalls ----------------------------------------------------------------------


def test_lines_that_a_stalled_reader_cost_are_counted_to_the_last_one(lab: Lab) -> None:
    total = 60_000
    with live(lab, "--log-rate", "0") as process:
        flood(lab, total)
        state = eventually(lambda: (s := queue(lab))["lost_lines"] and s)
        assert state["waiting_lines"] > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0  # although nobody reads
        output, errors = process.communicate()
    assert "nfinspect: stdout is not read fast enough; the filter continues; " in errors
    arrived = output.splitlines()
    assert_whole(arrived)
    assert len(arrived) + lost(errors) == total
    assert lost(errors) == state["lost_lines"] + state["waiting_lines"]
    assert f"  lines: waiting 0, lost {lost(errors)}, suppressed 0\n" in errors


def test_reader_that_comes_back_gets_whatever_waited(lab: Lab) -> None:
    total = 60_000
    with live(lab, "--log-rate", "0") as process:
        flood(lab, total)
        state = eventually(lambda: (s := queue(lab))["lost_lines"] and s)
        assert process.stdout is not None
        arrived = [process.stdout.readline() for _ in range(total - state["lost_lines"])]
        flood(lab, 10)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=PATIENCE)
    arrived += output.splitlines(keepends=True)[:10]
    assert_whole([line.rstrip("\n") for line in arrived])
    assert len(arrived) + lost(errors) == total + 10
    assert lost(errors) == state["lost_lines"]
    assert f"lines: waiting 0, lost {lost(errors)}, suppressed 0\n" in output


def test_stalled_reader_of_both_stdout_and_stderr_does_not_stop_the_filter(lab: Lab) -> None:
    both = ("sh", "-c", 'exec "$@" 2>&1', "sh")
    config = lab.directory / "no-pickup.cfg"
    config.write_text(NO_PICKUP)
    common = ["--config", str(config), "--control", str(lab.directory / "control")]
    command = [*both, *NFINSPECT, "run", *common, "--log-rate", "0"]
    process = lab.popen(FILTER, command)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "nfinspect ready, queues 0-0\n"
        flood(lab, 60_000)
        assert queue(lab)["lost_lines"] > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


# ---- a disk that is full -----------------------------------------------------------------------


@pytest.fixture
def disk(lab: Lab) -> Iterator[Path]:
    """A disk of 256 KiB that is full but for 64 KiB, until the file ``other`` is removed."""
    place = lab.directory / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], check=True)
    try:
        (place / "other").write_bytes(bytes(192 * 1024))
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
        place.rmdir()


def test_logging_resumes_when_the_disk_has_room_again(lab: Lab, disk: Path) -> None:
    log = disk / "log"
    with (
        log.open("ab") as file,
        live(lab, "--log-rate", "0", "--log-format", "plain", stdout=file) as process,
    ):
        assert process.stderr is not None
        flood(lab, 1000)  # more than 64 KiB
        assert process.stderr.readline() == (
            "nfinspect: stdout failed (No space left on device): lines wait until it works again;"
            " the filter continues; 0 lines are lost so far\n"
        )
        assert log.stat().st_size == 64 * 1024
        assert queue(lab)["waiting_lines"] > 0
        (disk / "other").unlink()
        assert process.stderr.readline() == "nfinspect: stdout works again; 0 lines were lost\n"
        flood(lab, 10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == RULES_STAY
    written = log.read_text().splitlines()
    assert_whole(written[:1010])
    assert written[1010] == "Global policy:"
    assert "  lines: waiting 0, lost 0, suppressed 0" in written


def test_lines_that_a_full_disk_cost_are_counted_to_the_last_one(lab: Lab, disk: Path) -> None:
    log = disk / "log"
    with (
        log.open("ab") as file,
        live(lab, "--log-rate", "0", "--log-format", "plain", stdout=file) as process,
    ):
        flood(lab, 1000)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    whole = log.read_text().split("\n")[:-1]  # what follows is not a whole line
    assert_whole(whole)
    assert len(whole) + lost(errors) == 1000


# ---- floods ------------------------------------------------------------------------------------


def test_flood_of_stray_segments_is_summed_up_and_counted_whole(lab: Lab) -> None:
    total = 20_000
    with live(lab) as process:
        flood(lab, total)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=PATIENCE)
    lines = [line for line in output.splitlines() if line.startswith("%")]
    written = [line for line in lines if DENIED.fullmatch(line)]
    summary = re.compile(
        r"%NFINSPECT-4-SUPPRESSED: (\d+) lines of message 106015 were suppressed in \d+\.\d seconds"
    )
    summed_up = [found for line in lines if (found := summary.fullmatch(line))]
    assert len(written) + len(summed_up) == len(lines)
    assert len(written) <= 1000 * (len(summed_up) + 1)
    suppressed = sum(int(found[1]) for found in summed_up)
    assert len(written) + suppressed == total
    assert f"  lines: waiting 0, lost 0, suppressed {suppressed}\n" in output
    assert errors == RULES_STAY


def test_flood_as_json_is_summed_up_by_an_event(lab: Lab) -> None:
    total = 2000
    with live(lab, "--json", "--log-rate", "5/86400") as process:
        flood(lab, total)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=PATIENCE)
    *events, last = map(json.loads, output.splitlines())
    assert Counter(each["event"] for each in events) == {
        "denied-no-connection": 5,
        "lines-suppressed": 1,
    }
    summary = events[-1]
    assert (summary["message"], summary["count"]) == ("denied-no-connection", total - 5)
    assert summary["duration"] > 0
    assert summary["time"] >= events[0]["time"]
    assert last["counters"]["denied_without_connection"] == total
    assert last["queue"]["suppressed_lines"] == total - 5
    assert errors == RULES_STAY


def test_summary_is_written_when_its_time_is_over(lab: Lab) -> None:
    with live(lab, "--log-rate", "2/1") as process:
        flood(lab, 5)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
    assert_whole([line.rstrip("\n") for line in lines[:2]])
    assert re.match(r"%NFINSPECT-4-SUPPRESSED: 3 lines of message 106015 ", lines[2])
