"""A lab whose limits count everything, and what random clients do in it: after each scenario the filter's
counts are connection tracking's. All two hundred:

python -m tests.end_to_end.counted 200 [SEED]
"""

from __future__ import annotations

import random
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from nfinspect.lab.lab import Lab, orderly_end
from nfinspect.lab.topology import (
    CLIENT,
    EXIM_ADDRESS,
    FILTER,
    OUTSIDE,
    SERVER,
    SERVER_ADDRESS,
)
from tests.model.wire import ACK, FIN, RST, Packet

MAPPED = "192.0.2.25"
CONFIGURATION = f"""\
nameif ethernet0 outside security0
nameif ethernet1 inside security100
access-list gateway extended permit ip any host {SERVER_ADDRESS}
class-map gateway
 match access-list gateway
policy-map global_policy
 class gateway
  no inspect esmtp
{{}}static (inside,outside) {MAPPED} {SERVER_ADDRESS} netmask 255.255.255.255 tcp {{}}
"""
SETTINGS = """\
  set connection conn-max 500 embryonic-conn-max 400
  set connection timeout embryonic 0:0:5 idle 0:0:8
 class class-default
  set connection conn-max 500 per-client-max 400
"""
"""Those of what is inspected are the usual ones: its entries in connection tracking stay when the filter
has timed out."""

LISTENER = """\
import os, signal, socket
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
servers = [socket.create_server(("", port), backlog=300) for port in (25, 80)]
print("ready", flush=True)
if os.fork():
    listening = servers[0]
else:
    listening = servers[1]
while True:
    connection, peer = listening.accept()
    if os.fork():
        connection.close()
        continue
    connection.sendall(b"220 %d\\r\\n" % os.getpid())
    while data := connection.recv(1000):
        if data == b"QUIT\\r\\n":
            break
        connection.sendall(b"250 %d\\r\\n" % os.getpid())
    os._exit(0)
"""
"""A process for each connection, which tells its number."""

CALLER = """\
import socket, sys, time
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
connection.recv(100)
print(connection.getsockname()[1], flush=True)
time.sleep(1000)
"""

FORGER = """\
import socket, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.sendto(bytes.fromhex(sys.argv[1]), (sys.argv[2], 0))
"""

EXEMPT, OTHER, INSPECTED = (MAPPED, 25), (MAPPED, 80), (EXIM_ADDRESS, 25)
DARK = MAPPED, 81
"""Nobody answers there."""


class Filter:
    """A filter with this configuration, and servers behind it."""

    def __init__(self, lab: Lab, directory: Path, limits: str, lines: str = "") -> None:
        self.lab = lab
        self.path = directory / "fw.cfg"
        self.path.write_text(CONFIGURATION.format(lines, limits))
        lab.run(FILTER, ["ip", "address", "replace", f"{MAPPED}/32", "dev", OUTSIDE.name])
        lab.run(SERVER, ["iptables", "-A", "INPUT", "-p", "tcp", "--dport", "81", "-j", "DROP"])
        self.server = lab.popen(SERVER, ["python3", "-c", LISTENER])
        assert self.server.stdout is not None
        assert self.server.stdout.readline() == "ready\n"
        self.running = lab.filter(self.path)

    def restart(self, *, kill: bool = False) -> None:
        """Begin anew with another process."""
        if kill:
            self.running._process.kill()
        self.running.end()
        self.running = self.lab.filter(self.path)

    def connected(self, to: tuple[str, int], seconds: float = 10) -> socket.socket | None:
        """A new connection; None if the SYN is not answered in time."""
        made = self.lab.socket(CLIENT)
        made.settimeout(seconds)
        try:
            made.connect(to)
        except TimeoutError:
            made.close()
            return None
        assert made.recv(100).startswith(b"2")
        return made

    def shown(self) -> list[dict]:
        """What show conn has."""
        found: list[dict] = self.running.show_json("conn")["connections"]
        return found

    def here(self) -> Counter[tuple[str, str, bool]]:
        """Client's port, server, and whether it is embryonic, of all connections that are counted."""
        return Counter(
            (each["client"].split(":")[1], each["server"], each["state"].startswith("syn"))
            for each in self.shown()
        )

    def there(self) -> Counter[tuple[str, str, bool]]:
        """The same from connection tracking."""
        found = Counter()
        listing = self.lab.run(FILTER, ["cat", "/proc/net/nf_conntrack"]).stdout
        for line in listing.splitlines():
            words = line.split()
            if words[2] != "tcp" or words[5] in ("TIME_WAIT", "CLOSE", "NONE"):
                continue
            fields = [word.split("=") for word in words if "=" in word]
            sources = [value for name, value in fields if name == "src"]
            ports = [value for name, value in fields if name == "sport"]
            found[ports[0], f"{sources[1]}:{ports[1]}", words[5].startswith("SYN")] += 1
        return found

    def end(self) -> None:
        self.running.end()
        self.server.terminate()
        self.server.wait()


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def reset(connection: socket.socket) -> None:
    """End a connection at once."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def forge(made: Filter, connection: socket.socket, flags: int) -> None:
    """Send a segment in the client's name whose number is outside the window."""
    (host, port) = connection.getsockname()
    try:
        peer, peer_port = connection.getpeername()
    except OSError:  # it is over
        return
    packet = Packet(
        (socket.inet_aton(host), port),
        (socket.inet_aton(peer), peer_port),
        random.getrandbits(32),
        random.getrandbits(32),
        flags,
    )
    made.lab.run(CLIENT, ["python3", "-c", FORGER, packet.build().hex(), peer])


