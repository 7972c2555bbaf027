"""Every remedy in docs/troubleshooting.md works: on the capture that it names, the default map acts,
and the changed map no longer does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from nfinspect import cli
from tests.unit.test_docs import COPY_OF_DEFAULT, REMEDIES, TROUBLESHOOTING, applied

CAPTURES = Path(__file__).parents[2] / "pcaps"

CASES = [
    # capture, a line of the remedy, the clause that no longer acts
    ("postfix.inside", "no mask-banner", "mask-banner"),
    (
        "postfix-pipelining.inside",
        "- match ehlo-reply-parameter",
        "match ehlo-reply-parameter others",
    ),
    ("starttls-allowed.outside", "allow-tls action log", "unknown command"),
    ("recipients-101.outside", "+ match cmd RCPT count", "match cmd RCPT count gt 100"),
    ("header-line-1200.outside", "- match header line", "match header line length gt 998"),
    ("mime-filename-256.outside", "+ match MIME filename", "match MIME filename length gt 255"),
    ("command-line-600.outside", "+ match cmd line", "match cmd line length gt 512"),
    ("sender-address-329.outside", "+ match sender-address", "match sender-address length gt 320"),
    ("pipe-character.outside", "pipe-character blank", "pipe"),
    ("telnet-typing.outside", "incomplete-command stream", "incomplete command"),
]


NAMED = re.findall(
    r"`(?:nfinspect replay )?pcaps/([a-z0-9-]+\.(?:outside|inside))\.pcap", TROUBLESHOOTING
)


def actions_on(capture: str, config: Path) -> set[tuple[str, str]]:
    """The clauses that actions_on on the connections of a capture, with their actions."""
    path = CAPTURES / f"{capture}.pcap"
    run = CliRunner().invoke(
        cli.main, ["replay", str(path), "--config", str(config), "--json"], catch_exceptions=False
    )
    assert run.exit_code == 0, run.output
    return {
        (action["clause"], action["action"])
        for connection in json.loads(run.stdout)["connections"]
        for action in connection["actions"]
    }


def output(capture: str, config: str, directory: Path) -> bytes:
    """The capture that replaying *capture* writes."""
    (directory / "mail.cfg").write_text(config)
    words = ["--config", str(directory / "mail.cfg"), "--out", str(directory / "out.pcap")]
    path = str(CAPTURES / f"{capture}.pcap")
    run = CliRunner().invoke(cli.main, ["replay", path, *words], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    return (directory / "out.pcap").read_bytes()


def remedied(line: str) -> str:
    """The default map changed by the remedy that contains *line*."""
    (remedy,) = [text for text in REMEDIES if line in text]
    return applied(remedy, COPY_OF_DEFAULT)


@pytest.mark.parametrize(
    ("capture", "line", "hidden"),
    [
        ("postfix.inside", "no mask-banner", b"220 mail.example ESMTP"),
        ("postfix-pipelining.inside", "- match ehlo-reply-parameter", b"CHUNKING\r\n"),
        ("starttls-wanted.inside", "allow-tls action log", b"250-STARTTLS\r\n"),
    ],
)
def test_remedy_lets_the_servers_text_pass_that_the_default_map_masks(
    tmp_path: Path, capture: str, line: str, hidden: bytes
) -> None:
    assert hidden not in output(capture, COPY_OF_DEFAULT, tmp_path)
    assert hidden in output(capture, remedied(line), tmp_path)
    assert capture in NAMED


def test_capture_named_for_unasked_354_shows_it(tmp_path: Path) -> None:
    config = tmp_path / "mail.cfg"
    config.write_text(COPY_OF_DEFAULT)
    (capture,) = [name for name in NAMED if name.startswith("unasked-354")]
    assert ("unasked-354", "drop-connection") in actions_on(capture, config)


@pytest.mark.parametrize("capture", NAMED)
def test_default_map_acts_on_every_named_capture(capture: str, tmp_path: Path) -> None:
    config = tmp_path / "mail.cfg"
    config.write_text(COPY_OF_DEFAULT)
    assert actions_on(capture, config)


@pytest.mark.parametrize(("capture", "line", "clause"), CASES, ids=[case[1] for case in CASES])
def test_remedy_stops_what_the_default_map_did(
    tmp_path: Path, capture: str, line: str, clause: str
) -> None:
    config = tmp_path / "mail.cfg"
    config.write_text(COPY_OF_DEFAULT)
    before = actions_on(capture, config)
    config.write_text(remedied(line))
    after = actions_on(capture, config)

    assert clause in {name for name, _ in before}
    assert (clause, "drop-connection") not in after
    assert (clause, "mask") not in after
