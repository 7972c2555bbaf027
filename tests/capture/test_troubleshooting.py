"""Each cure in docs/troubleshooting.md cures: on the capture that it names, what the default map does
to the mail is no longer done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nfinspect import cli
from tests.unit.test_docs import COPY_OF_DEFAULT, CURES, applied

CAPTURES = Path(__file__).parents[2] / "pcaps"

CASES = [
    # capture, a line of the cure, the action that it ends
    ("postfix.outside", "no mask-banner", "mask-banner"),
    (
        "postfix-pipelining.inside",
        "- match ehlo-reply-parameter",
        "match ehlo-reply-parameter others",
    ),
    ("starttls-allowed.inside", "allow-tls action log", "unknown command"),
    ("recipients-101.outside", "+ match cmd RCPT count", "match cmd RCPT count gt 100"),
    ("header-line-1200.outside", "- match header line", "match header line length gt 998"),
    ("mime-filename-256.outside", "+ match MIME filename", "match MIME filename length gt 255"),
    ("command-line-600.outside", "+ match cmd line", "match cmd line length gt 512"),
    ("sender-address-329.outside", "+ match sender-address", "match sender-address length gt 320"),
    ("pipe-character.outside", "pipe-character blank", "pipe"),
    ("telnet-typing.outside", "incomplete-command stream", "incomplete command"),
]


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


@pytest.mark.parametrize(("capture", "line", "clause"), CASES, ids=[case[1] for case in CASES])
def test_cure_ends_what_the_default_map_did(
    tmp_path: Path, capture: str, line: str, clause: str
) -> None:
    config = tmp_path / "mail.cfg"
    config.write_text(COPY_OF_DEFAULT)
    before = acted(capture, config)
    (cure,) = [text for text in CURES if line in text]
    config.write_text(applied(cure, COPY_OF_DEFAULT))
    after = acted(capture, config)

    assert clause in {name for name, _ in before}
    assert (clause, "drop-connection") not in after
    assert (clause, "mask") not in after
