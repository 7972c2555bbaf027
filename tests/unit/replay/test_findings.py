"""What counts as a finding on a connection, where no capture can show it yet."""

from __future__ import annotations

import pytest

from nfinspect.events import REQUEST, Connection, Endpoint, KeywordsHidden, SentEarly
from nfinspect.replay.findings import Findings
from nfinspect.replay.hidden import keywords_used

CONNECTION = Connection(
    1, Endpoint("outside", bytes(4), 40_000), Endpoint("inside", bytes([1] * 4), 25)
)


@pytest.mark.parametrize("hidden", [b"PIPELINING", b"DSN"])
def test_client_that_did_not_wait_used_pipelining(hidden: bytes) -> None:
    findings = Findings()
    findings.observe(KeywordsHidden(CONNECTION, (hidden,)), 7, 0.0)
    findings.observe(SentEarly(CONNECTION, REQUEST, 20), 9, 0.0)
    used = [found for found in findings.to_json() if "although hidden" in found["cause"]]
    assert [(found["cause"], found["packet"]) for found in used] == (
        [("used, although hidden: PIPELINING", 9)] if hidden == b"PIPELINING" else []
    )


@pytest.mark.parametrize(
    ("command", "used"),
    [
        ("BDAT 10 LAST", {"CHUNKING"}),
        ("burl imap://x", {"BURL"}),
        ("RCPT TO:<b@example.net> notify=NEVER ORCPT=rfc822;b", {"RCPT", "DSN"}),
        ("MAIL FROM:<> BODY=BINARYMIME HOLDFOR=7", {"MAIL", "BINARYMIME", "FUTURERELEASE"}),
        ("MAIL FROM:a SMTPUTF8 SIZE=9", {"MAIL", "SMTPUTF8", "SIZE"}),
        ("MAIL FROM:<\xe4@example.net>", {"MAIL", "SMTPUTF8"}),
        ("AUTH=PLAIN ***", {"AUTH"}),
        ("", {""}),
        (">", {">"}),
        ("MAIL", {"MAIL"}),
        ("help", set()),
    ],
)
def test_keywords_of_a_command(command: str, used: set[str]) -> None:
    assert set(keywords_used(command)) == used
