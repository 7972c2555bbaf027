"""Each cure in docs/troubleshooting.md cures: on the capture that it names, what the default map does
to the mail is no longer done."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from nfinspect import cli
from tests.unit.test_docs import COPY_OF_DEFAULT, CURES, TROUBLESHOOTING, applied

CAPTURES = Path(__file__).parents[2] / "pcaps"

CASES = [
    # capture, a line of the cure, the action that it ends
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


def acted(capture: str, config: Path) -> set[tuple[str, str]]:
    """What was done to the connections of a capture: clause and action."""
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


def leaving(capture: str, config: str, directory: Path) -> bytes:
    """All bytes that leave the filter when a capture is replayed."""
    (directory / "mail.cfg").write_text(config)
    words = ["--config", str(directory / "mail.cfg"), "--out", str(directory / "out.pcap")]
    path = str(CAPTURES / f"{capture}.pcap")
    run = CliRunner().invoke(cli.main, ["replay", path, *words], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    return (directory / "out.pcap").read_bytes()


def cured(line: str) -> str:
    """The default map with the cure in which *line* stands."""
    (cure,) = [text for text in CURES if line in text]
    return applied(cure, COPY_OF_DEFAULT)


@pytest.mark.parametrize(
    ("capture", "line", "hidden"),
    [
        ("postfix.inside", "no mask-banner", b"220 mail.example ESMTP"),
        ("postfix-pipelining.inside", "- match ehlo-reply-parameter", b"CHUNKING\r\n"),
        ("starttls-wanted.inside", "allow-tls action log", b"250-STARTTLS\r\n"),
    ],
)
def test_what_the_server_said_leaves_the_cured_filter(
    tmp_path: Path, capture: str, line: str, hidden: bytes
) -> None:
    assert hidden not in leaving(capture, COPY_OF_DEFAULT, tmp_path)
    assert hidden in leaving(capture, cured(line), tmp_path)
    assert capture in NAMED


def test_unasked_354_is_told_of_the_capture_that_is_named(tmp_path: Path) -> None:
    config = tmp_path / "mail.cfg"
    config.write_text(COPY_OF_DEFAULT)
    (capture,) = [name for name in NAMED if name.startswith("unasked-354")]
    assert ("unasked-354", "drop-connection") in acted(capture, config)


@pytest.mark.parametrize("capture", NAMED)
def test_capture_that_is_named_shows_something(capture: str, tmp_path: Path) -> None:
    config = tmp_path / "mail.cfg"
    config.write_text(COPY_OF_DEFAULT)
    assert acted(capture, config)


@pytest.mark.parametrize(("capture", "line", "clause"), CASES, ids=[case[1] for case in CASES])
def test_cure_ends_what_the_default_map_did(
    tmp_path: Path, capture: str, line: str, clause: str
) -> None:
    config = tmp_path / "mail.cfg"
    config.write_text(COPY_OF_DEFAULT)
    before = acted(capture, config)
    config.write_text(cured(line))
    after = acted(capture, config)

    assert clause in {name for name, _ in before}
    assert (clause, "drop-connection") not in after
    assert (clause, "mask") not in after
