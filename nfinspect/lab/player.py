"""Plays a capture through the lab's filter: both hosts' packets, by one tcpreplay.

The server's interface moves to the client's namespace, so that one process sends both sides in the
capture's order. Neither has an address there, answers ARP or forwards, so the kernel keeps silent
whatever arrives::

    client                      filter
    eth0      - - - - - - - - - outside
    server0   - - - - - - - - - inside

A filter that routes sends whatever comes in on one interface out of the other, whatever its
address; its neighbours' link-layer addresses are fixed.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.sender import Turn, replaying, send, splitting
from nfinspect.lab.tap import Tap, TappedFrame
from nfinspect.lab.topology import (
    CABLES,
    CLIENT,
    FILTER,
    INSIDE,
    OUTSIDE,
    SERVER,
    LabError,
    full_name,
)

PROGRAMS = ("ip", "sysctl", "ethtool", "iptables", "tcpprep", "tcpreplay")
CLIENT_SIDE, SERVER_SIDE = "eth0", "server0"
TABLES = {OUTSIDE.name: 101, INSIDE.name: 102}
"""The routing table for what comes in on an interface."""

DECIDED_TIMEOUT = 2.0
"""Seconds that are waited, at most, until packets are decided."""
PATIENCE = 10
"""After so many times in vain, nothing is waited for."""
SETTLING = 0.3
"""Seconds of silence after which nothing more is expected."""


@dataclass(slots=True)
class Played:
    """What happened on the wires."""

    arrived: tuple[list[TappedFrame], list[TappedFrame]]
    """What came to the filter, from the client and from the server."""
    came_out: tuple[list[TappedFrame], list[TappedFrame]]
    """What left it, to the client and to the server."""
    undecided: list[int]
    """Packets, from 0, that were waited for in vain."""
    full: int = 0
    """Packets that the kernel dropped, as the queue was full."""
    unread: int = 0
    """Packets that the kernel dropped, as the filter did not read them fast enough."""


class Player:
    """A lab in which captures are played."""

    def __init__(self, lab: Lab, *, clients: Iterable[bytes], servers: Iterable[bytes]) -> None:
        """*clients*, *servers*: the addresses of the captured hosts."""
        self._lab = lab
        self._move()
        for name in (CLIENT_SIDE, SERVER_SIDE):
            lab.run(CLIENT, ["ip", "address", "flush", "dev", name])
            lab.run(CLIENT, ["sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1"])
            lab.run(CLIENT, ["ip", "link", "set", name, "arp", "off", "up"])
        if not lab.bridge:
            self._route(clients, servers)
        self._wait_for_carrier()

    def _move(self) -> None:
        """Move the server's interface. From outside, as programs in the lab do not see other
        namespaces."""
        there, here = (full_name(self._lab.prefix, name) for name in (SERVER, CLIENT))
        moving = ["ip", "-n", there, "link", "set", CLIENT_SIDE, "netns", here, "name", SERVER_SIDE]
        done = subprocess.run(moving, capture_output=True, text=True)
        if done.returncode != 0:
            raise LabError(f"the server's interface cannot be moved: {done.stderr.strip()}")

    def _route(self, clients: Iterable[bytes], servers: Iterable[bytes]) -> None:
        lines: dict[bool, list[str]] = {False: [], True: []}
        for (host, port), others in zip(CABLES, (clients, servers), strict=True):
            across = next(each for _, each in CABLES if each is not port)
            for family in (4, 6):
                to = lines[family == 6]
                via = next(a for a in host.addresses if (":" in a) is (family == 6))
                to.append(f"neigh replace {via} lladdr {host.mac} nud permanent dev {port.name}")
                table = TABLES[across.name]
                to.append(f"route add default via {via} dev {port.name} table {table}")
                to.append(f"rule add iif {across.name} lookup {table}")
                # By address, for packets of the filter's own.
                for text in sorted(str(ip_address(each)) for each in others):
                    if text != via and (":" in text) is (family == 6):
                        bits = 128 if family == 6 else 32
                        to.append(f"route replace {text}/{bits} via {via} dev {port.name}")
        for six, batch in lines.items():
            family_option = "-6" if six else "-4"
            text = "\n".join(batch) + "\n"
            self._lab.run(FILTER, ["ip", family_option, "-batch", "-"], input=text)

    def _wait_for_carrier(self) -> None:
        deadline = time.monotonic() + 5
        for where, names in (
            (CLIENT, (CLIENT_SIDE, SERVER_SIDE)),
            (FILTER, (OUTSIDE.name, INSIDE.name)),
        ):
            for name in names:
                while "LOWER_UP" not in self._lab.run(where, ["ip", "link", "show", name]).stdout:
                    if time.monotonic() > deadline:
                        raise LabError(f"{name} of {where} does not come up")
                    time.sleep(0.01)

    def play(self, file: Path, turns: Sequence[Turn], running: RunningFilter) -> Played:
        """Send all frames in *file* when it is their turn, and wait until the filter has decided
        them."""
        split, cache = splitting(file, CABLES[0][0].mac)
        self._lab.run(CLIENT, split)
        taps = [Tap(self._lab.socket, FILTER, port.name) for _, port in CABLES]
        for tap in taps:
            self._lab.at_close(tap.close)
        before = queue_counts(running.pid)
        awaiting = _DecidedPackets(running)
        argv = replaying(file, cache, CLIENT_SIDE, SERVER_SIDE)
        process = self._lab.popen(CLIENT, argv, stdin=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._lab.at_close(process.kill)
        send(process, turns, awaiting)
        self._settle(running)
        outside, inside = (tap.stop() for tap in taps)
        after = queue_counts(running.pid)
        return Played(
            (outside.came, inside.came),
            (outside.left, inside.left),
            awaiting.in_vain,
            full=after.full - before.full,
            unread=after.unread - before.unread,
        )

    def _settle(self, running: RunningFilter) -> None:
        """Wait until the queue has not changed for a while."""
        row, since = queue_counts(running.pid), time.monotonic()
        while time.monotonic() < since + SETTLING:
            time.sleep(0.01)
            now = queue_counts(running.pid)
            if now != row:
                row, since = now, time.monotonic()


class _DecidedPackets:
    """Waits until the filter of the lab has decided what was sent."""

    def __init__(self, running: RunningFilter) -> None:
        self.in_vain: list[int] = []
        """The last packets, from 0, of those that were not decided in time."""
        self._pid = running.pid
        self._base = queue_counts(running.pid)
        self._queued = 0
        self._held = 0

    def sent(self, turn: Turn) -> None:
        """Count a packet that is about to be sent."""
        self._queued += turn.queued
        self._held = turn.held if turn.queued else self._held

    def wait(self, position: int) -> None:
        """Wait until all are decided, the last of which is at *position*."""
        if len(self.in_vain) >= PATIENCE:
            return
        deadline = time.monotonic() + DECIDED_TIMEOUT
        while True:
            now = queue_counts(self._pid)
            if (
                now.number >= self._base.number + self._queued
                and now.waiting == self._base.waiting + self._held
            ):
                return
            if time.monotonic() > deadline:
                self.in_vain.append(position)
                self._base = now._replace(
                    number=now.number - self._queued, waiting=now.waiting - self._held
                )
                return
            time.sleep(0.0002)


class QueueCounts(NamedTuple):
    """The kernel's counts of the filter's queues."""

    waiting: int = 0
    full: int = 0
    unread: int = 0
    number: int = 0
    """Of packets that have been queued so far."""


def queue_counts(pid: int) -> QueueCounts:
    """The counts of all queues in the namespace of the filter *pid*."""
    rows = []
    for line in Path(f"/proc/{pid}/net/netfilter/nfnetlink_queue").read_text().splitlines():
        columns = [int(each) for each in line.split()]
        rows.append((columns[2], columns[5], columns[6], columns[7]))
    return QueueCounts(*map(sum, zip(*rows, strict=True)))
