"""Attacks played over a network to a Linux server that records what it reads.

The packets leave the client's namespace as raw frames, from addresses that its kernel does not own,
so the kernel does not answer for them. A packet whose TTL is too small is dropped just before the
server, as it would expire on a longer path.
"""

from __future__ import annotations

import contextlib
import queue
import selectors
import socket
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import (
    CABLES,
    CLIENT,
    FILTER,
    SERVER,
    SERVER_ADDRESS,
    SERVER_ADDRESS6,
)
from tests.attacks.mail import GREETING, Mail
from tests.attacks.model import CLIENT as ADDRESSES
from tests.attacks.model import HOPS, client_of, renew, steps_of
from tests.attacks.script import (
    ACK,
    RST,
    Expect,
    Origin,
    Reconnect,
    Script,
    Segment,
    Send,
    Step,
    Wait,
    expected_of,
    read,
)

PARALLEL = 24
"""Attacks that run at the same time."""
PATIENCE = 5.0
"""Seconds to wait for an answer that must come; normally it takes less than a tenth of that."""
UNFILTERED_PATIENCE = 0.8
"""The same without the filter, when the answer need not come."""
SETTLED = 0.1
"""After this many seconds without news, nothing more is expected."""
FIRST_PORT = 20_000

_ALL_PROTOCOLS, _OUTGOING = 3, 4  # linux/if_ether.h, linux/if_packet.h


