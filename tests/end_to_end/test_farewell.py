"""``closing-reply`` live: a real client reads the 554 and the end, also in the middle of a message, behind a
static translation and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nfinspect.lab.dialogue import ClientConnection, RecordingServer
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from tests.end_to_end.ends import IPV4, IPV6, Family, rules
from tests.end_to_end.test_injection import DNAT

MAP = """\
policy-map type inspect esmtp strict
 parameters
  closing-reply
 match cmd verb VRFY
  drop-connection log
 match header line length gt 998
  reset log
class-map inspection_default
 match default-inspection-traffic
policy-map global_policy
 class inspection_default
  inspect esmtp strict
service-policy global_policy global
"""
EHLO, ENVELOPE = b"EHLO c\r\n", (b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA")
FAMILIES = pytest.mark.parametrize("family", [IPV4, IPV6], ids=["IPv4", "IPv6"])
REPLY = "554 5.7.1 Connection closed by policy"


@pytest.fixture(scope="module")
def strict(plain_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFilter]:
    config = Path(tmp_path_factory.mktemp("map") / "strict.cfg")
    config.write_text(MAP)
    running = plain_lab.filter(config)
    yield running
    running.stop()


@FAMILIES
@pytest.mark.parametrize("translations", [(), (DNAT,)], ids=["none", "server"])
def test_client_reads_why_and_the_server_nothing(
    plain_lab: Lab, strict: RunningFilter, family: Family, translations: tuple[str, ...]
) -> None:
    to = family.outside if translations else family.server
    with (
        rules(plain_lab, family, *translations),
        RecordingServer(plain_lab, family.server) as server,
    ):
        with ClientConnection.open(plain_lab, to, timeout=20) as client:
            client.reply()
            client.command("EHLO c")
            assert client.command("VRFY root") == REPLY
            with pytest.raises(ConnectionError, match="has closed"):
                client.reply()
            client.send(b"QUIT\r\n")
        assert server.wait(1, ended=False)[0].received == EHLO
    assert "not injected" not in strict.show_json("queue")["verdicts"]


@FAMILIES
def test_client_in_the_middle_of_a_message_sends_it_all_and_reads_why(
    plain_lab: Lab, strict: RunningFilter, family: Family
) -> None:
    with RecordingServer(plain_lab, family.server) as server:
        with ClientConnection.open(plain_lab, family.server, timeout=20) as client:
            client.reply()
            client.command("EHLO c")
            for line in ENVELOPE:
                client.command(line)
            client.send(
                b"X-Long: " + b"x" * 1200 + b"\r\n" + b"text of the mail\r\n" * 50000 + b".\r\n"
            )
            assert client.reply() == REPLY
        (recording,) = server.wait(1, timeout=20)  # it has got its RST
        assert recording.received == EHLO + b"".join(line + b"\r\n" for line in ENVELOPE)
    assert strict.complaints == []
