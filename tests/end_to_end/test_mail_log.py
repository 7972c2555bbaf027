"""The four symptoms of the tech note in the mail_logs of an email gateway, and their causes in the filter.

Gateways (ESA) send from the client's side and receive on the server's. Each test compares the whole log of
both, so it also says which line does not appear.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from nfinspect.lab import mail_log, postfix
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.stage import MESSAGE, RECIPIENT, SENDER
from nfinspect.lab.topology import (
    CLIENT,
    CLIENT_ADDRESS,
    EXIM_ADDRESS,
    SCRIPT_ADDRESS,
    SERVER,
    SERVER_ADDRESS,
)

TIMEOUT = "2"
"""Seconds for which both gateways wait."""
EXEMPT, LIMITED, RESETTING = SERVER_ADDRESS, EXIM_ADDRESS, SCRIPT_ADDRESS
MAPPED = "203.0.113.26"

CONFIGURATION = f"""\
access-list esa extended permit ip any host {EXEMPT}
access-list esa extended permit ip host {EXEMPT} any
policy-map type inspect esmtp telling
 match header line length gt 998
  reset log
class-map esa
 match access-list esa
policy-map global_policy
 class esa
  no inspect esmtp
 class inspection_default
  no inspect esmtp
  inspect esmtp telling
static (inside,outside) {MAPPED} {LIMITED} netmask 255.255.255.255 tcp 1 100
"""
"""Three servers: exempt; behind a static like the note's, but for one connection; behind a map that tells
both sides."""

LONG_HEADER = "References:" + "".join(f" <{number:040}@client.example>" for number in range(20))
MANY = [f"r{number}@inside.example" for number in range(1, 102)]

ACCEPTED = (
    "New SMTP ICID # interface Data 1 ({own}) address {peer} reverse dns host unknown verified no"
)
STARTED = ["Start MID # ICID #", f"MID # ICID # From: <{SENDER}>"]
BEGUN = [*STARTED, f"MID # ICID # RID 0 To: <{RECIPIENT}>"]
ABORTED = [
    "ICID # lost",
    "Message aborted MID # Receiving aborted",
    "Message finished MID # aborted",
    "ICID # close",
]
CONNECTED = [
    "New SMTP DCID # interface {peer} address {own} port 25",
    "Delivery start DCID # MID # to RID [0]",
]
TIMED_OUT = "[Errno 60] Operation timed out"


def connection_error(error: str) -> list[str]:
    return [
        "Connection Error: DCID: # domain:inside.example IP: {own} port: 25"
        f" details: {error} interface: {{peer}} reason: network error",
        f"Delayed: DCID # MID # to RID 0 - 4.4.0 - Other network problem ('000', ['{error}']) []",
    ]


class Receiver:
    """A gateway on the server's side, which offers STARTTLS, and its log since the last look."""

    def __init__(self, lab: Lab, address: str, log: Path) -> None:
        self.lab, self.address, self._file, self._seen = lab, address, log, 0
        program = [sys.executable, "-m", "nfinspect.lab.gateway_receiver", address]
        postfix.tls(lab.directory)
        program += ["--tls", *(str(lab.directory / name) for name in ("tls.key", "tls.pem"))]
        with log.open("w") as stream:
            self._process = lab.popen(SERVER, [*program, "--timeout", TIMEOUT], stdout=stream)
        deadline = time.monotonic() + 20
        while f"{address}:25 " not in lab.run(SERVER, ["ss", "-Hltn"]).stdout:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def wait(self, line: str) -> list[str]:
        """The lines since the last look, up to a *line* that must come within 10 seconds."""
        deadline = time.monotonic() + 10
        while True:
            lines = written(self._file.read_text())[self._seen :]
            if shape(line) in map(shape, lines):
                self._seen += len(lines)
                return lines
            assert time.monotonic() < deadline, f"no '{line}' in {lines}"
            time.sleep(0.05)

    def end(self) -> None:
        self._process.terminate()
        assert self._process.wait(10) == 0


def written(text: str) -> list[str]:
    """The lines of a log without their times."""
    found = re.findall(
        r"^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} Info: (.*)\n", text, re.MULTILINE
    )
    assert len(found) == text.count("\n")
    return found


