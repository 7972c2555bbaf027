"""The connection table: who is open, who is remembered, and when the next one expires.

Laws: a full table refuses, it never evicts. A connection that inspection closed stays closed until
it has been quiet for ``Limits.closed_quiet`` seconds, whatever arrives for it. While connections
older than the filter may still be taken up, one that was seen to begin is remembered after its
end, so that it is never mistaken for an older one.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from nfinspect.packet.segment import reverse_key
from nfinspect.tcp.connection import Half, TcpConnection
from nfinspect.tcp.limits import Limits

LONGEST_PROMISE = 60.0
"""Seconds after which a connection is looked at in any case, so that the timers of connections
that have ended do not pile up."""


@dataclass(slots=True)
class Finished:
    """A connection whose FINs are acknowledged; its last packets may still be repeated."""

    next_numbers: tuple[int, int]
    """Behind the client's FIN, behind the server's."""
    fins: tuple[bool, bool]
    """Whether there was one; an RST may have been first."""
    until: float
    reset: bool = False
    """An RST has ended it, which the receiver may still challenge (RFC 5961 section 3.2)."""


@dataclass(slots=True)
class Remembered:
    """A connection that is over but must not be taken for a new or an older one."""

    last_seen: float
    closed_by_inspection: bool
    timer: int = 0


class Table:
    """Connections by the key of their packets, either way.

    Timers are one heap of (time, number, key). An entry is a promise to look again, no more:
    activity only moves ``last_seen``, and an entry that comes up too early is pushed again. Only
    the latest entry of a connection counts: its number is known there.
    """

    __slots__ = ("_order", "_timers", "closed", "finished", "halves", "limits", "remembered")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.halves: dict[bytes, Half] = {}
        self.finished: dict[bytes, Finished] = {}
        """By the client's key, the oldest first."""
        self.remembered: dict[bytes, Remembered] = {}
        """By the client's key."""
        self.closed = 0
        """How many of ``remembered`` inspection has closed."""
        self._timers: list[tuple[float, int, bytes]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self.halves) // 2

    @property
    def full(self) -> bool:
        return len(self.halves) // 2 + self.closed >= self.limits.connections

    def add(self, connection: TcpConnection) -> None:
        self.halves[connection.key] = connection.client
        self.halves[reverse_key(connection.key)] = connection.server
        self.watch(connection)

    def remove(self, connection: TcpConnection) -> None:
        del self.halves[connection.key]
        del self.halves[reverse_key(connection.key)]

    def holds(self, connection: TcpConnection) -> bool:
        return self.halves.get(connection.key) is connection.client

    def finish(self, connection: TcpConnection, now: float, *, reset: bool = False) -> None:
        """Keep of a finished connection what its last repetitions need. At the bound the oldest
        finished one is forgotten: its repetitions are then denied like any stray segment."""
        finished = self.finished
        while finished and (
            len(finished) >= self.limits.connections or next(iter(finished.values())).until <= now
        ):
            del finished[next(iter(finished))]
        client, server = connection.client, connection.server
        finished[connection.key] = Finished(
            (client.next, server.next),
            (client.fin is not None, server.fin is not None),
            now + self.limits.linger,
            reset,
        )

    def find_finished(self, key: bytes, now: float) -> tuple[Finished, bytes] | None:
        """The finished connection of these packets, with the client's key."""
        for client_key in (key, reverse_key(key)):
            finished = self.finished.get(client_key)
            if finished is not None and finished.until > now:
                return finished, client_key
        return None

    def remember(self, key: bytes, now: float, *, closed_by_inspection: bool) -> bool:
        """False if there is no room for one that merely ended (one that inspection closed was in
        the table, so there is room for it)."""
        if not closed_by_inspection and len(self.remembered) >= self.limits.connections:
            return False
        self.forget(key)
        known = self.remembered[key] = Remembered(now, closed_by_inspection)
        if closed_by_inspection:
            self.closed += 1
            known.timer = self._promise(now + self.limits.closed_quiet, key)
        return True

    def recall(self, key: bytes) -> Remembered | None:
        """The remembered connection that packets with this key, or its reverse, belong to."""
        if not self.remembered:
            return None
        return self.remembered.get(key) or self.remembered.get(reverse_key(key))

    def forget(self, key: bytes) -> None:
        known = self.remembered.pop(key, None)
        if known is not None and known.closed_by_inspection:
            self.closed -= 1

    def forget_ended(self) -> None:
        """Forget those that merely ended: nothing is taken up any more."""
        if len(self.remembered) > self.closed:
            self.remembered = {k: r for k, r in self.remembered.items() if r.closed_by_inspection}

    def watch(self, connection: TcpConnection) -> None:
        """Look at the connection when it expires, as things stand."""
        connection.timer = self._promise(
            min(connection.expires, connection.last_seen + LONGEST_PROMISE), connection.key
        )

    def _promise(self, when: float, key: bytes) -> int:
        self._order += 1
        heapq.heappush(self._timers, (when, self._order, key))
        return self._order

    def deadline(self) -> float | None:
        return self._timers[0][0] if self._timers else None

    def expired(self, now: float) -> TcpConnection | None:
        """The next connection that has timed out; it is still in the table. Remembered ones that
        have been quiet for long enough are forgotten on the way."""
        timers = self._timers
        while timers and timers[0][0] <= now:
            _, number, key = heapq.heappop(timers)
            half = self.halves.get(key)
            if half is not None:
                connection = half.connection
                if connection.timer != number:
                    continue
                if connection.expires <= now:
                    return connection
                connection.timer = self._promise(
                    min(connection.expires, now + LONGEST_PROMISE), key
                )
                continue
            known = self.remembered.get(key)
            if known is not None and known.closed_by_inspection and known.timer == number:
                quiet = known.last_seen + self.limits.closed_quiet
                if quiet <= now:
                    known.closed_by_inspection = False  # forgotten with those that merely ended
                    self.closed -= 1
                else:
                    known.timer = self._promise(quiet, key)
        return None
