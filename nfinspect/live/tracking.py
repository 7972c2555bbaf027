"""Connections that the kernel passes by itself and that limits count: connection tracking tells the engine
what becomes of them, by events, and by its whole table now and then.

Events come on a socket that the worker's loop reads in each round, for a bounded time. Only those of marked
connections get there (`rules.mark`): a filter in the kernel drops the others. If the socket overflows, messages
are lost; then, and every `PERIOD`, the whole table is read in a thread. That finds what events do not say: who is
still alive, and the end of connections that began while nobody listened, of which newer kernels tell nothing.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from struct import Struct
from time import monotonic
from typing import Protocol

from nfinspect.actions import Action
from nfinspect.live.aside import Aside
from nfinspect.live.conntrack import (
    CTA_TUPLE_ORIG,
    CTA_TUPLE_REPLY,
    CTA_ZONE,
    IPCTNL_MSG_CT_GET,
    NFNL_SUBSYS_CTNETLINK,
)
from nfinspect.live.netlink import (
    NETLINK_NETFILTER,
    NFGENMSG,
    NLA_F_NESTED,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    error_number,
    messages,
    request,
    walk,
)
from nfinspect.live.older import CTA_MARK, CTA_PROTOINFO, CTA_PROTOINFO_TCP, source, values
from nfinspect.rules.mark import MARK, MASK
from nfinspect.tcp.kernel_connection import Sighting, TrackedState

PERIOD = 10.0
"""Seconds between two looks at the whole table while connections are counted, or more: looks may take
`SHARE` of the time."""
SHARE = 1 / 50
SHORTEST = 1.0
"""Seconds, at least, between two looks, however often messages are lost."""
QUIET_PERIOD = 60.0
"""The same while none are."""

BUDGET = 0.005
"""Seconds for events in a round of the worker's loop, which comes ten times a second."""
RECEIVE_BUFFER = 8 * 1024 * 1024
"""Bytes requested for events that wait."""
REPORT_PERIOD = 60.0
"""Seconds, at least, between two notices of lost events."""
TIMEOUT = 10.0

# linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_tcp.h
NFNLGRP_NEW, NFNLGRP_UPDATE, NFNLGRP_DESTROY = 1, 2, 3
IPCTNL_MSG_CT_DELETE = 2
CTA_TIMEOUT, CTA_COUNTERS_ORIG, CTA_COUNTERS_REPLY, CTA_ID, CTA_MARK_MASK = 7, 9, 10, 12, 21
CTA_COUNTERS_PACKETS, CTA_COUNTERS_BYTES = 1, 2
CTA_STATE, CTA_FLAGS_ORIGINAL, CTA_FLAGS_REPLY = 1, 4, 5
SENT_FIRST_FIN = 4
HALF_CLOSED = (4, 5, 6)
"""FIN_WAIT, CLOSE_WAIT, LAST_ACK."""
STATES = {
    1: TrackedState.OPENING,
    2: TrackedState.ANSWERED,
    3: TrackedState.ESTABLISHED,
    **dict.fromkeys(HALF_CLOSED, TrackedState.ESTABLISHED),
    7: TrackedState.FINISHED,
    8: TrackedState.RESET,
    9: TrackedState.OPENING,
}
"""SYN_SENT, SYN_RECV, ESTABLISHED …, TIME_WAIT, CLOSE, SYN_SENT2."""

SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33
FILTER_STEP = Struct("=HBBI")
NLA, FIRST_ATTRIBUTE = 0xFFFF_F000 + 12, 20
"""Classic BPF's search for a netlink attribute, and where it begins."""
ONLY_MARKED = (
    (0x00, 0, 0, FIRST_ATTRIBUTE),  # A = where to search
    (0x01, 0, 0, CTA_MARK),  # X = what
    (0x20, 0, 0, NLA),  # A = where it is
    (0x15, 4, 0, 0),  # nowhere: drop
    (0x07, 0, 0, 0),  # X = A
    (0x40, 0, 0, 4),  # A = its value
    (0x45, 0, 1, MASK),
    (0x06, 0, 0, 0xFFFF_FFFF),  # keep
    (0x06, 0, 0, 0),  # drop
)

ACCOUNTING = Path("/proc/sys/net/netfilter/nf_conntrack_acct")
EVENTS = Path("/proc/sys/net/netfilter/nf_conntrack_events")

_WORD = Struct("!I")
_FILTER = Struct("@HP")


class Following(Protocol):
    """What is needed of the engine."""

    @property
    def passed(self) -> int:
        """Connections in the table that the kernel passes by itself."""

    def tell(self, sightings: Collection[Sighting], now: float) -> Sequence[Action]:
        """Connection tracking has told something of them."""

    def look(self, sightings: Collection[Sighting], since: float, now: float) -> Sequence[Action]:
        """All that it knows of them; it was asked at *since*."""

    def forgotten(self) -> list[bytes]:
        """Handles of entries that it must forget."""


