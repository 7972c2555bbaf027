"""Corrupted captures of rich dialogues: every kind of report is made, and none fails."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from nfinspect import cli
from tests.capture.recorded import EHLO, ENVELOPE, GREETING, LONG_MAIL, MAIL, QUIT, conversation
from tests.property.test_captures import fields, mutated
from tests.unit.replay.stand_in import frames, pcap

CAPTURES = 150

TALKS = (
    (GREETING, *EHLO, *ENVELOPE, *MAIL, *QUIT),
    (GREETING, *EHLO, *ENVELOPE, *LONG_MAIL, *QUIT),
    (("<", b"220 mail.example.net ESMTP"), *EHLO, *ENVELOPE, *MAIL, *QUIT),
    (
        GREETING, *EHLO, (">", b"AUTH LOGIN\r\n"), ("<", b"334 VXNlcm5hbWU6\r\n"),
        (">", b"YW5uYQ==\r\n"), ("<", b"535 no\r\n"), *QUIT,
    ),
    (GREETING, *EHLO, (">", b"STARTTLS\r\nRSET\r\n"), ("<", b"220 go\r\n"), *QUIT),
    (("<", b"220 ****2**\r\n"), *EHLO, (">", b"XXXXXXXX\r\n"), ("<", b"500 what\r\n"), *QUIT),
    (
        GREETING, *EHLO, (">", b"BDAT 9 LAST\r\nSubject: "), ("<", b"250 ok\r\n"),
        (">", b"MAIL FROM:<a|b@example.net> SMTPUTF8\r\n"), ("<", b"250 ok\r\n"), *QUIT,
    ),
)  # fmt: skip

REPORTS = (
    ("--dialogue",),
    ("--json",),
    ("--monitor", "--dialogue"),
    ("--redact", "--dialogue"),
    ("--redact", "--json", "--monitor"),
    ("--checksums", "ignore", "--json"),
)


def damaged(seed: int) -> bytes:
    """A capture with faults in its packets (their checksums right), in its file, or in both."""
    chance = random.Random(seed)
    packets = conversation(TALKS[seed % len(TALKS)])
    if seed % 3:
        packets = [fields(p, chance) if chance.random() < 0.15 else p for p in packets]
    if chance.random() < 0.3:
        del packets[chance.randrange(len(packets))]
    if chance.random() < 0.3:
        at = chance.randrange(len(packets))
        packets.insert(chance.randrange(len(packets)), packets[at])
    data = pcap(packets, 101)
    return data if seed % 3 == 1 else data[:24] + mutated(data[24:], chance)


@pytest.mark.parametrize("options", REPORTS, ids=" ".join)
def test_report_on_a_corrupted_capture_is_whole(options: tuple[str, ...], tmp_path: Path) -> None:
    path, out = tmp_path / "in.pcap", tmp_path / "out.pcap"
    for seed in range(CAPTURES):
        path.write_bytes(damaged(seed))
        words = ["replay", str(path), "--out", str(out), *options]
        done = CliRunner().invoke(cli.main, words, prog_name="nfinspect", catch_exceptions=False)
        assert done.exit_code in (0, 1), (seed, done.output)
        assert (done.exit_code == 1) is ("nfinspect: error:" in done.stderr), seed
        frames(out)
        if "--json" in options:
            report = json.loads(done.stdout)
            assert bool(report["summary"]["incomplete"]) or done.exit_code == 0, seed
        else:
            assert "show service-policy inspect esmtp" in done.stdout, seed
