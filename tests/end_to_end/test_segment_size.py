"""``sysopt connection tcpmss`` and ``syn-cookie-mss``, live: what the kernels of both ends then send."""

from __future__ import annotations

import socket
from pathlib import Path

from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CLIENT
from tests.end_to_end import test_intercept as intercept

LARGEST, COOKIE = 1000, 900
STAMPS = 12
"""Bytes of timestamps, which an end subtracts."""
SERVER_SAYS = """\
import socket
listening = socket.create_server(("::", 25), family=socket.AF_INET6, dualstack_ipv6=True, backlog=200)
print("ready", flush=True)
while True:
    connection, _ = listening.accept()
    print(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), flush=True)
    connection.close()
"""


def test_no_end_sends_larger_segments_than_it_was_told(tmp_path: Path) -> None:
    case = intercept.CASES["IPv4"]
    text = f"sysopt connection tcpmss {LARGEST}\n{case.text.rstrip()} syn-cookie-mss {COOKIE}\n"
    case = case._replace(text=text)
    with Lab() as lab:
        running = intercept.filtered(lab, case, tmp_path)
        server = lab.popen(intercept.SERVER, ["python3", "-c", SERVER_SAYS])
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        assert largest(lab, case.address) == LARGEST - STAMPS
        assert int(server.stdout.readline()) == LARGEST - STAMPS
        intercept.flood(lab, case, 1)
        assert running.wait(lambda: case.members in intercept.in_place(lab), 10)
        assert largest(lab, case.address) == COOKIE - STAMPS
        assert intercept.proxied(running) == 1
        running.stop()
        server.terminate()
        server.wait()


def largest(lab: Lab, address: str) -> int:
    """The largest segment that a client sends to this address."""
    with lab.socket(CLIENT) as client:
        client.settimeout(10)
        client.connect((address, 25))
        size: int = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        assert client.recv(1) == b""
        return size
