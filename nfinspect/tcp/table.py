"""The connection table: open connections, remembered ones, and when the next one expires.

A full table refuses new connections and never evicts. A connection that inspection closed stays
closed until no packet has arrived for ``Limits.closed_quiet`` seconds, or for
``Limits.closed_longest`` if packets keep arriving. While connections older than the filter may still
be picked up, any connection whose SYN was seen is remembered after its end, so that it is not
mistaken for an older one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from nfinspect.actions import DropReason
from nfinspect.events import REQUEST
from nfinspect.packet.segment import reverse_key
from nfinspect.tcp.admission import Admission
from nfinspect.tcp.connection import CLOSED, ESTABLISHED, OpenConnection, TcpConnection
from nfinspect.tcp.kernel_connection import KernelConnection
from nfinspect.tcp.limits import Limits
from nfinspect.tcp.stream import Stream
from nfinspect.tcp.timeouts import expires
from nfinspect.tcp.timers import Timers


@dataclass(slots=True)
class Finished:
    """A connection that has ended, whose last packets may still be retransmitted."""

    next_numbers: tuple[int, int]
    """The next sequence numbers of client and server, after any FIN."""
    offsets: tuple[int, int]
    """What is added to their sequence numbers (see `Stream.offset`)."""
    fins: tuple[bool, bool]
    """Whether client and server had sent a FIN; an RST may have come first."""
    until: float
    initial: int
    """The client's initial sequence number; `UNKNOWN` if its SYN was not seen."""
    reset: bool = False
    """It ended with an RST, which the receiver may still challenge (RFC 5961 section 3.2)."""
    outstanding: bool = True
    """Something may have been lost, so retransmissions are to be expected."""


@dataclass(slots=True)
class Remembered:
    """A connection that is over but must not be mistaken for one older than the filter, or, if
    inspection closed it, be opened again."""

    since: float
    closed_by_inspection: bool
    last_seen: float = 0.0
    timer: float = 0.0
    """When its timer is due."""

    def heard(self, now: float) -> None:
        """Another of its packets has arrived."""
        self.last_seen = now


