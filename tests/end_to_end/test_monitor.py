"""Monitor mode: mail passes as if there were no filter, and the filter finds what it always finds."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nfinspect.lab.capture import RunningCapture
from nfinspect.lab.dialogue import ClientConnection, RecordingServer, Script
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.stage import MailStage
from nfinspect.live.control import ask
from nfinspect.packet.segment import SYN, Segment, parse
from nfinspect.replay.capture import Capture
from tests.end_to_end.ends import IPV4, queue

RECIPIENTS = 101
HEADER = b"X-Long: " + b"y" * 1200 + b"\r\n"


@pytest.fixture
def watching(plain_lab: Lab) -> Iterator[RunningFilter]:
    running = plain_lab.filter(arguments=["--monitor"])
    yield running
    running.stop()


@contextlib.contextmanager
def identical_on_both_sides(lab: Lab, directory: Path) -> Iterator[None]:
    """Fail unless the packets of the block are the same on the client's and the server's side, but
    for what a router changes."""
    captures = [lab.capture(directory / side, side) for side in ("outside", "inside")]
    yield
    wait_until_quiet(captures)
    sent, received = (packets(capture.stop()) for capture in captures)
    assert sent
    assert sent == received


def wait_until_quiet(captures: list[RunningCapture]) -> None:
    """A packet still under way would be in the capture that ends last alone."""
    sizes: list[int] = []
    for _ in range(20):
        before, sizes = sizes, [capture.file.stat().st_size for capture in captures]
        if sizes == before:
            return
        time.sleep(0.5)


def packets(file: Path) -> Counter[bytes]:
    """The packets, without their TTL and header checksum, of the connections that began in the
    capture: endpoints of an earlier one may still repeat what was dropped then."""
    found: Counter[bytes] = Counter()
    begun: set[frozenset[bytes]] = set()
    with file.open("rb") as opened:
        for frame in Capture(opened, file.name):
            datagram = frame.data[14:]
            segment = parse(datagram)
            if not isinstance(segment, Segment) or segment.version != 4:
                continue
            ends = frozenset((datagram[12:16] + datagram[20:22], datagram[16:20] + datagram[22:24]))
            if segment.flags & SYN:
                begun.add(ends)
            if ends in begun:
                found[datagram[:8] + datagram[9:10] + datagram[12:]] += 1
    return found


def mail(client: ClientConnection, recipients: int, header: bytes) -> None:
    client.reply()
    client.command("EHLO client.example")
    client.command("MAIL FROM:<a@client.example>")
    for number in range(recipients):
        client.command(f"RCPT TO:<user{number}@mail.example>")
    client.command("DATA")
    client.send(header + b"\r\nText\r\n.\r\n")
    client.reply()
    client.command("QUIT")


def long_header(client: ClientConnection) -> None:
    mail(client, 1, HEADER)


def many_recipients(client: ClientConnection) -> None:
    mail(client, RECIPIENTS, b"Subject: x\r\n")


def single_characters(client: ClientConnection) -> None:
    client.reply()
    for character in b"HELO client.example\r\n":
        client.send(bytes([character]))
    client.reply()
    for character in b"MAIL FROM:<a|b@client.example>\r\n":
        client.send(bytes([character]))
    client.reply()


CLOSED = "would have been closed"
SESSIONS = (
    (long_header, CLOSED),
    (many_recipients, CLOSED),
    (single_characters, "only watched: masked line accepted"),
)
"""What is sent, and why the connection goes on uninspected."""


def play(lab: Lab, session: Callable[[ClientConnection], None]) -> bytes:
    """Returns what the server has received."""
    with RecordingServer(lab, IPV4.server, Script()) as server:
        with (
            ClientConnection.open(lab, IPV4.server) as client,
            contextlib.suppress(OSError, EOFError),
        ):
            session(client)
        return bytes(server.recordings[0].received)


def findings(running: RunningFilter) -> list[str]:
    """The messages about mail, without addresses and ports."""
    return [
        line.split(":")[0] + line.partition("matched")[2]
        for line in running.syslog
        if line[7:13].lstrip("-").startswith("108")
    ]


@pytest.mark.parametrize(("session", "cause"), SESSIONS)
def test_session_passes_unchanged_and_is_found_out_once(
    plain_lab: Lab,
    tmp_path: Path,
    session: Callable[[ClientConnection], None],
    cause: str,
    request: pytest.FixtureRequest,
) -> None:
    watching = plain_lab.filter(arguments=["--monitor"])
    request.addfinalizer(watching.end)
    with identical_on_both_sides(plain_lab, tmp_path):
        received = play(plain_lab, session)
    state = queue(plain_lab)
    text = watching.show("queue")
    counts = watching.show("service-policy", "inspect", "esmtp")
    status = ask(plain_lab.directory / "control", ["status"])
    watching.stop()
    assert received.endswith(b"QUIT\r\n") or session is single_characters
    assert b"X" * 20 not in received
    assert state["verdicts"]["rewritten"] == state["verdicts"]["dropped"] == 0
    assert state["verdicts"]["injected"] == 0
    closed = int(cause == CLOSED)
    assert state["verdicts"]["would drop"] == closed
    assert state["uninspected"][cause] == 1
    assert "only_watches" in state
    assert ("would drop inspection, packet 1" in text) == closed
    assert "Monitor mode" in text
    assert counts.startswith("Monitor mode")
    assert "monitor" in status.text
    assert status.data["only_watches"]
    assert any("monitor" in line for line in watching.details)
    assert any("monitor mode" in line for line in watching.errors)
    assert len(findings(watching)) == closed

    real = plain_lab.filter()
    request.addfinalizer(real.end)
    play(plain_lab, session)
    real.end()
    assert findings(watching) == findings(real)


def test_postfix_mail_with_starttls_passes_unchanged(
    plain_lab: Lab, stage: MailStage, watching: RunningFilter, tmp_path: Path
) -> None:
    stage.set("postfix", 4)
    stage.postfix  # noqa: B018 started before the capture
    with identical_on_both_sides(plain_lab, tmp_path):
        stage.send_by_postfix({"smtp_tls_security_level": "encrypt"})
    assert any("status=sent" in line for line in stage.said)
    assert sum(queue(plain_lab)["uninspected"].values()) == 1
    assert queue(plain_lab)["verdicts"]["dropped"] == 0


def limited(limit: int) -> str:
    return (
        f"policy-map type inspect esmtp m\n match cmd line length gt {limit}\n"
        "  drop-connection log\n"
        "policy-map global_policy\n class inspection_default\n  no inspect esmtp\n"
        "  inspect esmtp m\n"
    )


LONG_NOOP = b"NOOP " + b"x" * 300


def test_reload_holds_for_new_connections_and_still_touches_nothing(
    plain_lab: Lab, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config = tmp_path / "m.cfg"
    config.write_text(limited(500))
    watching = plain_lab.filter(config, arguments=["--monitor"])
    request.addfinalizer(watching.end)
    with RecordingServer(plain_lab, IPV4.server) as server:
        with ClientConnection.open(plain_lab, IPV4.server) as old:
            old.reply()
            config.write_text(limited(200))
            ask(plain_lab.directory / "control", ["reload"])
            with ClientConnection.open(plain_lab, IPV4.server) as new:
                new.reply()
                assert new.command(LONG_NOOP).startswith("250")
                assert watching.wait(lambda: len(findings(watching)) == 1, 10)
            assert old.command(LONG_NOOP).startswith("250")
        assert len(findings(watching)) == 1
        received = [bytes(recording.received) for recording in server.recordings]
    assert received == [LONG_NOOP + b"\r\n"] * 2
    state = queue(plain_lab)
    assert state["uninspected"][CLOSED] == 1
    assert state["verdicts"]["rewritten"] == state["verdicts"]["dropped"] == 0
    watching.stop()


def test_connection_goes_on_over_a_restart(
    plain_lab: Lab, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    watching = plain_lab.filter(arguments=["--monitor"])
    request.addfinalizer(watching.end)
    with RecordingServer(plain_lab, IPV4.server) as server:
        with ClientConnection.open(plain_lab, IPV4.server) as client:
            client.reply()
            assert client.command("HELO client.example").startswith("250")
            watching.stop()
            again = plain_lab.filter(arguments=["--monitor"])
            request.addfinalizer(again.end)
            assert client.command(b"XYZZY").startswith("500")
            assert client.command("QUIT").startswith("221")
        received = bytes(server.recordings[0].received)
    assert received == b"HELO client.example\r\nXYZZY\r\nQUIT\r\n"
    verdicts = queue(plain_lab)["verdicts"]
    assert verdicts["rewritten"] == verdicts["dropped"] == verdicts["injected"] == 0
    again.stop()


def test_on_a_bridge_mail_passes_unchanged_and_is_found_out(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with Lab(bridge=True, offloads=False) as lab:
        watching = lab.filter(arguments=["--monitor"])
        request.addfinalizer(watching.end)
        with identical_on_both_sides(lab, tmp_path):
            received = play(lab, long_header)
        state = queue(lab)
        assert HEADER in received
        assert len(findings(watching)) == 1
        assert state["uninspected"][CLOSED] == 1
        assert state["verdicts"]["rewritten"] == state["verdicts"]["dropped"] == 0
        watching.stop()
