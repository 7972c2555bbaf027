"""The open connections that are exempt: conntrack has their mark, and the filter never sees them.

They stay exempt to their end, whatever the policy says later, as on the appliance, or until they
are made to begin anew: without its entry, the next packet of a connection is a first one for the rules.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Iterator
from struct import Struct

from nfinspect.live.netlink import (
    NETLINK_NETFILTER,
    NFGENMSG,
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    error_number,
    messages,
    request,
    walk,
)
from nfinspect.live.older import (
    CTA_PROTOINFO,
    CTA_PROTOINFO_TCP,
    CTA_PROTOINFO_TCP_STATE,
    source,
    values,
)
from nfinspect.rules.mark import MARK, MASK

NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_GET = 1
IPCTNL_MSG_CT_DELETE = 2
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_MARK, CTA_ZONE, CTA_MARK_MASK = 1, 2, 8, 18, 21
CTA_TUPLE_IP = 1  # linux/netfilter/nfnetlink_conntrack.h

OVER = (b"\7", b"\x08")
"""TIME_WAIT, CLOSE."""

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
TIMEOUT = 2.0
"""Seconds."""

_WORD = Struct("!I")


def count(version: int, ports: Collection[int]) -> int:
    """Return how many open connections of an IP version to servers' *ports* are exempt. (Those to other
    ports have the mark if a limit may cover them.)

    Raises OSError if conntrack cannot be asked.
    """
    servers = (
        source(values(body[NFGENMSG.size :]).get(CTA_TUPLE_REPLY, b"")) for body in _marked(version)
    )
    return sum(1 for each in servers if each is not None and int.from_bytes(each[1]) in ports)


def clear(version: int, address: bytes | None = None) -> int:
    """Forget the open connections of an IP version that are exempt, all or those of one host; returns
    how many.

    Raises OSError if conntrack cannot be asked.
    """
    cleared = 0
    for body in list(_marked(version)):
        values = {kind: value for _, kind, value in walk(body[NFGENMSG.size :])}
        if address is not None and address not in _addresses(values):
            continue
        entry = attribute(CTA_TUPLE_ORIG | NLA_F_NESTED, values[CTA_TUPLE_ORIG])
        if CTA_ZONE in values:
            entry += attribute(CTA_ZONE, values[CTA_ZONE])
        with _opened() as asked:
            asked.send(
                request(
                    NFNL_SUBSYS_CTNETLINK,
                    IPCTNL_MSG_CT_DELETE,
                    NLM_F_ACK,
                    entry,
                    family=FAMILIES[version],
                )
            )
            numbers = [
                error_number(answer)
                for kind, answer in messages(asked.recv(64 * 1024))
                if kind == NLMSG_ERROR
            ]
        if numbers == [0]:
            cleared += 1
        elif numbers != [errno.ENOENT]:  # which has ended meanwhile
            raise OSError(numbers[0] if numbers else errno.EPROTO, "ctnetlink")
    return cleared


def _addresses(values: dict[int, bytes]) -> set[bytes]:
    """The addresses of both ends, ahead of translation and behind it."""
    found = set()
    for direction in (CTA_TUPLE_ORIG, CTA_TUPLE_REPLY):
        for _, kind, value in walk(values.get(direction, b"")):
            if kind == CTA_TUPLE_IP:
                found |= {address for _, _, address in walk(value)}
    return found


def _opened() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    opened.settimeout(TIMEOUT)
    return opened


def _marked(version: int) -> Iterator[bytes]:
    """Yield the open entries with our mark, as the kernel writes them."""
    mark, mask = _WORD.pack(MARK), _WORD.pack(MASK)
    wanted = attribute(CTA_MARK, mark) + attribute(CTA_MARK_MASK, mask)
    family = FAMILIES[version]
    with _opened() as asked:
        asked.send(
            request(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, NLM_F_DUMP, wanted, family=family)
        )
        while True:
            for kind, body in messages(asked.recv(64 * 1024)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    raise OSError(error_number(body), "ctnetlink")
                if _has_mark(body) and not _is_over(body):
                    yield body


def _is_over(body: bytes) -> bool:
    """Whether both FINs are acknowledged, or an RST has come."""
    information = values(values(body[NFGENMSG.size :]).get(CTA_PROTOINFO, b""))
    state = values(information.get(CTA_PROTOINFO_TCP, b"")).get(CTA_PROTOINFO_TCP_STATE, b"")
    return state[:1] in OVER


def _has_mark(body: bytes) -> bool:
    """Whether it is so: a kernel that does not know the filter gives all entries."""
    for _, kind, value in walk(body[NFGENMSG.size :]):
        if kind == CTA_MARK:
            return bool(_WORD.unpack(value)[0] & MASK)
    return False
