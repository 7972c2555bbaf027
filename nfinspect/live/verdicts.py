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
from nfinspect.rules.queues import syn_queue

NF_DROP, NF_ACCEPT = 0, 1  # linux/netfilter.h

_KIND = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT
_ACCEPT, _DROP = U32.pack(NF_ACCEPT), U32.pack(NF_DROP)
_LENGTH = NETLINK_HEADER.size + NFGENMSG.size + ATTRIBUTE.size + 2 * U32.size


SYN = b"s"
"""What the token of a SYN begins with."""

NUMBER_LENGTH = 4


class Verdicts:
    """Messages for a queue and the one for SYNs beside it.

    A packet's token is its number in network byte order, that of a SYN has `SYN` before it.
    """

    LIMIT = 128 * 1024
    """Bytes sent at once, if a single verdict is not longer."""

    __slots__ = ("_accept", "_drop", "_messages", "_syn_accept", "_syn_drop", "_syn_tail", "_tail")

    def __init__(self, queue: int) -> None:
        attribute_header = ATTRIBUTE.pack(ATTRIBUTE.size + 2 * U32.size, NFQA_VERDICT_HDR)
        self._tail = NFGENMSG.pack(0, 0, queue) + attribute_header
        self._syn_tail = NFGENMSG.pack(0, 0, syn_queue(queue)) + attribute_header
        self._accept = _header(_LENGTH, self._tail) + _ACCEPT
        self._drop = _header(_LENGTH, self._tail) + _DROP
        self._syn_accept = _header(_LENGTH, self._syn_tail) + _ACCEPT
        self._syn_drop = _header(_LENGTH, self._syn_tail) + _DROP
        self._messages: list[bytes] = []

    def accept(self, token: bytes) -> None:
        """Let the packet pass unchanged."""
        if len(token) == NUMBER_LENGTH:
            self._messages.append(self._accept + token)
        else:
            self._messages.append(self._syn_accept + token[1:])

    def drop(self, token: bytes) -> None:
        """Discard the packet."""
        if len(token) == NUMBER_LENGTH:
            self._messages.append(self._drop + token)
        else:
            self._messages.append(self._syn_drop + token[1:])

    def replace(self, token: bytes, datagram: bytes) -> None:
        """Let the packet pass with *datagram*, from the IP header on, in place of its own."""
        payload = attribute(NFQA_PAYLOAD, datagram)
        tail, number = self._tail, token
        if len(token) != NUMBER_LENGTH:
            tail, number = self._syn_tail, token[1:]
        header = _header(_LENGTH + len(payload), tail)
        self._messages.append(b"".join((header, _ACCEPT, number, payload)))

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


def _header(length: int, tail: bytes) -> bytes:
    return NETLINK_HEADER.pack(length, _KIND, NLM_F_REQUEST, 0, 0) + tail