class Tracking(Protocol):
    """Connection tracking: `KernelTracking`, or a stand-in in a test."""

    def events(self) -> Sighting | None:
        """The next event that waits; None if there is none. Raises OSError (ENOBUFS) if some were lost,
        ValueError if one cannot be read."""

    def table(self) -> list[Sighting]:
        """All marked entries. Raises OSError or ValueError."""

    def forget(self, handle: bytes) -> None:
        """Forget an entry."""

    def close(self) -> None:
        """Leave everything as it was found."""


class CountedByKernel:
    """Tells the engine."""

    def __init__(
        self,
        engine: Following,
        act: Callable[[Callable[[float], Sequence[Action]]], None],
        wanted: Callable[[], bool],
        report: Callable[[str], None],
        connect: Callable[[], Tracking] | None = None,
    ) -> None:
        """*act* does what the engine says, *wanted* tells whether the policy counts such connections."""
        self._engine = engine
        self._act = act
        self._wanted = wanted
        self._report = report
        self._connect = connect or KernelTracking
        self._source: Tracking | None = None
        self._impossible = False
        self._looking: Aside[tuple[float, float, list[Sighting]]] = Aside("conntrack")
        self._looked = float("-inf")
        """When the table was read last."""
        self._earliest = 0.0
        """When it may be read again."""
        self._wants_look = False
        """Without waiting for the period to pass."""
        self._over: set[int] = set()
        """Entries that ended while the table was being read."""
        self._next_notice = 0.0
        self._said = ""

    def begin(self) -> None:
        """Count what is open before the first packet."""
        if not self._wanted() or not self._open():
            return
        source = self._source
        assert source is not None
        try:
            taken = _read(source)
        except (OSError, ValueError) as error:
            self._failed(error)
        else:
            self._found(*taken)

    def serve(self) -> None:
        """Do what can be done without waiting."""
        source = self._source
        if source is None:
            if not self._impossible and self._wanted():
                self._open()
            return
        self._read_events(source)
        for handle in self._engine.forgotten():
            source.forget(handle)
        now = monotonic()
        if self._looking.busy:
            try:
                taken = self._looking.take()
            except (OSError, ValueError) as error:
                self._failed(error)
            else:
                if taken is not None:
                    self._found(*taken)
        elif now >= self._earliest and (self._wants_look or now >= self._looked + self._period):
            self._wants_look = False
            self._over.clear()
            self._looking.start(lambda: _read(source))

    def close(self) -> None:
        """Stop listening."""
        if self._source is not None:
            for handle in self._engine.forgotten():
                self._source.forget(handle)
            self._source.close()
            self._source = None
            self._impossible = True

    def _open(self) -> bool:
        try:
            self._source = self._connect()
        except OSError as error:
            self._impossible = True
            self._report(
                "warning: limits do not count connections that are not inspected: connection tracking does not"
                f" tell of them: {error}"
            )
        return self._source is not None

    def _read_events(self, source: Tracking) -> None:
        until = monotonic() + BUDGET
        sightings = []
        while True:
            try:
                sighting = source.events()
            except ValueError:
                self._wants_look = True
                continue
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._wants_look = True
                self._tell_loss()
                continue
            if sighting is None:
                break
            if sighting.state >= TrackedState.FINISHED and self._looking.busy:
                self._over.add(sighting.number)
            sightings.append(sighting)
            if monotonic() >= until:
                break
        if sightings:
            self._act(lambda now: self._engine.tell(sightings, now))

    @property
    def _period(self) -> float:
        return PERIOD if self._engine.passed else QUIET_PERIOD

    def _found(self, since: float, lasted: float, sightings: list[Sighting]) -> None:
        self._said = ""
        current = [each for each in sightings if each.number not in self._over]
        self._act(lambda now: self._engine.look(current, since, now))
        self._looked = monotonic()
        self._earliest = self._looked + max(SHORTEST, lasted / SHARE)

    def _failed(self, error: Exception) -> None:
        self._looked = monotonic()
        self._earliest = self._looked + PERIOD
        if str(error) != self._said:
            self._said = str(error)
            self._report(f"warning: connection tracking's table cannot be read: {error}")

    def _tell_loss(self) -> None:
        now = monotonic()
        if now >= self._next_notice:
            self._next_notice = now + REPORT_PERIOD
            self._report("notice: events of connection tracking were lost; its table is read again")


def _read(source: Tracking) -> tuple[float, float, list[Sighting]]:
    since = monotonic()
    sightings = source.table()
    return since, monotonic() - since, sightings