@dataclass
class Clients:
    """What they have open."""

    made: Filter
    draw: random.Random
    open: list[tuple[tuple[str, int], socket.socket]] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    def scenario(self) -> None:
        """Some steps, and then the counts are the same."""
        self.steps = []
        for _ in range(self.draw.randrange(2, 7)):
            step = self.draw.choice(STEPS)
            self.steps.append(step.__name__)
            step(self)
        if self.draw.random() < 0.06:
            self.steps.append("idle")
            time.sleep(22)
            self._forget_ended()
        if self.draw.random() < 0.1:
            self.restart()
        self.compare()

    def compare(self) -> None:
        """Raises AssertionError if the counts stay different."""
        if not until(lambda: self.made.here() == self.made.there(), 30):
            here, there = self.made.here(), self.made.there()
            raise AssertionError(
                f"{self.steps}: only here {here - there}, only there {there - here}"
            )

    def begin(self) -> None:
        to = self.draw.choice((EXEMPT, OTHER, INSPECTED))
        connection = self.made.connected(to)
        assert connection is not None
        self.open.append((to, connection))

    def half_open(self) -> None:
        connection = self.made.lab.socket(CLIENT)
        connection.setblocking(False)
        connection.connect_ex(DARK)
        if self.draw.random() < 0.5:
            self.open.append((DARK, connection))
        else:
            connection.close()

    def talk(self) -> None:
        for to, connection in self.open:
            if to != DARK:
                self._say(connection, b"NOOP\r\n")

    def close_by_client(self) -> None:
        for _, connection in self._taken():
            connection.close()

    def close_by_server(self) -> None:
        for to, connection in self._taken():
            if to != DARK:
                self._say(connection, b"QUIT\r\n")
            connection.close()

    def close_one_side(self) -> None:
        for to, connection in self.open[-1:]:
            if to != DARK:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)

    def reset_by_client(self) -> None:
        for _, connection in self._taken():
            reset(connection)

    def forged(self) -> None:
        for to, connection in self.open:
            if to != DARK:
                forge(self.made, connection, self.draw.choice((RST, FIN | ACK, RST | ACK)))

    def kill_client(self) -> None:
        to = self.draw.choice((EXEMPT, OTHER, INSPECTED))
        caller = self.made.lab.popen(CLIENT, ["python3", "-c", CALLER, to[0], str(to[1])])
        assert caller.stdout is not None
        assert caller.stdout.readline()
        caller.kill()
        caller.wait()

    def kill_server(self) -> None:
        for to, connection in self._taken():
            if to != DARK:
                process = self._say(connection, b"NOOP\r\n").split()[-1:]
                if process and process[0].isdigit():
                    self.made.lab.run(SERVER, ["kill", "-9", process[0].decode()])
                    self._say(connection, b"NOOP\r\n")
            connection.close()

    def restart(self) -> None:
        kill = self.draw.random() < 0.5
        self.steps.append("restart by kill" if kill else "restart")
        self.made.restart(kill=kill)
        self.talk()  # what is inspected is picked up by its next packet
        self._forget_ended()

    def _taken(self) -> list[tuple[tuple[str, int], socket.socket]]:
        if not self.open:
            return []
        return [self.open.pop(self.draw.randrange(len(self.open)))]

    def _forget_ended(self) -> None:
        """After a pause: those that have timed out are closed, which nobody hears of."""
        self.talk()

    @staticmethod
    def _say(connection: socket.socket, line: bytes) -> bytes:
        try:
            connection.sendall(line)
            return connection.recv(100)
        except OSError:
            return b""

    def finish(self) -> None:
        for _, connection in self.open:
            connection.close()
        self.open.clear()
        self.steps = ["the end"]
        self.compare()


STEPS = (
    Clients.begin,
    Clients.begin,
    Clients.begin,
    Clients.half_open,
    Clients.talk,
    Clients.close_by_client,
    Clients.close_by_server,
    Clients.close_one_side,
    Clients.reset_by_client,
    Clients.forged,
    Clients.kill_client,
    Clients.kill_server,
)


def run(lab: Lab, directory: Path, number: int, seed: int) -> Counter[str]:
    """Run so many scenarios; returns how often each step was done."""
    made = Filter(lab, directory, "500 400", SETTINGS)
    clients = Clients(made, random.Random(seed))
    done: Counter[str] = Counter()
    for _ in range(number):
        clients.scenario()
        done.update(clients.steps)
    clients.finish()
    assert made.running.complaints == []
    made.end()
    return done


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with orderly_end(), tempfile.TemporaryDirectory() as directory, Lab(offloads=False) as lab:
        done = run(lab, Path(directory), number, seed)
    print(f"{number} scenarios, seed {seed}: the counts were connection tracking's after each")
    for step, times in done.most_common():
        print(f"  {times:4} {step}")


if __name__ == "__main__":
    main()