class Table:
    """Connections by the key of their packets, in both directions.

    A packet only updates ``last_seen``; a timer that fires before its connection expires is set
    again.
    """

    __slots__ = (
        "_asked",
        "_timers",
        "admission",
        "closed",
        "closing",
        "expected",
        "finished",
        "limits",
        "passed",
        "refused",
        "remembered",
        "streams",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.admission = Admission()
        self.streams: dict[bytes, Stream] = {}
        self.finished: OrderedDict[bytes, Finished] = OrderedDict()
        """By the client's key, oldest first. (Removing the first key of a plain dict
        becomes slow after many removals.)"""
        self.remembered: dict[bytes, Remembered] = {}
        """By the client's key."""
        self.closing: dict[bytes, float] = {}
        """Open connections that inspection has closed, whose last replies are outstanding: when it
        did, by the client's key."""
        self.closed = 0
        """How many of ``remembered`` were closed by inspection."""
        self.expected: dict[bytes, TcpConnection] = {}
        """Connections older than the filter that count against limits although no packet of them has
        come yet; by the client's key."""
        self.passed: dict[bytes, KernelConnection] = {}
        """Those that the kernel passes by itself, by the client's key."""
        self.refused: dict[bytes, DropReason] = {}
        """Where nobody reacts: connections that a limit refused, whose packets go on, and
        why; by the client's key, oldest first."""
        self._asked: dict[bytes, int] = {}
        """How often the ends of an idle connection have been asked in vain, by the client's key."""
        self._timers = Timers()

    def __len__(self) -> int:
        return len(self.streams) // 2 + len(self.passed)

    @property
    def full(self) -> bool:
        return len(self) + self.closed >= self.limits.connections

    def add(self, connection: TcpConnection) -> None:
        if self.expected:
            self.expect_no_more(connection.key)
        self.streams[connection.key] = connection.client
        self.streams[reverse_key(connection.key)] = connection.server
        if connection.plan.scopes:
            self.admission.add(connection)
        self._set_timer(connection)

    def add_passed(self, connection: KernelConnection) -> None:
        """It is embryonic, and counted from now on."""
        if self.expected:
            self.expect_no_more(connection.key)
        self.passed[connection.key] = connection
        self.admission.add(connection)
        connection.timer = connection.created + connection.plan.timeouts.embryonic
        self._timers.set(connection.key, connection.timer)

    def establish_passed(self, connection: KernelConnection) -> None:
        """Its handshake is complete; from now on it is up to the driver to find out that it is idle."""
        self.admission.establish(connection)
        self._timers.cancel(connection.key, connection.timer)

    def remove_passed(self, connection: KernelConnection) -> None:
        del self.passed[connection.key]
        self.admission.take_back(connection)
        self._timers.cancel(connection.key, connection.timer)

    def find_passed(self, key: bytes) -> KernelConnection | None:
        """The connection passed by the kernel that packets with this key or its reverse belong to."""
        if not self.passed:
            return None
        return self.passed.get(key) or self.passed.get(reverse_key(key))

    def expect(self, connection: TcpConnection) -> None:
        """Count an established connection before its first packet."""
        self.admission.add(connection)
        self.admission.establish(connection)
        self.expected[connection.key] = connection

    def expect_no_more(self, key: bytes) -> None:
        """Count it no more, if it was expected: it is picked up, begins anew, or is over."""
        connection = self.expected.pop(key, None)
        if connection is not None:
            self.admission.take_back(connection)

    def establish(self, connection: TcpConnection) -> None:
        """Its handshake is complete, or it was picked up: its phase is past embryonic."""
        if connection.plan.scopes:
            self.admission.establish(connection)
        self.set_timer(connection)

    def close(self, connection: TcpConnection, now: float) -> None:
        """Inspection has closed it; it stays while replies are outstanding, and counts no more."""
        if connection.plan.scopes:
            self.admission.take_back(connection)
        self.closing[connection.key] = now
        self.set_timer(connection)

    def remove(self, connection: TcpConnection) -> None:
        del self.streams[connection.key]
        del self.streams[reverse_key(connection.key)]
        if connection.plan.scopes and connection.phase is not CLOSED:
            self.admission.take_back(connection)
        self._timers.cancel(connection.key, connection.timer)
        if self.closing:
            self.closing.pop(connection.key, None)
        if self._asked:
            self._asked.pop(connection.key, None)

    def connections(self) -> list[TcpConnection]:
        """All connections in the table."""
        return [
            stream.connection for stream in self.streams.values() if stream.direction is REQUEST
        ]

    def holds(self, connection: TcpConnection) -> bool:
        return self.streams.get(connection.key) is connection.client

    def finish(
        self,
        connection: TcpConnection,
        now: float,
        *,
        reset: bool = False,
        outstanding: bool = True,
    ) -> None:
        """Keep what is needed to recognise a finished connection's last retransmissions. At the
        bound the oldest entry is forgotten: its retransmissions are then denied as stray
        segments."""
        finished = self.finished
        while finished and (
            len(finished) >= self.limits.connections or next(iter(finished.values())).until <= now
        ):
            finished.popitem(last=False)
        finished.pop(connection.key, None)
        client, server = connection.client, connection.server
        finished[connection.key] = Finished(
            (client.next, server.next),
            (client.offset, server.offset),
            (client.fin is not None, server.fin is not None),
            now + self.limits.linger,
            client.initial,
            reset,
            outstanding,
        )

    def find_finished(self, key: bytes, now: float) -> tuple[Finished, bytes] | None:
        """The finished connection that packets with this key belong to, and the client's key."""
        for client_key in (key, reverse_key(key)):
            finished = self.finished.get(client_key)
            if finished is not None and finished.until > now:
                return finished, client_key
        return None

    def remember(self, key: bytes, now: float, *, closed_by_inspection: bool) -> bool:
        """Remember a connection that is over. False if there is no room; for one that inspection
        closed there always is, as it was in the table."""
        if not closed_by_inspection and len(self.remembered) >= self.limits.connections:
            return False
        self.forget(key)
        known = self.remembered[key] = Remembered(now, closed_by_inspection, now)
        if closed_by_inspection:
            self.closed += 1
            known.timer = now + self.limits.closed_quiet
            self._timers.set(key, known.timer)
        return True

    def closed_connections(self) -> Iterator[tuple[bytes, float]]:
        """The client's key of each connection that inspection has closed and that is still to be
        kept closed, and since when."""
        yield from self.closing.items()
        for key, known in self.remembered.items():
            if known.closed_by_inspection:
                yield key, known.since

    def restore_closed(self, key: bytes, since: float, now: float) -> bool:
        """Remember a connection that inspection closed in an earlier run, as if its latest packet
        had just come. False if there is no room."""
        if self.full:
            return False
        self.remember(key, now, closed_by_inspection=True)
        self.remembered[key].since = since
        return True

    def refuse(self, key: bytes, reason: DropReason) -> None:
        """Remember that the connection which packets with this key would open was refused; the
        oldest is forgotten at the bound."""
        if len(self.refused) >= max(1, self.limits.connections):
            del self.refused[next(iter(self.refused))]
        self.refused[key] = reason

    def refused_for(self, key: bytes) -> DropReason | None:
        """Why the connection was refused that packets with this key, or its reverse, belong to;
        None if it was not."""
        refused = self.refused
        if not refused:
            return None
        return refused.get(key) or refused.get(reverse_key(key))

    def recall(self, key: bytes) -> Remembered | None:
        """The remembered connection that packets with this key or its reverse belong to."""
        if not self.remembered:
            return None
        return self.remembered.get(key) or self.remembered.get(reverse_key(key))

    def forget(self, key: bytes) -> None:
        known = self.remembered.pop(key, None)
        if known is not None and known.closed_by_inspection:
            self.closed -= 1
            self._timers.cancel(key, known.timer)

    def forget_ended(self) -> None:
        """Forget all but those closed by inspection: older connections are no longer picked up."""
        if len(self.remembered) > self.closed:
            self.remembered = {k: r for k, r in self.remembered.items() if r.closed_by_inspection}

    def set_timer(self, connection: TcpConnection) -> None:
        """Set a timer for when the connection will expire without further packets."""
        self._timers.cancel(connection.key, connection.timer)
        self._set_timer(connection)

    def _set_timer(self, connection: TcpConnection) -> None:
        connection.timer = expires(connection)
        self._timers.set(connection.key, connection.timer)

    def times_asked(self, connection: TcpConnection) -> int:
        """How often its ends have been asked whether they are alive, in vain."""
        return self._asked.get(connection.key, 0)

    def ask_again(self, connection: TcpConnection, when: float) -> None:
        """Its ends have been asked; it is looked at again at *when*."""
        self._asked[connection.key] = self._asked.get(connection.key, 0) + 1
        connection.timer = when
        self._timers.set(connection.key, when)

    def deadline(self) -> float | None:
        return self._timers.deadline()

    def expired(self, now: float, *, picking_up: bool) -> OpenConnection | None:
        """The next connection that has timed out; the caller removes it. Also lets go of remembered
        connections that have been quiet for long enough, but not entirely while older connections
        are still ``picking_up``."""
        while (due := self._timers.take(now)) is not None:
            when, key = due
            stream = self.streams.get(key)
            if stream is not None:
                connection = stream.connection
                if connection.timer == when:
                    if expires(connection) <= now:
                        return connection
                    if self._asked:
                        self._asked.pop(key, None)
                    self._set_timer(connection)
                continue
            passed = self.passed.get(key)
            if passed is not None:
                if passed.timer == when and passed.phase < ESTABLISHED:
                    return passed
                continue
            known = self.remembered.get(key)
            if known is not None and known.closed_by_inspection and known.timer == when:
                quiet = min(
                    known.last_seen + self.limits.closed_quiet,
                    known.since + self.limits.closed_longest,
                )
                if quiet <= now:
                    self.forget(key)
                    if picking_up:
                        self.remembered[key] = Remembered(now, closed_by_inspection=False)
                else:
                    known.timer = quiet
                    self._timers.set(key, quiet)
        return None
