"""Finds, through connection tracking (ctnetlink), the addresses with which to send a packet.

The packets in the queue, and those that the engine makes, are as in FORWARD: the destination is
already translated (DNAT), the source not yet (SNAT). Sent like that, a packet would be translated
wrongly, or not belong to the connection at all. Sent as it would have *arrived*, with the
destination before translation, it passes OUTPUT and POSTROUTING like every packet of its
connection, whatever NAT does there.

A conntrack entry has both directions as they arrive, and can be looked up by either. If only one
end is translated, one of the directions is what the queue shows. If both are, the destination is
guessed from other connections to the same server, or searched for in the whole table.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from struct import Struct
from time import monotonic
from typing import NamedTuple

from nfinspect.live.netlink import (
    NETLINK_NETFILTER,
    NFGENMSG,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    error_number,
    messages,
    nested,
    request,
    walk,
)
from nfinspect.packet.segment import TCP_PROTOCOL, reverse_key

NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_GET = 1

# linux/netfilter/nfnetlink_conntrack.h
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_ZONE, CTA_FILTER = 1, 2, 18, 25
CTA_TUPLE_IP, CTA_TUPLE_PROTO, CTA_TUPLE_ZONE = 1, 2, 3
CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST = 1, 2, 3, 4
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS = 1, 2

PORTS, SOURCES = (Struct("=I").pack(1 << 3 | 1 << 4 | address) for address in (0, 1))
"""What a search compares: protocol and source port, and for IPv4 the source address too (for IPv6
the kernel, at least up to 6.18, finds all addresses but the one given)."""

TIMEOUT = 0.5
"""Seconds; the kernel answers at once."""

SEARCH_PERIOD = 1.0
"""Seconds between two searches: one takes about 15 ms, even if the table is empty."""

UNTRACKED_PERIOD = 60.0
"""Seconds for which connections between two addresses are taken to be untracked."""


class Origin(NamedTuple):
    """The addresses with which a packet must be sent."""

    key: bytes
    """Its ends, as in ``Segment.key``."""
    tracked: bool
    """False: connection tracking does not know the connection, and must not learn of it."""


class Conntrack:
    """Looks up origins, and caches them for a while."""

    LIMIT = 1024
    """Entries in each cache; when full, it is cleared."""

    def __init__(self) -> None:
        """Raises OSError if netfilter netlink is not available."""
        self._socket = _opened()
        self._known: dict[bytes, Origin | None] = {}
        self._destinations: dict[_End, set[_End]] = {}
        """For each server, the addresses and ports by which clients address it."""
        self._untracked: dict[bytes, float] = {}
        """By addresses: until when they count as untracked."""
        self._search_after = 0.0

    def origin(self, key: bytes, *, from_client: bool) -> Origin | None:
        """Return how to send a packet that the queue would show with *key*; None if unknown.

        Then it must not be sent: with wrong addresses, its receiver would answer with an RST.
        """
        if key not in self._known:
            if len(self._known) >= self.LIMIT:
                self.forget()
            try:
                self._known[key] = self._find(key, key if from_client else reverse_key(key))
            except (OSError, ValueError):
                self._known[key] = None
                self._renew()
        return self._known[key]

    def forget(self) -> None:
        """Clear the cache, as ports are reused."""
        self._known.clear()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _find(self, key: bytes, request: bytes) -> Origin | None:
        """*request* is the key of packets from the client."""
        entry = self._entry(key) or self._entry(reverse_key(key)) or self._guess(request)
        if entry is None:
            now = monotonic()
            if self._untracked.get(request[:-4], 0.0) <= now:
                if now < self._search_after:
                    return None
                self._search_after = now + SEARCH_PERIOD
                entry = self._search(request)
                if entry is None:
                    if len(self._untracked) >= self.LIMIT:
                        self._untracked.clear()
                    self._untracked[request[:-4]] = now + UNTRACKED_PERIOD
        if entry is None:
            return Origin(key, False)
        self._learn(entry)
        return entry.towards(key)

    def _guess(self, request: bytes) -> _Entry | None:
        server = _source(reverse_key(request))
        for address, port in self._destinations.get(server, ()):
            half = len(address)
            entry = self._entry(request[:half] + address + request[-4:-2] + port)
            if entry is not None and entry.joins(request):
                return entry
        return None

    def _learn(self, entry: _Entry) -> None:
        server, addressed = _source(entry.reply), _source(reverse_key(entry.original))
        if server == addressed:
            return
        if sum(map(len, self._destinations.values())) >= self.LIMIT:
            self._destinations.clear()
        self._destinations.setdefault(server, set()).add(addressed)

    def _entry(self, key: bytes) -> _Entry | None:
        """The entry in which *key* is one of the directions as they arrive."""
        for body in self._ask(key, 0, _tuple(CTA_TUPLE_ORIG, key)):
            return _Entry.read(body)
        return None

    def _search(self, request: bytes) -> _Entry | None:
        """Search for the entry of the connection that the source of *request* opened and that its
        destination answers (needs Linux 5.8)."""
        flags = SOURCES if len(request) == 12 else PORTS
        found = None
        for body in self._ask(
            request,
            NLM_F_DUMP,
            _tuple(CTA_TUPLE_ORIG, request),
            _tuple(CTA_TUPLE_REPLY, reverse_key(request)),
            nested(
                CTA_FILTER,
                attribute(CTA_FILTER_ORIG_FLAGS, flags),
                attribute(CTA_FILTER_REPLY_FLAGS, flags),
            ),
        ):
            entry = _Entry.read(body)
            if entry.original[-4:-2] != request[-4:-2]:
                raise ValueError("an older kernel, which ignores the search filter")
            if entry.joins(request):
                found = entry
        return found

    def _ask(self, key: bytes, flags: int, *attributes: bytes) -> Iterator[bytes]:
        """Yield the bodies of the entries in the answer. Raises OSError if it is an error."""
        family = socket.AF_INET if len(key) == 12 else socket.AF_INET6
        words = b"".join(attributes)
        self._socket.send(
            request(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, flags, words, family=family)
        )
        while True:
            for kind, body in messages(self._socket.recv(64 * 1024)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    number = error_number(body)
                    if number != errno.ENOENT:
                        raise OSError(number, "ctnetlink")
                    return
                yield body
            if not flags & NLM_F_DUMP:
                return

    def _renew(self) -> None:
        """Replace the socket, to discard the rest of an answer."""
        self._socket.close()
        self._socket = _opened()


def _opened() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    opened.settimeout(TIMEOUT)
    return opened


_End = tuple[bytes, bytes]
"""Address and port."""


class _Entry(NamedTuple):
    """An entry of the table: both directions as they arrive."""

    original: bytes
    reply: bytes
    default_zone: bool

    @classmethod
    def read(cls, body: bytes) -> _Entry:
        """Read an IPCTNL_MSG_CT_NEW.

        Raises ValueError if something is missing.
        """
        values = {kind: value for _, kind, value in walk(body[NFGENMSG.size :])}
        try:
            directions = [_key(values[kind]) for kind in (CTA_TUPLE_ORIG, CTA_TUPLE_REPLY)]
        except KeyError as error:
            raise ValueError("conntrack entry without both directions") from error
        zones = CTA_ZONE in values or any(zone for _, zone in directions)
        return cls(directions[0][0], directions[1][0], not zones)

    def joins(self, key: bytes) -> bool:
        """Whether the source of *key* opened the connection, and its destination answers."""
        return _source(self.original) == _source(key) and (
            _source(self.reply) == _source(reverse_key(key))
        )

    def towards(self, key: bytes) -> Origin | None:
        """How to send the packet that the queue shows with *key*."""
        if not self.default_zone:
            return None  # a packet that we send is looked up in the default zone
        for came in (self.original, self.reply):
            if _source(came) == _source(key):
                return Origin(came, True)
        return None


def _source(key: bytes) -> _End:
    return key[: (len(key) - 4) // 2], key[-4:-2]


def _key(value: bytes) -> tuple[bytes, bool]:
    """The key of a direction, and whether it has a zone of its own."""
    parts = {kind: part for _, kind, part in walk(value)}
    addresses = {kind: address for _, kind, address in walk(parts[CTA_TUPLE_IP])}
    protocol = {kind: number for _, kind, number in walk(parts[CTA_TUPLE_PROTO])}
    if CTA_IP_V4_SRC in addresses:
        ends = addresses[CTA_IP_V4_SRC] + addresses[CTA_IP_V4_DST]
    else:
        ends = addresses[CTA_IP_V6_SRC] + addresses[CTA_IP_V6_DST]
    ports = protocol[CTA_PROTO_SRC_PORT] + protocol[CTA_PROTO_DST_PORT]
    return ends + ports, CTA_TUPLE_ZONE in parts


def _tuple(kind: int, key: bytes) -> bytes:
    half = (len(key) - 4) // 2
    source, destination = (
        (CTA_IP_V4_SRC, CTA_IP_V4_DST) if half == 4 else (CTA_IP_V6_SRC, CTA_IP_V6_DST)
    )
    return nested(
        kind,
        nested(
            CTA_TUPLE_IP,
            attribute(source, key[:half]),
            attribute(destination, key[half:-4]),
        ),
        nested(
            CTA_TUPLE_PROTO,
            attribute(CTA_PROTO_NUM, bytes([TCP_PROTOCOL])),
            attribute(CTA_PROTO_SRC_PORT, key[-4:-2]),
            attribute(CTA_PROTO_DST_PORT, key[-2:]),
        ),
    )
