"""Verdicts as bytes: collected, so that those of many packets leave in one send.

NFQNL_MSG_VERDICT_BATCH is not used: it accepts every packet below its number, held ones included.
Joined messages say only what was decided.
"""

from __future__ import annotations

from collections.abc import Iterator

from nfinspect.live.netlink import ATTRIBUTE, NETLINK_HEADER, NFGENMSG, NLM_F_REQUEST, attribute
from nfinspect.live.nfnetlink import (
    NFNL_SUBSYS_QUEUE,
    NFQA_PAYLOAD,
    NFQA_VERDICT_HDR,
    NFQNL_MSG_VERDICT,
    U32,
)

NF_DROP, NF_ACCEPT = 0, 1  # linux/netfilter.h

_KIND = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT
_LENGTH = NETLINK_HEADER.size + NFGENMSG.size + ATTRIBUTE.size + 2 * U32.size


class Verdicts:
    """Messages for one queue. A packet's token is its number in network byte order."""

    LIMIT = 128 * 1024
    """Bytes sent at once, if a single verdict is not longer."""

    __slots__ = ("_accept", "_drop", "_messages", "_tail")

    def __init__(self, queue: int) -> None:
        self._tail = NFGENMSG.pack(0, 0, queue) + ATTRIBUTE.pack(
            ATTRIBUTE.size + 2 * U32.size, NFQA_VERDICT_HDR
        )
        self._accept = self._header(_LENGTH) + U32.pack(NF_ACCEPT)
        self._drop = self._header(_LENGTH) + U32.pack(NF_DROP)
        self._messages: list[bytes] = []

    def _header(self, length: int) -> bytes:
        return NETLINK_HEADER.pack(length, _KIND, NLM_F_REQUEST, 0, 0) + self._tail

    def accept(self, token: bytes) -> None:
        """Let the packet pass unchanged."""
        self._messages.append(self._accept + token)

    def drop(self, token: bytes) -> None:
        """Discard the packet."""
        self._messages.append(self._drop + token)

    def replace(self, token: bytes, datagram: bytes) -> None:
        """Let the packet pass with *datagram*, from the IP header on, in place of its own."""
        payload = attribute(NFQA_PAYLOAD, datagram)
        header = self._header(_LENGTH + len(payload))
        self._messages.append(b"".join((header, _ACCEPT, token, payload)))

    def take(self) -> Iterator[list[bytes]]:
        """Yield the messages collected so far, in groups that may be sent at once, and forget
        them."""
        messages = self._messages
        if not messages:
            return
        self._messages = []
        group: list[bytes] = []
        size = 0
        for message in messages:
            if size + len(message) > self.LIMIT and group:
                yield group
                group, size = [], 0
            group.append(message)
            size += len(message)
        yield group


_ACCEPT = U32.pack(NF_ACCEPT)
