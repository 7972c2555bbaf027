"""The open connections that are exempt: conntrack has their mark, and the filter never sees them.

They stay exempt to their end, whatever the policy says later, as on the appliance.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from struct import Struct

from nfinspect.live.netlink import (
    NETLINK_NETFILTER,
    NFGENMSG,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    error_number,
    messages,
    request,
    walk,
)
from nfinspect.rules.mark import MARK, MASK

NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_GET = 1
CTA_MARK, CTA_MARK_MASK = 8, 21  # linux/netfilter/nfnetlink_conntrack.h

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
TIMEOUT = 2.0
"""Seconds."""

_WORD = Struct("!I")


def count(version: int) -> int:
    """Return how many open connections of an IP version are exempt.

    Raises OSError if conntrack cannot be asked.
    """
    return sum(1 for _ in _marked(version))


def _marked(version: int) -> Iterator[bytes]:
    """Yield the entries with our mark, as the kernel writes them."""
    mark, mask = _WORD.pack(MARK), _WORD.pack(MASK)
    wanted = attribute(CTA_MARK, mark) + attribute(CTA_MARK_MASK, mask)
    family = FAMILIES[version]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as asked:
        asked.settimeout(TIMEOUT)
        asked.send(
            request(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, NLM_F_DUMP, wanted, family=family)
        )
        while True:
            for kind, body in messages(asked.recv(64 * 1024)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    raise OSError(error_number(body), "ctnetlink")
                if _has_mark(body):
                    yield body


def _has_mark(body: bytes) -> bool:
    """Whether it is so: a kernel that does not know the filter gives all entries."""
    for _, kind, value in walk(body[NFGENMSG.size :]):
        if kind == CTA_MARK:
            return bool(_WORD.unpack(value)[0] & MASK)
    return False
