"""Idle connections between real ends: reset at their timeout, or asked and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT, SERVER, SERVER_ADDRESS

LISTENER = """\
import socket
listening = socket.create_server(("", 25))
print("ready", flush=True)
connection, peer = listening.accept()
connection.sendall(b"220 mail.example ESMTP\\r\\n")
try:
    print(connection.recv(100), flush=True)
except ConnectionResetError:
    print("reset", flush=True)
"""


@pytest.mark.parametrize("words", ["reset", "dcd 0:0:15 2"])
def test_idle_connection(words: str, tmp_path: Path) -> None:
    path = tmp_path / "fw.cfg"
    path.write_text(
        "policy-map global_policy\n class class-default\n"
        f"  set connection timeout idle 0:0:2 {words}\n"
    )
    with Lab(offloads=False) as lab:
        server = lab.popen(SERVER, ["python3", "-c", LISTENER])
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        running = lab.filter(path)
        client = lab.socket(CLIENT)
        client.settimeout(15)
        client.connect((SERVER_ADDRESS, 25))
        assert client.recv(100).startswith(b"220 ")
        if words == "reset":
            with pytest.raises(ConnectionResetError):
                client.recv(100)
            assert server.stdout.readline() == "reset\n"
            assert running.wait(
                lambda: any(line.endswith("Flow timed out with reset") for line in running.syslog),
                10,
            )
        else:

            def probes() -> dict[str, int]:
                counted = running.show_json("service-policy", "inspect", "esmtp")
                return counted["idle_probes"]

            while min(probes().get(way, 0) for way in ("Request", "Response")) < 1:
                assert not any("-302014: " in line for line in running.syslog)
            client.sendall(b"NOOP\r\n")
            assert server.stdout.readline() == "b'NOOP\\r\\n'\n"
        client.close()
        server.wait()
        running.end()