def shape(line: str) -> str:
    return re.sub(r"\b(ICID|DCID:?|MID) \d+", r"\1 #", line)


def filled(lines: Sequence[str], address: str) -> list[str]:
    return [line.format(own=address, peer=CLIENT_ADDRESS) for line in lines]


def send(
    lab: Lab, to: str, *recipients: str, header: str = "", timeout: str = TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Send a mail by a gateway on the client's side."""
    program = [sys.executable, "-m", "nfinspect.lab.gateway_sender", "--timeout", timeout]
    message = f"{header}\n{MESSAGE}" if header else MESSAGE
    return lab.run(
        CLIENT, [*program, to, SENDER, *(recipients or [RECIPIENT])], input=message, check=False
    )


@pytest.fixture(scope="module")
def receiver(running: RunningFilter, plain_lab: Lab) -> Iterator[Receiver]:
    """Behind the default map."""
    receiver = Receiver(plain_lab, SERVER_ADDRESS, plain_lab.directory / "esa")
    yield receiver
    receiver.end()


def test_mail_that_the_map_permits(receiver: Receiver) -> None:
    sent = send(receiver.lab, receiver.address)
    (*first, response, finished, close) = written(sent.stdout)
    assert sent.returncode == 0, sent.stderr
    assert [shape(line) for line in first] == filled(
        [*CONNECTED, "Message done DCID # MID # to RID [0]"], receiver.address
    )
    assert re.fullmatch(r"MID \d+ RID \[0\] Response 'ok:  Message \d+ accepted'", response)
    assert [shape(finished), shape(close)] == ["Message finished MID # done", "DCID # close"]
    *begun, ready, close = receiver.wait(mail_log.ACCEPTED_CLOSE.format(icid="1"))
    assert [shape(line) for line in begun] == filled([ACCEPTED, *BEGUN], receiver.address)
    size = len(MESSAGE.replace("\n", "\r\n").encode()) + 1 - len("\r\n")  # one dot is stuffed
    assert shape(ready) == f"MID # ready {size} bytes from <{SENDER}>"
    assert shape(close) == "ICID # close"


CLOSED = [
    # cause, recipients, header, the clause in 108004, the receiver's log before it is lost
    ("header-line", [RECIPIENT], LONG_HEADER, "4: header line length gt 998", BEGUN),
    (
        "recipients",
        MANY,
        "",
        "2: cmd RCPT count gt 100",
        [*STARTED, *(f"MID # ICID # RID {rid} To: <{MANY[rid]}>" for rid in range(100))],
    ),
]


@pytest.mark.parametrize(
    ("recipients", "header", "clause", "begun"),
    [case[1:] for case in CLOSED],
    ids=[case[0] for case in CLOSED],
)
def test_close_by_a_clause_aborts_the_message_and_times_out_the_sender(
    running: RunningFilter,
    receiver: Receiver,
    recipients: list[str],
    header: str,
    clause: str,
    begun: list[str],
) -> None:
    seen = len(running.syslog)
    sent = send(receiver.lab, receiver.address, *recipients, header=header)
    assert sent.returncode == 1
    lines = [shape(line) for line in written(sent.stdout)]
    rids = str(list(range(len(recipients)))).replace(" ", "")
    start = CONNECTED[1].replace("[0]", rids)
    error, delayed = connection_error(TIMED_OUT)
    each = [delayed.replace("RID 0", f"RID {rid}") for rid in range(len(recipients))]
    assert lines == filled([CONNECTED[0], start, error, *each], receiver.address)
    received = receiver.wait("ICID # close")
    assert [shape(line) for line in received] == filled(
        [ACCEPTED, *begun, *ABORTED], receiver.address
    )
    assert any(line.endswith(f"matched Class {clause}") for line in running.syslog[seen:])


def test_close_at_a_pipe_aborts_a_message_without_recipients(receiver: Receiver) -> None:
    sent = send(receiver.lab, receiver.address, "|list@inside.example")
    assert written(sent.stdout)[2].count(TIMED_OUT) == 1
    received = [shape(line) for line in receiver.wait("ICID # close")]
    assert received == filled([ACCEPTED, *STARTED, *ABORTED], receiver.address)


def test_close_before_mail_loses_the_connection_without_a_message(
    running: RunningFilter, receiver: Receiver
) -> None:
    seen = len(running.syslog)
    words = ["swaks", "--server", receiver.address, "--to", RECIPIENT, "--timeout", "1"]
    receiver.lab.run(CLIENT, [*words, "--helo", "h" * 600], check=False)
    received = [shape(line) for line in receiver.wait("ICID # close")]
    assert received == filled([ACCEPTED, ABORTED[0], ABORTED[-1]], receiver.address)
    assert any("matched Class 1: cmd line length" in line for line in running.syslog[seen:])


def test_hidden_starttls_closes_without_a_message(receiver: Receiver) -> None:
    """The sender insists on TLS, which the receiver offers."""
    words = ["swaks", "--server", receiver.address, "--tls", "--to", RECIPIENT]
    done = receiver.lab.run(CLIENT, words, check=False)
    assert "did not advertise STARTTLS" in done.stderr
    received = [shape(line) for line in receiver.wait("ICID # close")]
    assert received == filled([ACCEPTED, "ICID # close"], receiver.address)


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Receiver]]:
    """A receiver at each address of `CONFIGURATION`."""
    directory = tmp_path_factory.mktemp("gateways")
    path = directory / "filter.cfg"
    path.write_text(CONFIGURATION)
    with Lab(offloads=False) as lab:
        running = lab.filter(path)
        receivers = {
            address: Receiver(lab, address, directory / address)
            for address in (EXEMPT, LIMITED, RESETTING)
        }
        yield receivers
        for each in receivers.values():
            each.end()
        running.stop()


