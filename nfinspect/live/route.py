"""Which way the kernel forwards a packet: its routes, policy routing and reverse-path filter, asked
(RTM_GETROUTE) without sending anything."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from struct import Struct

from nfinspect.live.netlink import (
    NETLINK_HEADER,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    attribute,
    error_number,
    messages,
    walk,
)
from nfinspect.policy.classify import OpeningConnection
from nfinspect.policy.ranges import BITS, address_text
from nfinspect.policy.trace import Way

NETLINK_ROUTE = 0
RTM_NEWROUTE, RTM_GETROUTE = 24, 26  # linux/rtnetlink.h
RTN_UNICAST, RTN_LOCAL = 1, 2
RTA_DST, RTA_SRC, RTA_IIF, RTA_OIF, RTA_GATEWAY = 1, 2, 3, 4, 5
RTA_IP_PROTO, RTA_SPORT, RTA_DPORT = 27, 28, 29
_INDEX = Struct("=I")
RTMSG = Struct("=BBBBBBBBI")  # family, bits of destination and source, TOS, table, …, type, flags

TCP = 6
TIMEOUT = 0.5
"""Seconds; the kernel answers at once."""

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
NO_ROUTE = "(no-route) No route to host"
REVERSE_PATH = "(rpf-violated) Reverse-path verify failed"
REFUSALS = {errno.EINVAL: REVERSE_PATH, errno.EXDEV: REVERSE_PATH}
"""Of what the kernel says; everything else is that there is no route. Forwarding that is off, too."""
UNKNOWN = (errno.ENODEV, errno.EPERM, errno.ENOBUFS, errno.EAGAIN, errno.EAFNOSUPPORT)
"""That say nothing about the packet."""

DEVICES = Path("/sys/class/net")


def way(device: str, connection: OpeningConnection) -> Way | None:
    """Return the way of the first packet of *connection*, which comes in on *device*; None if that is
    not known: there is no such device, or it is a port of a bridge."""
    if (DEVICES / device / "brport").exists():
        return None
    try:
        index = socket.if_nametoindex(device)
    except (OSError, ValueError):
        return None
    try:
        body = _ask(index, connection)
    except ValueError:
        return None
    except OSError as error:
        if error.errno is None or error.errno in UNKNOWN:
            return None
        return Way(refusal=REFUSALS.get(error.errno, NO_ROUTE))
    return None if body is None else _read(body, connection.version)


def _ask(index: int, connection: OpeningConnection) -> bytes | None:
    version, source, source_port, destination, destination_port, *_ = connection
    bits = BITS[version]
    words = (
        RTMSG.pack(FAMILIES[version], bits, bits, 0, 0, 0, 0, 0, 0)
        + attribute(RTA_DST, destination.to_bytes(bits // 8))
        + attribute(RTA_SRC, source.to_bytes(bits // 8))
        + attribute(RTA_IIF, _INDEX.pack(index))
        + attribute(RTA_IP_PROTO, bytes([TCP]))
        + attribute(RTA_SPORT, source_port.to_bytes(2))
        + attribute(RTA_DPORT, destination_port.to_bytes(2))
    )
    header = NETLINK_HEADER.pack(
        NETLINK_HEADER.size + len(words), RTM_GETROUTE, NLM_F_REQUEST, 0, 0
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as asked:
        asked.settimeout(TIMEOUT)
        asked.send(header + words)
        for kind, body in messages(asked.recv(64 * 1024)):
            if kind == NLMSG_ERROR:
                raise OSError(error_number(body), "rtnetlink")
            if kind == RTM_NEWROUTE:
                return body
    return None


def _read(body: bytes, version: int) -> Way | None:
    *_, kind, _flags = RTMSG.unpack_from(body)
    values = {number: value for _, number, value in walk(body[RTMSG.size :])}
    if kind == RTN_LOCAL:
        return Way(to_itself=True)
    if kind != RTN_UNICAST or RTA_OIF not in values:
        return Way(refusal=NO_ROUTE)
    gateway = values.get(RTA_GATEWAY, b"")
    return Way(
        socket.if_indextoname(_INDEX.unpack(values[RTA_OIF])[0]),
        address_text(version, int.from_bytes(gateway)) if gateway else "",
    )