class Recorder:
    """The mail server: one thread for any number of connections."""

    def __init__(self, lab: Lab) -> None:
        self.mails: dict[int, list[Mail]] = defaultdict(list)
        """The connections from each client port, in order."""
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        for family, address in (
            (socket.AF_INET, SERVER_ADDRESS),
            (socket.AF_INET6, SERVER_ADDRESS6),
        ):
            listener = lab.socket(SERVER, family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, 25))
            listener.listen(512)
            self._selector.register(listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select(0.1):
                if key.data is None:
                    self._accept(key.fileobj)
                else:
                    self._read(key.fileobj, key.data)

    def _accept(self, listener: socket.socket) -> None:
        connection, peer = listener.accept()
        # The attacker sends no bare ACKs, so Nagle's algorithm would delay replies.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        mail = Mail()
        self.mails[peer[1]].append(mail)
        self._selector.register(connection, selectors.EVENT_READ, mail)
        with contextlib.suppress(OSError):
            connection.sendall(GREETING)

    def _read(self, connection: socket.socket, mail: Mail) -> None:
        try:
            data = connection.recv(1 << 16)
            connection.sendall(mail.feed(data))
        except OSError:
            data = b""
        if not data or mail.over:
            self._selector.unregister(connection)
            connection.close()

    def stop(self) -> None:
        self._stopping = True
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()


class Wire:
    """The attacker's network interface."""

    def __init__(self, lab: Lab) -> None:
        self.inboxes: dict[int, queue.SimpleQueue[Segment]] = {}
        self._own, self._gateway = (bytes.fromhex(end.mac.replace(":", "")) for end in CABLES[0])
        self._socket = lab.socket(CLIENT, socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind(("eth0", _ALL_PROTOCOLS))
        self._socket.settimeout(0.1)
        self._stopping = False
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def send(self, datagram: bytes) -> None:
        kind = b"\x08\x00" if datagram[0] >> 4 == 4 else b"\x86\xdd"
        self._socket.send(self._gateway + self._own + kind + datagram)

    def _receive(self) -> None:
        while not self._stopping:
            try:
                frame, address = self._socket.recvfrom(1 << 16)
            except TimeoutError:
                continue
            if address[2] == _OUTGOING or frame[12:14] not in (b"\x08\x00", b"\x86\xdd"):
                continue
            packet = read(frame[14:])
            if packet is not None and packet.destination[0] in ADDRESSES.values():
                inbox = self.inboxes.get(packet.destination[1])
                if inbox is not None:
                    inbox.put(packet)

    def stop(self) -> None:
        self._stopping = True
        self._thread.join()
        self._socket.close()


class AttackLab:
    """The lab, prepared for attacks."""

    def __init__(self, lab: Lab) -> None:
        mac = CABLES[0][0].mac
        for address in ADDRESSES.values():
            text = socket.inet_ntop(
                socket.AF_INET if len(address) == 4 else socket.AF_INET6, address
            )
            neighbour = f"ip neigh replace {text} lladdr {mac} dev outside nud permanent"
            lab.run(FILTER, neighbour.split())
        # If a router sends a forged packet back where it came from, it also sends a redirect to the
        # supposed sender, which must ignore it.
        lab.run(SERVER, ["sysctl", "-qw", "net.ipv6.conf.all.accept_redirects=0"])
        lab.run(SERVER, ["sysctl", "-qw", "net.ipv6.conf.eth0.accept_redirects=0"])
        for program, match in (("iptables", "ttl --ttl-lt"), ("ip6tables", "hl --hl-lt")):
            rule = f"{program} -t mangle -A PREROUTING -p tcp --dport 25 -m {match} {HOPS} -j DROP"
            lab.run(SERVER, rule.split())
        self.recorder = Recorder(lab)
        self.wire = Wire(lab)

    def close(self) -> None:
        self.wire.stop()
        self.recorder.stop()

    def run(
        self,
        cases: dict[str, tuple[Script, int]],
        *,
        filtered: bool,
        first_port: int = FIRST_PORT,
    ) -> dict[str, tuple[list[Mail], str]]:
        """Perform the attacks from these ports. Return, by name, what the server has read, and what went
        wrong."""
        self.recorder.mails.clear()
        ports: dict[str, int] = {}
        for number, (name, (script, _)) in enumerate(cases.items()):
            ports[name] = script.port or first_port + number
        alone = [name for name, (script, _) in cases.items() if script.port]
        together = [name for name in cases if name not in alone]
        found: dict[str, tuple[list[Mail], str]] = {}

        def perform(name: str) -> None:
            script, family = cases[name]
            attack = _Attack(self, script, family, ports[name], filtered=filtered)
            found[name] = attack.run()

        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(perform, together))
        for name in alone:  # the recorder distinguishes connections only by port
            perform(name)
        return found


class _Attack:
    def __init__(
        self, attack_lab: AttackLab, script: Script, family: int, port: int, *, filtered: bool
    ) -> None:
        self._attack_lab, self._script, self._filtered = attack_lab, script, filtered
        self._client = client_of(script, family, port)
        self._first_initial = self._client.initial
        self._inbox: queue.SimpleQueue[Segment] = queue.SimpleQueue()
        attack_lab.wire.inboxes[port] = self._inbox
        self._before = len(attack_lab.recorder.mails[port])

    @property
    def _mails(self) -> list[Mail]:
        return self._attack_lab.recorder.mails[self._client.port][self._before :]

    def run(self) -> tuple[list[Mail], str]:
        complaint = ""
        try:
            for step in steps_of(self._script):
                self._step(step)
        except AssertionError as error:
            complaint = str(error)
        self._settle()
        mails = self._mails
        self._receive_pending()
        if self._client.server_next is not None:
            # An RST with exactly this number ends the connection for the server and the filter.
            at = self._client.server_next - self._client.initial - 1 - self._client.base
            self._client.stamps = None
            for datagram in self._client.build(Send(flags=RST, at=at)):
                self._attack_lab.wire.send(datagram)
        del self._attack_lab.wire.inboxes[self._client.port]
        return mails, complaint

    def _step(self, step: Step) -> None:
        match step:
            case Send():
                if not step.before_answer:
                    self._receive_pending()
                for datagram in self._client.build(step):
                    self._attack_lab.wire.send(datagram)
            case Expect():
                self._expect(step)
            case Wait(seconds):
                time.sleep(seconds)
            case Origin():
                self._client.base = self._client.next
            case Reconnect(higher):
                self._receive_pending()
                renew(self._client, self._script, higher)

    def _receive_pending(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._receive(self._inbox.get_nowait())

    def _receive(self, packet: Segment) -> None:
        self._client.receive(packet)
        if not self._client.replies and self._client.asked_by(packet):
            for datagram in self._client.build(Send(flags=ACK)):
                self._attack_lab.wire.send(datagram)

    def _expect(self, expected: Expect) -> None:
        if not self._filtered:
            expected = Expect(b"" if not expected.code else b"ANY", expected.end)
        deadline = time.monotonic() + (PATIENCE if self._filtered else UNFILTERED_PATIENCE)
        while not self._has_received(expected):
            try:
                packet = self._inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                assert not self._filtered, (
                    f"{expected} not received: {bytes(self._client.replies)!r}"
                )
                return
            self._receive(packet)

    def _has_received(self, expected: Expect) -> bool:
        if expected.code == b"ANY":
            end = self._client.replies.find(b"\r\n", self._client.checked)
            if end < 0:
                return False
            self._client.checked = end + 2
            return True
        return self._client.has_received(expected)

    def _settle(self) -> None:
        """Wait until the server has read what it should, and then a moment for what it should not;
        without the filter, until nothing more arrives."""
        deadline = time.monotonic() + PATIENCE
        expected = expected_of(self._script)
        while self._filtered and self._read() != expected and time.monotonic() < deadline:
            time.sleep(0.01)
        before = None
        while before != self._read():
            before = self._read()
            time.sleep(SETTLED)

    def _read(self) -> tuple[bytes, ...]:
        return tuple(bytes(mail.read) for mail in self._mails)