class KernelTracking:
    """Connection tracking of this namespace."""

    def __init__(self) -> None:
        """Raises OSError if it does not tell of its connections."""
        self._switches: list[Switch] = []
        self._events = _opened(socket.SOCK_NONBLOCK)
        self._asking = _opened(socket.SOCK_NONBLOCK)
        try:
            self._events.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            _attach(self._events)
            self._events.bind((0, 0))
            for group in (NFNLGRP_NEW, NFNLGRP_UPDATE, NFNLGRP_DESTROY):
                self._events.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        except OSError:
            self.close()
            raise
        self._switches = [Switch(ACCOUNTING), Switch(EVENTS)]

    def events(self) -> Sighting | None:
        while True:
            try:
                data = self._events.recv(1 << 14)
            except BlockingIOError:
                return None
            for kind, body in messages(data):
                gone = kind == NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE
                sighting = read_sighting(body, monotonic(), gone=gone)
                if sighting is not None:
                    return sighting

    def table(self) -> list[Sighting]:
        found = []
        marked = attribute(CTA_MARK, _WORD.pack(MARK)) + attribute(CTA_MARK_MASK, _WORD.pack(MASK))
        with _opened() as asked:
            asked.settimeout(TIMEOUT)
            for family in (socket.AF_INET, socket.AF_INET6):
                asked.send(
                    request(
                        NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, NLM_F_DUMP, marked, family=family
                    )
                )
                done = False
                while not done:
                    for kind, body in messages(asked.recv(1 << 16)):
                        if kind == NLMSG_DONE:
                            done = True
                        elif kind == NLMSG_ERROR:
                            raise OSError(error_number(body), "ctnetlink")
                        elif (sighting := read_sighting(body, monotonic())) is not None:
                            if sighting.state < TrackedState.FINISHED:
                                found.append(sighting)
        return found

    def forget(self, handle: bytes) -> None:
        deletion = request(
            NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE, 0, handle[1:], family=handle[0]
        )
        try:
            self._asking.send(deletion)
            while self._asking.recv(1 << 12):  # that it is gone already, say
                pass
        except OSError:
            pass

    def close(self) -> None:
        self._events.close()
        self._asking.close()
        for switch in self._switches:
            switch.put_back()


class Switch:
    """A setting of the kernel that is turned on, if it is off, and put back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = self._value() == "0" and self._set("1")

    def put_back(self) -> None:
        """Unless somebody else has changed it meanwhile."""
        if self._changed and self._value() == "1":
            self._set("0")

    def _value(self) -> str:
        try:
            return self._path.read_text().strip()
        except OSError:
            return ""

    def _set(self, value: str) -> bool:
        try:
            self._path.write_text(value)
        except OSError:  # idle times are then told from the entries' timeouts alone
            return False
        return True


def _opened(flags: int = 0) -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | flags, NETLINK_NETFILTER)


def _attach(opened: socket.socket) -> None:
    """Let only events of marked connections in."""
    import ctypes

    steps = b"".join(FILTER_STEP.pack(*step) for step in ONLY_MARKED)
    program = ctypes.create_string_buffer(steps, len(steps))
    described = _FILTER.pack(len(ONLY_MARKED), ctypes.addressof(program))
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)


def read_sighting(body: bytes, now: float, *, gone: bool = False) -> Sighting | None:
    """What a message says of a connection that is not inspected; None if it is of another one.

    Raises ValueError if the message is cut off, or does not say how the connection stands.
    """
    said = {kind: value for _, kind, value in walk(body[NFGENMSG.size :])}
    if not int.from_bytes(said.get(CTA_MARK, b"")) & MASK or CTA_TUPLE_ORIG not in said:
        return None
    tcp = values(values(said.get(CTA_PROTOINFO, b"")).get(CTA_PROTOINFO_TCP, b""))
    number = tcp.get(CTA_STATE, b"")[:1]
    state = TrackedState.GONE if gone else STATES.get(number[0] if number else 0)
    client, server = source(said[CTA_TUPLE_ORIG]), source(said.get(CTA_TUPLE_REPLY, b""))
    if client is None or server is None:
        return None
    if state is None:
        if CTA_PROTOINFO not in said:
            raise ValueError("conntrack entry without a state")
        return None
    key = client[0] + server[0] + client[1] + server[1]
    entry = attribute(CTA_TUPLE_ORIG | NLA_F_NESTED, said[CTA_TUPLE_ORIG])
    for kind in (CTA_ZONE, CTA_ID):
        if kind in said:
            entry += attribute(kind, said[kind])
    sighting = Sighting(key, int.from_bytes(said.get(CTA_ID, b"")), state, body[:1] + entry)
    for kind in (CTA_COUNTERS_ORIG, CTA_COUNTERS_REPLY):
        if kind in said:
            counters = values(said[kind])
            sighting.packets += int.from_bytes(counters.get(CTA_COUNTERS_PACKETS, b""))
            sighting.size += int.from_bytes(counters.get(CTA_COUNTERS_BYTES, b""))
    if CTA_TIMEOUT in said:
        sighting.due = now + int.from_bytes(said[CTA_TIMEOUT])
    sighting.client_closed = bool(tcp.get(CTA_FLAGS_ORIGINAL, b"\0")[0] & SENT_FIRST_FIN)
    sighting.server_closed = bool(tcp.get(CTA_FLAGS_REPLY, b"\0")[0] & SENT_FIRST_FIN)
    if number and number[0] in HALF_CLOSED and not sighting.server_closed:
        sighting.client_closed = True
    return sighting
