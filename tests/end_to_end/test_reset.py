"""The action ``reset`` live: Linux at both ends accepts the RST, routed, behind static translations, and on a
bridge; a new connection works at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from nfinspect.lab.dialogue import ClientConnection, RecordingServer
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from tests.end_to_end.ends import IPV4, IPV6, Family, rules
from tests.end_to_end.test_injection import DNAT, MASQUERADE, SNAT

MAP = """\
policy-map type inspect esmtp strict
 match cmd verb VRFY
  reset log
 match ehlo-reply-parameter vrfy
  reset
class-map inspection_default
 match default-inspection-traffic
policy-map global_policy
 class inspection_default
  inspect esmtp strict
service-policy global_policy global
"""
TRANSLATIONS = {
    "none": (),
    "server": (DNAT,),
    "client": (SNAT,),
    "both": (DNAT, MASQUERADE),
}
FAMILIES = pytest.mark.parametrize("family", [IPV4, IPV6], ids=["IPv4", "IPv6"])


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("map") / "strict.cfg"
    file.write_text(MAP)
    return file


@pytest.fixture(scope="module")
def strict(plain_lab: Lab, config: Path) -> Iterator[RunningFilter]:
    running = plain_lab.filter(config)
    yield running
    running.stop()


def reset_by(lab: Lab, to: str, line: str) -> None:
    """Open a connection on which *line* resets: both ends have heard of it."""
    with ClientConnection.open(lab, to, timeout=20) as client:
        assert client.reply().startswith("220")
        assert client.command("EHLO client.example").startswith("250")
        client.send(line.encode() + b"\r\n")
        with pytest.raises(ConnectionResetError):
            client.reply()


def both_ends_are_reset(
    lab: Lab, running: RunningFilter, family: Family, translations: Sequence[str] = ()
) -> None:
    to = family.outside if DNAT in translations else family.server
    before = len(running.syslog)
    with rules(lab, family, *translations), RecordingServer(lab, family.server) as server:
        for number in (1, 2):
            reset_by(lab, to, "VRFY root")
            (*_, recording) = server.wait(number, timeout=20)
            assert recording.received == b"EHLO client.example\r\n"
        with ClientConnection.open(lab, to, timeout=20) as client:
            client.reply()
            assert client.command("EHLO client.example").startswith("250")
            assert client.command("NOOP").startswith("250")

    def count(text: str) -> int:
        return sum(text in line for line in running.syslog[before:])

    assert running.wait(lambda: count("reason - inspector drop reset.") == 2, 20)
    assert count("108004: ESMTP Classification: Reset connection for") == 2
    assert "not injected" not in running.show_json("queue")["verdicts"]


@FAMILIES
@pytest.mark.parametrize("name", TRANSLATIONS)
def test_both_ends_are_reset_and_the_next_connection_works(
    plain_lab: Lab, strict: RunningFilter, family: Family, name: str
) -> None:
    both_ends_are_reset(plain_lab, strict, family, TRANSLATIONS[name])


def test_both_ends_are_reset_on_a_bridge(config: Path) -> None:
    with Lab(offloads=False, bridge=True) as lab:
        running = lab.filter(config)
        for family in (IPV4, IPV6):
            both_ends_are_reset(lab, running, family)
        running.stop()
