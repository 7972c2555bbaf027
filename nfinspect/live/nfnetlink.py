"""The messages of nfnetlink_queue as bytes (linux/netfilter/nfnetlink_queue.h)."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from nfinspect.live.netlink import (
    ATTRIBUTE,
    NETLINK_HEADER,
    NFGENMSG,
    NLM_F_ACK,
    NLMSG_ERROR,
    attribute,
    error_number,
    messages,
    request,
    walk,
)
from nfinspect.rules.mark import MARK

U32 = Struct("!I")
COMMAND = Struct("!BxH")

NFNL_SUBSYS_QUEUE = 3
NFQNL_MSG_PACKET, NFQNL_MSG_VERDICT, NFQNL_MSG_CONFIG = 0, 1, 2
NFQNL_CFG_CMD_BIND, NFQNL_CFG_CMD_UNBIND = 1, 2

NFQA_CFG_CMD, NFQA_CFG_PARAMS, NFQA_CFG_QUEUE_MAXLEN, NFQA_CFG_MASK, NFQA_CFG_FLAGS = 1, 2, 3, 4, 5
NFQNL_COPY_NONE, NFQNL_COPY_PACKET = 0, 2
NFQA_CFG_F_FAIL_OPEN, NFQA_CFG_F_GSO = 1, 4

NFQA_PACKET_HDR, NFQA_VERDICT_HDR, NFQA_MARK, NFQA_TIMESTAMP = 1, 2, 3, 4
NFQA_IFINDEX_INDEV, NFQA_IFINDEX_OUTDEV = 5, 6
NFQA_IFINDEX_PHYSINDEV, NFQA_IFINDEX_PHYSOUTDEV = 7, 8
NFQA_HWADDR, NFQA_PAYLOAD, NFQA_CAP_LEN, NFQA_SKB_INFO = 9, 10, 13, 14
NFQA_SKB_CSUMNOTREADY, NFQA_SKB_GSO = 1, 2

COPY_RANGE = 0xFFFF
"""Bytes requested; the kernel grants 65,531, the most one attribute can carry."""


def command(queue: int, kind: int) -> bytes:
    """Return the message that binds a queue, or unbinds it; the kernel acknowledges it."""
    attributes = attribute(NFQA_CFG_CMD, COMMAND.pack(kind, 0))
    return request(NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG, NLM_F_ACK, attributes, resource=queue)


def set_flags_and_length(queue: int, max_length: int, *, fail_open: bool) -> bytes:
    """Return the message that requests GSO packets, and a queue of *max_length* packets.

    The kernel acknowledges it. With *fail_open* the kernel passes what a full queue cannot take;
    otherwise it drops it. The mask covers both flags, so that both are set explicitly.
    """
    flags = NFQA_CFG_F_GSO | (NFQA_CFG_F_FAIL_OPEN if fail_open else 0)
    attributes = (
        attribute(NFQA_CFG_FLAGS, U32.pack(flags))
        + attribute(NFQA_CFG_MASK, U32.pack(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN))
        + attribute(NFQA_CFG_QUEUE_MAXLEN, U32.pack(max_length))
    )
    return request(NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG, NLM_F_ACK, attributes, resource=queue)


def set_copying(
    queue: int, mode: int, *, most: int = COPY_RANGE, acknowledge: bool = False
) -> bytes:
    """Return the message that makes the kernel queue whole packets (NFQNL_COPY_PACKET), up to *most*
    bytes of each, or none any more (NFQNL_COPY_NONE).

    The kernel acknowledges it if *acknowledge* is set.
    """
    parameters = U32.pack(most) + bytes([mode])
    attributes = attribute(NFQA_CFG_PARAMS, parameters)
    flags = NLM_F_ACK if acknowledge else 0
    return request(NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG, flags, attributes, resource=queue)


def refusal(message: bytes) -> int:
    """Return the errno in an acknowledgement, 0 for success.

    Raises ValueError for any other message.
    """
    for kind, body in messages(message):
        if kind == NLMSG_ERROR:
            return error_number(body)
    raise ValueError("netlink message instead of an acknowledgement")


class Metadata(NamedTuple):
    """What the kernel says about a queued packet; the fields are those of `Arrival`."""

    captured_length: int | None
    checksum_ready: bool
    gso: bool
    ingress: str
    egress: str
    link_source: bytes


NOWHERE = bytes(6)
"""The link-layer source of a packet to whose sender the filter cannot send."""

METADATA_START = NETLINK_HEADER.size + NFGENMSG.size + 12
"""The offset after NFQA_PACKET_HDR, which the kernel writes first; it writes NFQA_PAYLOAD last."""

TIMESTAMP_LENGTH = ATTRIBUTE.size + 16
TIMESTAMP_HEADER = ATTRIBUTE.pack(TIMESTAMP_LENGTH, NFQA_TIMESTAMP)


class MetadataReader:
    """Reads the attributes between the packet header and the payload, with a cache.

    Parsing attributes in Python costs as much as everything else done for a packet, and they
    repeat: the same interfaces, the same neighbour. So their bytes are the key of a cache. A
    timestamp, which the kernel adds as soon as any program on the machine requests timestamps,
    would make every key new, so it is left out of the key; but only where parsing found it after
    the very same bytes, as a link-layer address may look like its header.
    """

    LIMIT = 1024
    """Cached keys; when full, the cache is cleared."""

    def __init__(self, interface_name: Callable[[int], str]) -> None:
        self._interface_name = interface_name
        self._known: dict[bytes | tuple[bytes, bytes], Metadata] = {}
        self.recall: Callable[[bytes], Metadata | None] = self._known.get
        """The fast path: the metadata for exactly these bytes, or None; then call `read`."""

    def forget(self) -> None:
        """Clear the cache, so that a renamed interface gets its new name."""
        self._known.clear()

    def read(self, attributes: bytes) -> Metadata:
        """Return the metadata in *attributes*.

        Raises ValueError for attributes with inconsistent lengths.
        """
        stamp = attributes.find(TIMESTAMP_HEADER)
        if stamp >= 0:
            key = attributes[:stamp], attributes[stamp + TIMESTAMP_LENGTH :]
            found = self._known.get(key)
            if found is not None:
                return found
        return self._walk(attributes)

    def _walk(self, attributes: bytes) -> Metadata:
        values: dict[int, bytes] = {}
        key: bytes | tuple[bytes, bytes] = attributes
        for at, kind, value in walk(attributes):
            values[kind] = value
            if attributes.startswith(TIMESTAMP_HEADER, at):
                key = attributes[:at], attributes[at + TIMESTAMP_LENGTH :]

        information = _u32(values.get(NFQA_SKB_INFO)) or 0
        metadata = Metadata(
            captured_length=_u32(values.get(NFQA_CAP_LEN)),
            checksum_ready=not information & NFQA_SKB_CSUMNOTREADY,
            gso=bool(information & NFQA_SKB_GSO),
            ingress=self._name(values, NFQA_IFINDEX_PHYSINDEV, NFQA_IFINDEX_INDEV),
            egress=self._name(values, NFQA_IFINDEX_PHYSOUTDEV, NFQA_IFINDEX_OUTDEV),
            link_source=_bridged_from(values),
        )
        if len(self._known) >= self.LIMIT:
            self._known.clear()
        self._known[key] = metadata
        return metadata

    def _name(self, values: dict[int, bytes], physical: int, logical: int) -> str:
        """Return the name of the device in the bridge if there is one, else the interface's."""
        index = _u32(values.get(physical)) or _u32(values.get(logical))
        return self._interface_name(index) if index else ""


def _u32(value: bytes | None) -> int | None:
    if value is None:
        return None
    if len(value) != U32.size:
        raise ValueError(f"{len(value)} bytes instead of a number of {U32.size}")
    number: int = U32.unpack(value)[0]
    return number


def _bridged_from(values: dict[int, bytes]) -> bytes:
    """Return the link-layer source of a bridged packet; empty for a routed one.

    A bridged packet has two physical ports; one routed from or to a bridge has only one. The result
    is all zeros if the guard has marked the packet as part of a VLAN or PPPoE session: the queue
    does not show which, so the filter cannot send anything there.
    """
    if not (_u32(values.get(NFQA_IFINDEX_PHYSINDEV)) and _u32(values.get(NFQA_IFINDEX_PHYSOUTDEV))):
        return b""
    if (_u32(values.get(NFQA_MARK)) or 0) & MARK:
        return NOWHERE
    return _link_address(values.get(NFQA_HWADDR, b"")) or NOWHERE


def _link_address(value: bytes) -> bytes:
    """Return the address in an nfqnl_msg_packet_hw: a 16-bit length, padding, up to 8 bytes."""
    return value[4 : 4 + int.from_bytes(value[:2], "big")]
