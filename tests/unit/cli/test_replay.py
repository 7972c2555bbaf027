"""``nfinspect replay``: its output, its status, and its errors for files that it cannot use."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pty
import re
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from nfinspect import cli
from nfinspect.actions import Accept, Action, Drop, DropReason, Emit
from nfinspect.arrival import Arrival
from nfinspect.audit.json_lines import to_json
from nfinspect.cli import replay as command
from nfinspect.cli.replay_text import SENTENCES, noted
from nfinspect.events import (
    AlreadyMasked,
    AnomalyKind,
    BannerMasked,
    CharacterReplaced,
    ChunkMasked,
    ClauseAction,
    ClauseMatched,
    CloseCause,
    CommandMasked,
    CommandMaskReason,
    ConflictingBytes,
    Connection,
    ConnectionTornDown,
    Direction,
    DuplicateSyn,
    Endpoint,
    Event,
    InspectionClosed,
    LineUnended,
    MaliciousAddress,
    ReplyAwaited,
    SentEarly,
    ServerAnomaly,
    SizeExceeded,
    StartTlsInjection,
    TeardownReason,
    TlsStarted,
    Uninspected,
    UninspectedCause,
    UnseenData,
    WouldClose,
)
from nfinspect.packet.segment import Segment
from nfinspect.replay.records import FOUND_BY_REPLAY, NOTED
from tests.unit.replay.mail import ethernet, session
from tests.unit.replay.stand_in import StandIn, frames, pcap

MAIL = [ethernet(packet) for packet in session()]


class Scripted(StandIn):
    """Masks the greeting and closes the connection at the header line."""

    def __init__(self, *_: object, started: float) -> None:
        assert started == 0.0
        super().__init__(self._act)

    def _act(self, arrival: Arrival, segment: Segment) -> list[Action] | None:
        token, payload = arrival.token, segment.payload_bytes
        if not payload:
            return None
        (connection, _), *_ = self._open.values()
        if payload.startswith(b"220"):
            return [Emit(BannerMasked(connection, "_default_esmtp_map"), token), Accept(token)]
        if payload.startswith(b"RCPT"):
            event = Uninspected(connection, UninspectedCause.RECORDED_WITHOUT_FILTER)
            return [Emit(event, token), Accept(token)]
        if payload.startswith(b"Subject"):
            clause = ClauseMatched(
                connection, Direction.REQUEST, "_default_esmtp_map", 4,
                "header line length gt 998", ClauseAction.DROP_CONNECTION, True,
            )  # fmt: skip
            reason = TeardownReason.CLOSED_BY_INSPECTION
            return [
                Emit(clause, token),
                Emit(InspectionClosed(connection, Direction.REQUEST, CloseCause.CLAUSE), token),
                Emit(ConnectionTornDown(connection, reason, 61.5, 345), token),
                Drop(token, DropReason.INSPECTION),
            ]
        return None


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "Engine", Scripted)


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    path = tmp_path / "mail.pcap"
    path.write_bytes(pcap(MAIL[:14], step=1_000_000))
    return path


def call(*arguments: object) -> Result:
    words = ["replay", *map(str, arguments)]
    return CliRunner().invoke(cli.main, words, prog_name="nfinspect")


def test_json_is_one_object_with_connections_counters_syslog_and_summary(mail: Path) -> None:
    result = call(mail, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    assert list(report) == ["connections", "counters", "syslog", "summary"]
    (connection,) = report["connections"]
    assert connection["client"] == "192.0.2.1:40000"
    assert connection["server"] == "198.51.100.25:25"
    assert connection["actions"] == [
        {"clause": "mask-banner", "action": "mask", "packet": 4},
        {"clause": "match header line length gt 998", "action": "drop-connection", "packet": 13},
    ]
    assert connection["packets"] == {
        "seen": 14, "accepted": 13, "rewritten": 0, "rewritten_headers": 0, "dropped": 1, "held": 0,
        "injected": 0, "copies": 0,
    }  # fmt: skip
    assert connection["bytes"] == 345
    assert connection["close_reason"] == "Flow closed by inspection"
    assert connection["began"] == report["summary"]["began"]
    assert connection["after"] == 0.0
    assert connection["commands"] == ["HELO client.example", "MAIL FROM:<a@example>", "DATA"]
    assert connection["notes"][0] == {
        "event": "uninspected", "cause": "recorded without the filter", "packet": 9,
    }  # fmt: skip
    assert [line.split(":")[0] for line in report["syslog"]] == [
        "%ASA-6-302013", "%ASA-4-108004", "%ASA-4-507003", "%ASA-6-302014",
    ]  # fmt: skip
    assert report["counters"]["service_policy"][0]["mask_banner"] == 1
    assert report["summary"]["packets"]["read"] == 14


def test_text_shows_connections_actions_syslog_and_counters(mail: Path) -> None:
    result = call(mail)
    assert (result.exit_code, result.stderr) == (0, "")
    text = result.stdout
    assert "14 inspected: 13 accepted, 0 rewritten, 1 dropped" in text
    assert "(0 waited first, for a missing segment or a reply; 0 injected)" in text
    assert "in nothing but their headers" not in text
    for line in (
        "    packet 4  mask  mask-banner\n",
        "    packet 9  not inspected from here on: recorded without the filter;"
        " the server accepted a command that would have been masked here\n",
        "    packet 13  drop-connection  match header line length gt 998\n",
        "    packet 13  inspection closed the connection at a packet from the client"
        " (cause: match header line length gt 998)\n",
        "%ASA-6-302014: Teardown TCP connection 1 for outside:192.0.2.1/40000 to"
        " inside:198.51.100.25/25 duration 0:01:01 bytes 345 Flow closed by inspection\n",
        "        match header line length gt 998\n          drop-connection log, packet 1\n",
    ):
        assert line in text
    order = [
        "closed by inspection\n",
        "what happened",
        "client, server",
        "\nsyslog\n",
        "show service",
        "\nverdict\n  closed by inspection: match header line length gt 998: 1 of 1 connection; 1 other",
    ]
    assert sorted(order, key=text.index) == order
    table = text[text.index("client, server") : text.index("\nsyslog\n")]
    assert max(map(len, table.splitlines())) <= 80


def test_connection_has_its_start_time_and_its_offset_from_the_first_packet(
    tmp_path: Path,
) -> None:
    path = tmp_path / "two.pcap"
    both = [ethernet(packet) for port in (2000, 3000) for packet in session((), port=port)]
    path.write_bytes(pcap(both, step=500_000))
    _, second = json.loads(call(path, "--json").stdout)["connections"]
    began = datetime.fromisoformat(second["began"])
    first = datetime.fromisoformat(json.loads(call(path, "--json").stdout)["summary"]["began"])
    assert second["after"] == len(both) / 2 * 0.5
    assert (began - first).total_seconds() == second["after"]


def test_several_captures_plain_and_gzip_are_written_to_one_out_file(tmp_path: Path) -> None:
    first, second, out = tmp_path / "1.pcap", tmp_path / "2.pcap.gz", tmp_path / "out.pcap"
    first.write_bytes(pcap(MAIL[:5]))
    second.write_bytes(gzip.compress(pcap(MAIL[5:8], start=1_700_000_001)))
    result = call(first, second, "--out", out, "--json")
    assert result.exit_code == 0
    assert [frame.data for frame in frames(out)] == MAIL[:8]
    report = json.loads(result.stdout)
    assert [c["packets"] for c in report["summary"]["captures"]] == [5, 3]


END = Endpoint("outside", bytes(4), 1)
CONNECTION = Connection(1, END, END)


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (CharacterReplaced(CONNECTION, ">", b"RCPT TO:<a>>"),
         "> was replaced by a blank: RCPT TO:<a>>"),
        (ChunkMasked(CONNECTION, 7),
         "the chunk of 7 bytes after the masked BDAT was masked too"),
        (ConflictingBytes(CONNECTION, Direction.REPLY),
         "the server retransmitted different data; the original data was used"),
        (DuplicateSyn(CONNECTION),
         "a second SYN, with a different sequence number, was dropped"),
        (InspectionClosed(CONNECTION, Direction.REPLY, CloseCause.UNASKED_354),
         "inspection closed the connection at a packet from the server (cause: unasked-354)"),
        (LineUnended(CONNECTION, b"HELO me", 5.0),
         "this line does not end in CR LF, so the server waits for the rest, for 5 s and more:"
         " HELO me"),
        (MaliciousAddress(CONNECTION, b"TO:<|x>"),
         "a mail address contains a pipe: TO:<|x>"),
        (ReplyAwaited(CONNECTION, b"PROXY TCP4", 12, "greeting", 1, 5.0),
         "had to wait for the greeting, for 5 s and more: PROXY TCP4 (12 bytes)"),
        (ServerAnomaly(CONNECTION, AnomalyKind.UNASKED_354, b"354 go on"),
         "the server sent 354 without DATA: 354 go on"),
        (SentEarly(CONNECTION, Direction.REQUEST, 9),
         "sent early: the server acknowledged 9 bytes that wait here for a reply;"
         " they are inspected when it comes"),
        (SizeExceeded(CONNECTION, 9, 12),
         "the message is larger than the 9 bytes that MAIL declared: 12 so far"),
        (StartTlsInjection(CONNECTION),
         "the client sent more data before the reply to STARTTLS"),
        (TlsStarted(CONNECTION, True), "the server accepted STARTTLS: TLS begins"),
        (Uninspected(CONNECTION, UninspectedCause.ONE_SIDED),
         "not inspected from here on: one-sided capture;"
         " measured as if the other direction had been as expected"),
        (AlreadyMasked(CONNECTION, Direction.REPLY),
         "already masked: another inspecting firewall on the server's side"),
        (AlreadyMasked(CONNECTION, Direction.REQUEST),
         "already masked: another inspecting firewall on the client's side"),
        (WouldClose(CONNECTION, Direction.REQUEST, CloseCause.PIPE),
         "the filter would have closed the connection at a packet from the client (cause: pipe)"),
        (UnseenData(CONNECTION, Direction.REQUEST, 9),
         "the server acknowledged 9 bytes that never passed the filter"),
        (CommandMasked(CONNECTION, CommandMaskReason.FRAGMENT), "mask  incomplete command"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_note_is_printed_as_a_sentence(event: Event, sentence: str) -> None:
    assert "  ".join(filter(None, noted(to_json(event)))) == sentence


def test_note_names_the_packet_whose_reply_is_owed() -> None:
    note = to_json(ReplyAwaited(CONNECTION, b"QUIT", 6, "reply to MAIL", 1, 5.0))
    assert noted(note | {"reply_to": 9}) == (
        "had to wait for the reply to MAIL (packet 9), for 5 s and more: QUIT (6 bytes)",
        "",
    )


def test_every_note_has_a_sentence() -> None:
    events = {re.sub("(?<=[a-z])(?=[A-Z])", "-", kind.__name__).lower() for kind in NOTED}
    assert set(SENTENCES) | {"command-masked"} == events | set(FOUND_BY_REPLAY)


def test_capture_without_the_policys_port_says_so(tmp_path: Path) -> None:
    path = tmp_path / "web.pcap"
    path.write_bytes(pcap([bytes(Ether() / IP() / TCP(dport=80))] * 3))
    assert "no TCP on port 25, which the policy inspects" in call(path).stdout


def test_out_dash_writes_the_capture_to_stdout_and_the_text_to_stderr(
    mail: Path, tmp_path: Path
) -> None:
    program = (
        "from nfinspect.cli import main, replay; from tests.unit.cli.test_replay import Scripted\n"
        f"replay.Engine = Scripted; main(['replay', {str(mail)!r}, '--out', '-'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    out = tmp_path / "out.pcapng"
    out.write_bytes(done.stdout)
    assert [frame.data for frame in frames(out)] == MAIL[:12] + MAIL[13:14]
    assert b"14 inspected: 13 accepted" in done.stderr


def test_out_dash_with_json_is_a_usage_error(mail: Path) -> None:
    result = call(mail, "--json", "--out", "-")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--json and --out - cannot both write to stdout" in result.stderr


def test_dash_reads_the_capture_from_stdin(mail: Path) -> None:
    program = (
        "from nfinspect.cli import main, replay; from tests.unit.cli.test_replay import Scripted\n"
        "replay.Engine = Scripted; main(['replay', '-', '--json'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=gzip.compress(mail.read_bytes()),
        capture_output=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert json.loads(done.stdout)["summary"]["captures"] == [
        {"file": "stdin", "packets": 14, "damage": None}
    ]


def test_damaged_capture_is_used_up_to_the_damage_and_the_status_is_1(mail: Path) -> None:
    mail.write_bytes(mail.read_bytes()[:-5])
    result = call(mail, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["summary"]["packets"]["read"] == 13
    assert result.stderr.startswith(f"nfinspect: error: {mail}: after packet 13, byte ")
    assert result.stderr.endswith(": the file ends in the middle of a record\n")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "empty file; a capture has at least a header"),
        (b"MZ\x90\x00 no capture", "neither pcap nor pcapng"),
    ],
)
def test_file_that_is_not_a_capture_is_a_usage_error_before_anything_is_written(
    content: bytes, text: str, mail: Path, tmp_path: Path
) -> None:
    wrong, out = tmp_path / "wrong", tmp_path / "out.pcap"
    wrong.write_bytes(content)
    result = call(mail, wrong, "--out", out)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"nfinspect: error: {wrong}: {text}\n"
    assert not out.exists()


def test_missing_file_and_missing_argument_are_usage_errors(tmp_path: Path) -> None:
    assert call(tmp_path / "none.pcap").exit_code == 2
    assert call().exit_code == 2
    assert call(tmp_path).exit_code == 2


def test_faulty_configuration_is_a_usage_error(mail: Path, tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text("fly\n")
    result = call(mail, "--config", tmp_path / "a.cfg")
    assert result.exit_code == 2
    assert "a.cfg:1:1:" in result.stderr


def test_out_that_is_also_an_input_is_a_usage_error_and_the_file_is_intact(
    mail: Path, tmp_path: Path
) -> None:
    before = mail.read_bytes()
    link = tmp_path / "link.pcap"
    link.symlink_to(mail)
    result = call(mail, "--out", link)
    assert result.exit_code == 2
    assert mail.read_bytes() == before


def test_out_that_cannot_be_written_is_one_error_line(mail: Path) -> None:
    result = call(mail, "--out", "/dev/full")
    assert result.exit_code == 1
    assert result.stderr == "nfinspect: error: /dev/full: No space left on device\n"


def test_unsupported_link_type_is_noted_and_its_packets_are_copied(tmp_path: Path) -> None:
    path, out = tmp_path / "wlan.pcap", tmp_path / "out.pcap"
    path.write_bytes(pcap([b"\x80\0" + bytes(40)] * 3, 105))
    result = call(path, "--out", out)
    assert "3 packets: link type 105, which replay cannot read (first packet 1)" in result.stdout
    assert len(frames(out)) == 3


def test_connections_beyond_the_listed_ones_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nfinspect.cli.replay_text.MOST_CONNECTIONS", 2)
    path = tmp_path / "many.pcap"
    path.write_bytes(pcap([ethernet(p) for n in range(5) for p in session((), port=2000 + n)]))
    result = call(path)
    assert "and 3 more connections; --json has them all" in result.stdout


def test_long_capture_on_a_terminal_shows_a_progress_bar(
    mail: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / "long.pcap"
    long.write_bytes(pcap(MAIL * 1000))
    program = (
        "from nfinspect.cli import main, replay; from tests.unit.cli.test_replay import Scripted\n"
        "replay.LONG = 100_000; replay.Engine = Scripted\n"
        f"main(['replay', {str(long)!r}, '--json'])"
    )
    master, slave = pty.openpty()
    shown = b""

    def watch() -> None:
        nonlocal shown
        with contextlib.suppress(OSError):  # reading a terminal fails once it is closed
            while piece := os.read(master, 4096):
                shown += piece

    watcher = threading.Thread(target=watch)
    watcher.start()
    subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.DEVNULL,
        stderr=slave,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(slave)
    watcher.join(timeout=10)
    os.close(master)
    assert b"packets" in shown
    assert b"%" in shown
