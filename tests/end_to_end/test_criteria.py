"""Each criterion with each action that it takes, with and without ``not``, between two real ends: the rows of
tests/unit/engine/test_criteria.py, as configuration text, a reload for each."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfinspect.events import ClauseAction
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT, SCRIPT_ADDRESS, SERVER
from nfinspect.live.control import ask
from nfinspect.policy.criteria import CRITERIA, Criterion, Scope
from tests.end_to_end.ends import eventually
from tests.policy_text import clause_of, configuration
from tests.unit.engine.test_criteria import CASES, EHLO, Step, name, rows

PATIENCE = 20.0
NUMBERS = {
    ClauseAction.DROP_CONNECTION: ("-108004:", "Dropped connection for"),
    ClauseAction.RESET: ("-108004:", "Reset connection for"),
    ClauseAction.MASK: ("-108004:", "Masked header flags for"),
    ClauseAction.LOG: ("-108005:", "Received"),
}

ROWS = [row for row in rows() if row[3] or row[2] is ClauseAction.RATE_LIMIT]


class Ends:
    """Both ends of one connection; what one sends the other receives."""

    def __init__(self, lab: Lab, listener: socket.socket) -> None:
        self.client = lab.socket(CLIENT)
        self.client.settimeout(PATIENCE)
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.connect((SCRIPT_ADDRESS, 25))
        self.server, _ = listener.accept()
        self.server.settimeout(PATIENCE)

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.close()

    def send(self, side: str, payload: bytes) -> socket.socket:
        """Returns the end that is to receive it."""
        sender, receiver = (
            (self.client, self.server) if side == "client" else (self.server, self.client)
        )
        sender.sendall(payload)
        return receiver

    def pass_on(self, side: str, payload: bytes) -> bytes:
        """Send, and return what arrives, as long as what was sent."""
        receiver = self.send(side, payload)
        received = b""
        while len(received) < len(payload):
            data = receiver.recv(len(payload) - len(received))
            assert data, "the connection has ended"
            received += data
        return received

    def begin(self, steps: tuple[Step, ...]) -> Step:
        """Everything but the last step, which is returned."""
        for step in (("server", b"220 2\r\n"), ("client", EHLO), ("server", b"250 s\r\n")):
            assert self.pass_on(*step) == step[1]
        for step in steps[:-1]:
            assert self.pass_on(*step) == step[1]
        return steps[-1]


@pytest.fixture(scope="module")
def config(plain_lab: Lab) -> Path:
    file = plain_lab.directory / "criteria.cfg"
    criterion, negated, action, log = ROWS[0]
    file.write_text(configuration(clause_of(criterion, negated, action, log)))
    return file


@pytest.fixture(scope="module")
def live(plain_lab: Lab, config: Path) -> Iterator[RunningFilter]:
    running = plain_lab.filter(config)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def listener(plain_lab: Lab) -> Iterator[socket.socket]:
    listening = plain_lab.socket(SERVER)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((SCRIPT_ADDRESS, 25))
    listening.listen()
    listening.settimeout(PATIENCE)
    yield listening
    listening.close()


@pytest.mark.parametrize(("criterion", "negated", "action", "log"), ROWS, ids=name)
def test_clause_acts_between_real_ends(
    plain_lab: Lab,
    config: Path,
    live: RunningFilter,
    listener: socket.socket,
    criterion: Criterion,
    negated: bool,
    action: ClauseAction,
    log: bool,
) -> None:
    clause = clause_of(criterion, negated, action, log)
    config.write_text(configuration(clause))
    control = plain_lab.directory / "control"
    assert "again" in ask(control, ["reload"]).text
    ask(control, ["clear", "service-policy"])
    before = len(live.syslog)
    case = CASES[criterion]
    with Ends(plain_lab, listener) as ends:
        side, payload = ends.begin(case.misses if negated else case.meets)
        if action.closes:
            receiver = ends.send(side, payload)
            assert live.wait(lambda: any("-507003:" in each for each in live.syslog[before:]), 20)
            if action is ClauseAction.RESET:
                for end in (ends.client, ends.server):
                    with pytest.raises(ConnectionResetError):
                        end.recv(1)
            else:
                receiver.setblocking(False)
                with pytest.raises(BlockingIOError):
                    receiver.recv(1)
        else:
            passed = ends.pass_on(side, payload)
            if action is ClauseAction.MASK:
                assert passed.count(b"X") >= 3
            else:
                assert passed == payload
        (inspection,) = ask(control, ["show", "service-policy"]).data["service_policy"]
        assert inspection["match"] == [
            {"clause": f"match {clause.words}", "action": clause.action_words, "packet": 1}
        ]
    if action is not ClauseAction.RATE_LIMIT:
        number, words = NUMBERS[action]
        wanted = (
            f"{words} ESMTP {'Response' if CRITERIA[criterion].scope is Scope.REPLY else 'Request'}"
        )
        told = eventually(lambda: [each for each in live.syslog[before:] if number in each])
        assert len(told) == 1
        assert wanted in told[0]
        assert told[0].endswith(f"matched Class 1: {clause.words}")
