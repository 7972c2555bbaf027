"""nftables flowtables: the connections they forward, in software or hardware, bypass FORWARD."""

from __future__ import annotations

import socket

from nfinspect.live.netlink import (
    NETLINK_NETFILTER,
    NFGENMSG,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    messages,
    request,
    walk,
)

NFNL_SUBSYS_NFTABLES, NFT_MSG_GETFLOWTABLE, NFT_MSG_NEWFLOWTABLE = 10, 23, 22
NFTA_FLOWTABLE_TABLE, NFTA_FLOWTABLE_NAME = 1, 2


def names() -> list[str]:
    """Return ``TABLE NAME`` of every flowtable; none if the kernel has no nftables."""
    found: list[str] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as connection:
            connection.settimeout(5)
            connection.send(request(NFNL_SUBSYS_NFTABLES, NFT_MSG_GETFLOWTABLE, NLM_F_DUMP))
            while True:
                for kind, body in messages(connection.recv(256 * 1024)):
                    if kind in (NLMSG_DONE, NLMSG_ERROR):
                        return found
                    if kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWFLOWTABLE:
                        found.append(name(body))
    except OSError:
        return found


def name(body: bytes) -> str:
    """Return ``TABLE NAME`` of the flowtable in an NFT_MSG_NEWFLOWTABLE."""
    values = {kind: value for _, kind, value in walk(body[NFGENMSG.size :])}
    words = (values.get(NFTA_FLOWTABLE_TABLE, b""), values.get(NFTA_FLOWTABLE_NAME, b""))
    return " ".join(word.rstrip(b"\0").decode(errors="replace") for word in words)
