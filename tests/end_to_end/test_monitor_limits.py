"""Monitor mode with limits: they are counted and logged, and nobody is refused or intercepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT, SERVER_ADDRESS
from tests.end_to_end import test_intercept as intercept
from tests.end_to_end.test_monitor import identical_on_both_sides

CLASS = "policy-map global_policy\n class class-default\n  set connection {}\n"


@pytest.mark.parametrize(
    ("limit", "number"), [("conn-max 1", "201011"), ("per-client-max 1", "201013")]
)
def test_connections_beyond_a_limit_pass_and_are_told(
    limit: str, number: str, plain_lab: Lab, tmp_path: Path
) -> None:
    config = tmp_path / "fw.cfg"
    config.write_text(CLASS.format(limit))
    running = plain_lab.filter(config, arguments=["--monitor"])
    server = intercept.listening(plain_lab)
    with identical_on_both_sides(plain_lab, tmp_path):
        # The server answers one after the other, so that the others wait, but are connected.
        clients = [plain_lab.socket(CLIENT) for _ in range(3)]
        for client in clients:
            client.settimeout(10)
            client.connect((SERVER_ADDRESS, 25))
        for client in clients:
            with client, client.makefile("rwb") as lines:
                assert lines.readline() == b"220 mail.example ESMTP\r\n"
                lines.write(b"EXPN root\r\nQUIT\r\n")
                lines.flush()
                assert lines.read() == b"250 ok\r\n" * 2
    assert running.wait(lambda: intercept.logged(running, number) == 2, 10)
    # Only the first is counted, and read.
    assert intercept.logged(running, "302013") == 1
    queue = running.show_json("queue")
    assert queue["would_drop"][f"{'connection' if number == '201011' else 'per-client'}-limit"] >= 2
    assert queue["verdicts"]["dropped"] == 0
    (of_class,) = running.show_json("service-policy", "set", "connection")
    assert of_class["refused"] == 2
    running.stop()
    server.terminate()
    server.wait()


def test_a_flood_beyond_an_embryonic_limit_passes_and_is_told(tmp_path: Path) -> None:
    case = intercept.CASES["IPv4"]
    with Lab(offloads=False) as lab:
        running = intercept.filtered(lab, case, tmp_path, ["--monitor"])
        server = intercept.listening(lab)
        intercept.flood(lab, case, 1)
        beyond = intercept.FLOOD - intercept.EMBRYONIC
        assert running.wait(lambda: intercept.logged(running, "201010") == beyond, 10)
        client = lab.socket(CLIENT)
        client.settimeout(10)
        client.connect((case.address, 25))
        with client:
            assert client.recv(100) == b"220 mail.example ESMTP\r\n"
        assert case.members not in intercept.in_place(lab)
        assert not intercept.said(running, "TCP intercept begins")
        (of_class,) = running.show_json("service-policy", "set", "connection")
        assert of_class["intercept"]["targets"] == 0
        running.stop()
        server.terminate()
        server.wait()
