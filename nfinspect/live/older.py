"""Connections older than the filter count against limits from its start: connection tracking knows them.

A filter that has just started has seen no packet of them yet. Until the first one picks a connection up, until
it is gone from conntrack's table, or until older connections are no longer picked up, it holds its place. What
the kernel lets pass by itself, which has the mark, is the matter of `nfinspect.live.tracking`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterator
from time import monotonic
from typing import Protocol

from nfinspect.live.aside import Aside
from nfinspect.live.conntrack import (
    CTA_IP_V4_SRC,
    CTA_IP_V6_SRC,
    CTA_PROTO_NUM,
    CTA_PROTO_SRC_PORT,
    CTA_TUPLE_IP,
    CTA_TUPLE_ORIG,
    CTA_TUPLE_PROTO,
    CTA_TUPLE_REPLY,
    IPCTNL_MSG_CT_GET,
    NFNL_SUBSYS_CTNETLINK,
)
from nfinspect.live.netlink import (
    NETLINK_NETFILTER,
    NFGENMSG,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    error_number,
    messages,
    request,
    walk,
)
from nfinspect.packet.segment import TCP_PROTOCOL
from nfinspect.rules.mark import MASK

PERIOD = 10.0
"""Seconds between two looks at conntrack's table, while there are connections that nobody has picked up."""

TIMEOUT = 5.0

# linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_tcp.h
CTA_PROTOINFO, CTA_MARK = 4, 8
CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE = 1, 1
OPEN_STATES = frozenset({3, 4, 5})
"""ESTABLISHED, FIN_WAIT, CLOSE_WAIT."""


class Counting(Protocol):
    """What is needed of the engine."""

    @property
    def expected(self) -> int:
        """Older connections that count and have not been picked up."""

    def expect(self, keys: Collection[bytes], now: float) -> None:
        """Count these older connections."""

    def keep_expected(self, keys: Collection[bytes], now: float) -> None:
        """Count those no more that are not among these."""


class OlderConnections:
    """Tells the engine of them, and looks for their end."""

    def __init__(
        self, engine: Counting, read: Callable[[], set[bytes]], report: Callable[[str], None]
    ) -> None:
        """*read* returns the keys of the open connections, as the queue shows them."""
        self._engine = engine
        self._read = read
        self._report = report
        self._reading: Aside[set[bytes]] = Aside("conntrack")
        self._next = monotonic() + PERIOD

    def begin(self) -> None:
        """Count the connections that are open now."""
        try:
            keys = self._read()
        except (OSError, ValueError) as error:
            self._report(
                f"warning: limits do not count connections older than the filter until their first packet:"
                f" connection tracking does not tell them: {error}"
            )
            return
        self._engine.expect(keys, monotonic())

    def serve(self) -> None:
        """Do what can be done without waiting."""
        if not self._engine.expected:
            return
        if self._reading.busy:
            try:
                keys = self._reading.take()
            except (OSError, ValueError):
                keys = None  # they count until they are no longer picked up
            if keys is not None:
                self._engine.keep_expected(keys, monotonic())
        elif monotonic() >= self._next:
            self._next = monotonic() + PERIOD
            self._reading.start(self._read)


def open_connections(ports: Collection[int]) -> set[bytes]:
    """The keys of packets from the client, as the queue shows them, of all TCP connections to these
    server ports that conntrack knows as open and that the filter handles.

    Raises OSError, or ValueError if the kernel's answer cannot be read.
    """
    found = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as opened:
        opened.settimeout(TIMEOUT)
        for family in (socket.AF_INET, socket.AF_INET6):
            opened.send(
                request(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, NLM_F_DUMP, family=family)
            )
            for body in _answers(opened):
                key = read_entry(body)
                if key is not None and int.from_bytes(key[-2:]) in ports:
                    found.add(key)
    return found


def _answers(opened: socket.socket) -> Iterator[bytes]:
    while True:
        for kind, body in messages(opened.recv(1 << 16)):
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                raise OSError(error_number(body), "ctnetlink")
            yield body


def read_entry(body: bytes) -> bytes | None:
    """The key of an entry's packets from the client in FORWARD: the destination is translated already,
    the source not yet. None if it is no open TCP connection, or one that the kernel lets pass itself.

    Raises ValueError if the entry is cut off.
    """
    said = values(body[NFGENMSG.size :])
    if int.from_bytes(said.get(CTA_MARK, b"")) & MASK:
        return None
    information = values(said.get(CTA_PROTOINFO, b""))
    state = values(information.get(CTA_PROTOINFO_TCP, b"")).get(CTA_PROTOINFO_TCP_STATE, b"")
    if state[:1] not in {bytes([each]) for each in OPEN_STATES}:
        return None
    client = source(said.get(CTA_TUPLE_ORIG, b""))
    server = source(said.get(CTA_TUPLE_REPLY, b""))
    if client is None or server is None:
        return None
    return client[0] + server[0] + client[1] + server[1]


def values(nest: bytes) -> dict[int, bytes]:
    """The attributes in one."""
    return {kind: value for _, kind, value in walk(nest)}


def source(direction: bytes) -> tuple[bytes, bytes] | None:
    """Source address and port of a direction of TCP."""
    parts = values(direction)
    addresses = values(parts.get(CTA_TUPLE_IP, b""))
    protocol = values(parts.get(CTA_TUPLE_PROTO, b""))
    if protocol.get(CTA_PROTO_NUM) != bytes([TCP_PROTOCOL]):
        return None
    address = addresses.get(CTA_IP_V4_SRC) or addresses.get(CTA_IP_V6_SRC)
    port = protocol.get(CTA_PROTO_SRC_PORT)
    return None if address is None or port is None else (address, port)
