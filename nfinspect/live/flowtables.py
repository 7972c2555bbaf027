"""Flowtables of nftables: what they carry, in software or hardware, never comes to FORWARD."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from nfinspect.live.nfnetlink import NETLINK_HEADER, NFGENMSG, walk

NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES, NFT_MSG_GETFLOWTABLE, NFT_MSG_NEWFLOWTABLE = 10, 23, 22
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
NFTA_FLOWTABLE_TABLE, NFTA_FLOWTABLE_NAME = 1, 2


def names() -> list[str]:
    """Return ``TABLE NAME`` of every flowtable; none where the kernel has no nftables."""
    request = NETLINK_HEADER.pack(
        NETLINK_HEADER.size + NFGENMSG.size,
        NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETFLOWTABLE,
        NLM_F_REQUEST | NLM_F_DUMP,
        1,
        0,
    ) + NFGENMSG.pack(0, 0, 0)
    found: list[str] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as connection:
            connection.settimeout(5)
            connection.send(request)
            while True:
                for kind, body in messages(connection.recv(256 * 1024)):
                    if kind in (NLMSG_DONE, NLMSG_ERROR):
                        return found
                    if kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWFLOWTABLE:
                        found.append(name(body))
    except OSError:
        return found


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each netlink message in *data*."""
    at = 0
    while len(data) - at >= NETLINK_HEADER.size:
        length, kind, *_ = NETLINK_HEADER.unpack_from(data, at)
        yield kind, data[at + NETLINK_HEADER.size : at + length]
        at += max(length + -length % 4, NETLINK_HEADER.size)


def name(body: bytes) -> str:
    """Return ``TABLE NAME`` of the flowtable that a NFT_MSG_NEWFLOWTABLE tells of."""
    values = {kind: value for _, kind, value in walk(body[NFGENMSG.size :])}
    words = (values.get(NFTA_FLOWTABLE_TABLE, b""), values.get(NFTA_FLOWTABLE_NAME, b""))
    return " ".join(word.rstrip(b"\0").decode(errors="replace") for word in words)