def test_exempt_gateway_receives_what_the_map_would_close(configured: dict[str, Receiver]) -> None:
    receiver = configured[EXEMPT]
    sent = send(receiver.lab, EXEMPT, header=LONG_HEADER)
    assert sent.returncode == 0, sent.stdout
    received = [shape(line) for line in receiver.wait("ICID # close")]
    size = len(f"{LONG_HEADER}\n{MESSAGE}".replace("\n", "\r\n").encode()) - 1
    ready = f"MID # ready {size} bytes from <{SENDER}>"
    assert received == filled([ACCEPTED, *BEGUN, ready, "ICID # close"], EXEMPT)


def test_exempt_gateway_is_offered_tls_to(configured: dict[str, Receiver]) -> None:
    receiver = configured[EXEMPT]
    words = ["swaks", "--server", EXEMPT, "--tls", "--from", SENDER, "--to", RECIPIENT]
    receiver.lab.run(CLIENT, words)
    received = [shape(line) for line in receiver.wait("ICID # close")]
    assert received[:-2] == filled([ACCEPTED, *BEGUN], EXEMPT)
    assert received[-2].startswith("MID # ready ")


def test_refused_connection_times_out_the_sender_and_nothing_reaches_the_receiver(
    configured: dict[str, Receiver],
) -> None:
    receiver = configured[LIMITED]
    with receiver.lab.socket(CLIENT) as first:
        first.settimeout(5)
        first.connect((MAPPED, 25))
        assert first.recv(4) == b"220 "
        sent = send(receiver.lab, MAPPED)
        assert [shape(line) for line in written(sent.stdout)] == filled(
            connection_error(TIMED_OUT), MAPPED
        )
    received = [shape(line) for line in receiver.wait("ICID # close")]
    assert received == filled([ACCEPTED, "ICID # lost", "ICID # close"], LIMITED)  # the first


def test_reset_tells_both_gateways_at_once(configured: dict[str, Receiver]) -> None:
    receiver = configured[RESETTING]
    sent = send(receiver.lab, RESETTING, header=LONG_HEADER)
    assert [shape(line) for line in written(sent.stdout)] == filled(
        [*CONNECTED, *connection_error("[Errno 54] Connection reset by peer")], RESETTING
    )
    received = [shape(line) for line in receiver.wait("ICID # close")]
    assert received == filled([ACCEPTED, *BEGUN, *ABORTED], RESETTING)
