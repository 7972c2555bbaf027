"""Plays captures through a filter on another machine, between two network cards of this one.

::

    this machine                 the filter's
    client's card  ------------  outside
    server's card  ------------  inside

While it lasts, both cards are in a network namespace of their own: without addresses, ARP, IPv6 and
offloads, so this machine answers nothing. Then they are given back.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nfinspect.lab.namespaces import socket_in
from nfinspect.lab.player import Played
from nfinspect.lab.sender import Turn, replaying, send, splitting
from nfinspect.lab.tap import Tap, TappedFrame
from nfinspect.lab.topology import OFFLOADS, LabError, require_programs, require_root

PROGRAMS = ("ip", "sysctl", "ethtool", "tcpprep", "tcpreplay")
CARRIER_TIMEOUT = 10.0
"""Seconds that a card is given to find its partner."""
ANSWER_TIMEOUT = 1.0
"""Seconds that are waited for what should come of a packet."""
PATIENCE = 10
"""After so many times in vain, nothing is waited for."""
SETTLING = 1.0
"""Seconds of silence after which nothing more is expected."""


class Wires(AbstractContextManager["Wires"]):
    """The two cards, for the duration of a ``with`` block."""

    def __init__(self, client: str, server: str) -> None:
        """*client*, *server*: the interfaces that stand for either side.

        Raises LabError if one of them is missing, or in use.
        """
        require_root()
        require_programs(*PROGRAMS)
        if client == server:
            raise LabError(f"{client} cannot be both sides: name two interfaces")
        self.names = client, server
        self.macs = tuple(_mac(_free(name)) for name in self.names)
        """Their link-layer addresses."""
        self._namespace = f"nfinspect-wires-{os.getpid()}"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            _run("ip", "netns", "add", self._namespace)
            # Deleting it gives real cards back, too, should the next step fail.
            stack.callback(_run, "ip", "netns", "delete", self._namespace)
            for name in self.names:
                _run("ip", "link", "set", name, "netns", self._namespace)
                stack.callback(self._give_back, name)
                self._silence(name)
            for name in self.names:
                self._wait_for_carrier(name)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _inside(self, *argv: str) -> list[str]:
        return ["ip", "netns", "exec", self._namespace, *argv]

    def _silence(self, name: str) -> None:
        _run(*self._inside("sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1"))
        for offload in OFFLOADS:  # not every card has each of them
            argv = self._inside("ethtool", "-K", name, offload, "off")
            subprocess.run(argv, capture_output=True)
        _run(*self._inside("ip", "link", "set", name, "arp", "off", "up"))

    def _give_back(self, name: str) -> None:
        _run(*self._inside("ip", "link", "set", name, "down", "arp", "on"))
        _run("ip", "-n", self._namespace, "link", "set", name, "netns", str(os.getpid()))

    def _wait_for_carrier(self, name: str) -> None:
        deadline = time.monotonic() + CARRIER_TIMEOUT
        while "LOWER_UP" not in _run(*self._inside("ip", "link", "show", name)):
            if time.monotonic() > deadline:
                raise LabError(f"{name} has no carrier: is its cable plugged in at both ends?")
            time.sleep(0.05)

    def _socket(self, where: str, family: int, kind: int) -> socket.socket:
        return socket_in(where, family, kind)

    def play(self, file: Path, turns: Sequence[Turn]) -> Played:
        """Send all frames in *file* when it is their turn, and wait until nothing more comes."""
        split, cache = splitting(file, self.macs[0])
        _run(*split)
        taps = [Tap(self._socket, self._namespace, name) for name in self.names]
        for tap in taps:
            self._stack.callback(tap.close)
        awaiting = _Answers(taps)
        process = subprocess.Popen(
            self._inside(*replaying(file, cache, *self.names)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._stack.callback(process.kill)
        send(process, turns, awaiting)
        _settle(taps)
        client, server = (tap.stop() for tap in taps)
        return Played((client.left, server.left), (client.came, server.came), awaiting.in_vain)


class _Answers:
    """Waits until as many packets have come out of the filter as should by then."""

    def __init__(self, taps: Sequence[Tap]) -> None:
        self.in_vain: list[int] = []
        """The last packets, from 0, of those after which less came."""
        self._taps = taps
        self._seen = [0 for _ in taps]
        self._came = 0
        self._expected = 0
        self._missing = 0

    def sent(self, turn: Turn) -> None:
        """Count a packet that is about to be sent."""
        self._expected = turn.out

    def wait(self, position: int) -> None:
        """Wait until what should have come has come."""
        if len(self.in_vain) >= PATIENCE:
            return
        deadline = time.monotonic() + ANSWER_TIMEOUT
        while self._count() + self._missing < self._expected:
            if time.monotonic() > deadline:
                self.in_vain.append(position)
                self._missing = self._expected - self._came
                return
            time.sleep(0.0005)

    def _count(self) -> int:
        for number, tap in enumerate(self._taps):
            came = tap.frames.came
            new = came[self._seen[number] :]
            self._seen[number] += len(new)
            self._came += sum(map(_begins_datagram, new))
        return self._came


def _begins_datagram(frame: TappedFrame) -> bool:
    """Whether it holds a TCP datagram, or the first fragment of one."""
    kind, datagram = frame.data[12:14], frame.data[14:]
    if kind == b"\x08\x00":
        return datagram[9] == socket.IPPROTO_TCP and not (datagram[6] & 0x1F or datagram[7])
    if kind != b"\x86\xdd":
        return False
    header = datagram[6] or datagram[40]  # behind hop-by-hop options
    if header == socket.IPPROTO_FRAGMENT:
        return not (datagram[42] or datagram[43] & 0xF8)
    return header != socket.IPPROTO_ICMPV6


def _settle(taps: Sequence[Tap]) -> None:
    seen, since = -1, time.monotonic()
    while time.monotonic() < since + SETTLING:
        now = sum(len(tap.frames.came) for tap in taps)
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.02)


def _free(name: str) -> dict[str, Any]:
    """What `ip` says of the interface; raises LabError if anything uses it."""
    done = subprocess.run(
        ["ip", "-json", "address", "show", "dev", name], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise LabError(f"there is no interface {name} (ip link lists them)")
    link: dict[str, Any] = json.loads(done.stdout)[0]
    addresses = [each["local"] for each in link["addr_info"] if each["scope"] != "link"]
    if addresses:
        raise LabError(
            f"{name} has an address ({', '.join(addresses)}): choose a card that nothing else uses,"
            f" or take it away first: ip address flush dev {name}"
        )
    if "master" in link:
        raise LabError(f"{name} belongs to {link['master']}: ip link set {name} nomaster")
    return link


def _mac(link: dict[str, Any]) -> str:
    if link.get("link_type") != "ether":
        raise LabError(f"{link['ifname']} is no Ethernet interface")
    return str(link["address"])


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
