"""A flood of SYNs, live: mail of open connections goes on, what is lost is counted, and TCP intercept lasts as long
as the flood."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.syn_flood import SOURCES
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT, CLIENT_ADDRESS, FILTER, SERVER, SERVER_ADDRESS
from nfinspect.live.queue import MAX_SYNS
from nfinspect.live.queue_table import QueueRow, parse
from nfinspect.rules.queues import syn_queue
from tests.end_to_end.test_intercept import in_place, logged, said

SESSIONS, MAILS = 3, 20
BODY = random.Random(25).randbytes(20_000).hex().encode()
EMBRYONIC = 20
LIMITED = (
    "policy-map global_policy\n class class-default\n"
    f"  set connection embryonic-conn-max {EMBRYONIC}\n"
    "  set connection timeout embryonic 0:0:5\n"
)

LISTENER = """\
import hashlib, socketserver
class Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 mail.example ESMTP\\r\\n")
        for line in self.rfile:
            answer = b"250 ok"
            if line == b"DATA\\r\\n":
                self.wfile.write(b"354 go on\\r\\n")
                body = hashlib.sha256()
                for line in self.rfile:
                    if line == b".\\r\\n":
                        break
                    body.update(line)
                answer = b"250 " + body.hexdigest().encode()
            self.wfile.write(answer + b"\\r\\n")
            if line == b"QUIT\\r\\n":
                break
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 200
with Server(("", 25), Session) as listening:
    print("ready", flush=True)
    listening.serve_forever()
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(offloads=False) as made:
        made.run(FILTER, ["ip", "route", "replace", str(SOURCES), "via", CLIENT_ADDRESS])
        server = made.popen(SERVER, ["python3", "-c", LISTENER])
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield made
        server.terminate()
        server.wait()


class Session:
    """An open session of a client."""

    def __init__(self, lab: Lab) -> None:
        self._socket = lab.socket(CLIENT)
        self._socket.settimeout(60)
        self._socket.connect((SERVER_ADDRESS, 25))
        self._lines = self._socket.makefile("rwb")
        self._heard(b"220 ")
        self._say(b"HELO client.example")

    def _say(self, line: bytes, answer: bytes = b"250 ") -> bytes:
        self._lines.write(line + b"\r\n")
        self._lines.flush()
        return self._heard(answer)

    def _heard(self, answer: bytes) -> bytes:
        found = self._lines.readline()
        assert found.startswith(answer)
        return found

    def mail(self, number: int) -> None:
        """Send one, which arrives as it was sent."""
        self._say(b"MAIL FROM:<a@client.example>")
        self._say(b"RCPT TO:<b@mail.example>")
        self._say(b"DATA", b"354 ")
        body = b"Subject: %d\r\n\r\n" % number
        body += b"".join(BODY[at : at + 76] + b"\r\n" for at in range(0, len(BODY), 76))
        digest = hashlib.sha256(body).hexdigest().encode()
        assert self._say(body + b".") == b"250 " + digest + b"\r\n"

    def end(self) -> None:
        self._say(b"QUIT")
        self._lines.close()
        self._socket.close()


@contextmanager
def flood(lab: Lab, rate: int, seconds: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.syn_flood", SERVER_ADDRESS, str(rate), str(seconds)]
    process = lab.popen(CLIENT, command)
    yield process
    out, errors = process.communicate(timeout=seconds + 60)
    assert process.returncode == 0, errors
    assert json.loads(out)["sent"] > MAX_SYNS


def syns(running: RunningFilter) -> QueueRow:
    """The kernel's row of the queue for SYNs."""
    table = Path(f"/proc/{running.pid}/net/netfilter/nfnetlink_queue").read_text()
    return parse(table)[syn_queue(0)]


def test_mail_of_open_connections_goes_on_and_lost_syns_are_counted(lab: Lab) -> None:
    running = lab.filter()
    sessions = [Session(lab) for _ in range(SESSIONS)]
    sent: list[int] = []

    def send(session: Session) -> None:
        for number in range(MAILS):
            session.mail(number)
            sent.append(number)

    os.kill(running.pid, signal.SIGSTOP)  # whatever this machine's speed, the queue is full
    with flood(lab, 20_000, 8):
        assert running.wait(lambda: syns(running).lost > 0, 30)
        assert syns(running).waiting == MAX_SYNS
        os.kill(running.pid, signal.SIGCONT)
        senders = [threading.Thread(target=send, args=(each,)) for each in sessions]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(120)
    assert sorted(sent) == sorted([*range(MAILS)] * SESSIONS)
    assert running.wait(lambda: syns(running).waiting == 0, 30)

    Session(lab).end()
    for session in sessions:
        session.end()
    queue = running.show_json("queue")
    assert queue["syns_lost"] == syns(running).lost > 0
    assert queue["syns_received"] >= MAX_SYNS
    assert (queue["syn_queue"], queue["syns_waiting"]) == (syn_queue(0), 0)
    assert (queue["kernel_dropped"], queue["user_dropped"]) == (0, 0)
    assert f"lost {queue['syns_lost']}" in running.show("queue")
    assert running.wait(lambda: bool(said(running, "SYNs were lost")), 20)
    running.stop()


def test_intercept_lasts_as_long_as_the_flood(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "fw.cfg"
    path.write_text(LIMITED)
    running = lab.filter(path)
    with flood(lab, 300, 15):
        assert running.wait(lambda: bool(said(running, "TCP intercept begins")), 10)
        assert running.wait(lambda: "NFINSPECT-SERVERS4 1\n" in in_place(lab), 10)
        received = running.show_json("queue")["syns_received"]
        # The embryonic connections time out, while the flood goes on.
        assert running.wait(lambda: logged(running, "302014") >= EMBRYONIC, 30)
    assert running.show_json("queue")["syns_received"] == received
    session = Session(lab)
    session.mail(1)
    session.end()
    assert len(said(running, "TCP intercept begins")) == 1
    assert running.wait(lambda: bool(said(running, "TCP intercept ends")), 40)
    running.stop()
