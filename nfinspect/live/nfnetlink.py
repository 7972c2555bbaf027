"""The messages of nfnetlink_queue as bytes (linux/netfilter/nfnetlink_queue.h).

A message is a netlink header (16 bytes, host order), an nfgenmsg (4 bytes), then attributes: two
16-bit words in host order, length and type, and a value in network order, padded to 4 bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from struct import Struct
from typing import NamedTuple

NETLINK_HEADER = Struct("=IHHII")  # length, type, flags, sequence number, port
NFGENMSG = Struct("!BBH")  # family, version, queue number
ATTRIBUTE = Struct("=HH")  # length with this header, type
U32 = Struct("!I")
ERROR = Struct("=i")  # a negative errno, 0 for an acknowledgement

NLA_TYPE_MASK = 0x3FFF  # without the flags "nested" and "network byte order"

NLMSG_ERROR = 2
NLM_F_REQUEST, NLM_F_ACK = 1, 4
NFNL_SUBSYS_QUEUE = 3
NFQNL_MSG_CONFIG = 2

SUBSYSTEM_BYTE = 5 if sys.byteorder == "little" else 4
"""Where a message names its subsystem: NFNL_SUBSYS_QUEUE in a queued packet, 0 in an error."""

NFQA_CFG_PARAMS, NFQA_CFG_QUEUE_MAXLEN, NFQA_CFG_MASK, NFQA_CFG_FLAGS = 2, 3, 4, 5
NFQNL_COPY_PACKET = 2
NFQA_CFG_F_FAIL_OPEN, NFQA_CFG_F_GSO = 1, 4

NFQA_TIMESTAMP = 4
NFQA_IFINDEX_INDEV, NFQA_IFINDEX_OUTDEV = 5, 6
NFQA_IFINDEX_PHYSINDEV, NFQA_IFINDEX_PHYSOUTDEV = 7, 8
NFQA_HWADDR, NFQA_CAP_LEN, NFQA_SKB_INFO = 9, 13, 14
NFQA_SKB_CSUMNOTREADY, NFQA_SKB_GSO = 1, 2

COPY_RANGE = 0xFFFF
"""Asked for; the kernel grants 65,531, what one attribute can carry."""


def _attribute(kind: int, value: bytes) -> bytes:
    padding = -len(value) % 4
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(padding)


def _configuration(queue: int, attributes: bytes, flags: int) -> bytes:
    length = NETLINK_HEADER.size + NFGENMSG.size + len(attributes)
    kind = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG
    header = NETLINK_HEADER.pack(length, kind, NLM_F_REQUEST | flags, 0, 0)
    return header + NFGENMSG.pack(0, 0, queue) + attributes


def set_flags_and_length(queue: int, max_length: int, *, fail_open: bool) -> bytes:
    """Return the message, to be acknowledged, that asks for GSO packets and *max_length* of them.

    With *fail_open* the kernel passes what a full queue cannot take; without, it drops it. The mask
    covers both flags, so that neither is left as it was.
    """
    flags = NFQA_CFG_F_GSO | (NFQA_CFG_F_FAIL_OPEN if fail_open else 0)
    attributes = (
        _attribute(NFQA_CFG_FLAGS, U32.pack(flags))
        + _attribute(NFQA_CFG_MASK, U32.pack(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN))
        + _attribute(NFQA_CFG_QUEUE_MAXLEN, U32.pack(max_length))
    )
    return _configuration(queue, attributes, NLM_F_ACK)


def start_copying(queue: int) -> bytes:
    """Return the message, without acknowledgement, from which on whole packets are queued."""
    parameters = U32.pack(COPY_RANGE) + bytes([NFQNL_COPY_PACKET])
    return _configuration(queue, _attribute(NFQA_CFG_PARAMS, parameters), 0)


def error_number(message: bytes) -> int:
    """Return the errno of an acknowledgement, 0 for success.

    Raises ValueError for any other message.
    """
    if len(message) < NETLINK_HEADER.size + ERROR.size:
        raise ValueError("a netlink message that is too short")
    if NETLINK_HEADER.unpack_from(message)[1] != NLMSG_ERROR:
        raise ValueError("a netlink message that is no acknowledgement")
    error: int = ERROR.unpack_from(message, NETLINK_HEADER.size)[0]
    return -error


def walk(attributes: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield offset, type and value of each attribute.

    Raises ValueError at one that contradicts the length of the whole.
    """
    at, end = 0, len(attributes)
    while at < end:
        if end - at < ATTRIBUTE.size:
            raise ValueError("an attribute that is cut off")
        length, kind = ATTRIBUTE.unpack_from(attributes, at)
        if not ATTRIBUTE.size <= length <= end - at:
            raise ValueError(f"an attribute of {length} bytes where {end - at} are left")
        yield at, kind & NLA_TYPE_MASK, attributes[at + ATTRIBUTE.size : at + length]
        at += length + -length % 4


class Metadata(NamedTuple):
    """What the kernel tells of a queued packet beside its bytes; the fields are `Arrival`'s."""

    captured_length: int | None
    checksum_ready: bool
    gso: bool
    ingress: str
    egress: str
    link_source: bytes


METADATA_START = NETLINK_HEADER.size + NFGENMSG.size + 12
"""Behind NFQA_PACKET_HDR, which the kernel writes first; NFQA_PAYLOAD it writes last."""

TIMESTAMP_LENGTH = ATTRIBUTE.size + 16
TIMESTAMP_HEADER = ATTRIBUTE.pack(TIMESTAMP_LENGTH, NFQA_TIMESTAMP)


class MetadataReader:
    """Reads the attributes between the packet header and the payload, with a memory.

    Walking attributes in Python costs as much as everything else that is done for a packet, and a
    path repeats itself: the same interfaces, the same neighbour. So the bytes of all attributes are
    the key to their meaning. A timestamp, which the kernel adds as soon as any program on the
    machine wants packets stamped, would make every key new: it is cut out, but only where a walk
    has found it behind the very same bytes, for a link-layer address may imitate its header.
    """

    LIMIT = 1024
    """Remembered keys; at the bound all are forgotten, a walk brings the living ones back."""

    def __init__(self, interface_name: Callable[[int], str]) -> None:
        self._interface_name = interface_name
        self._known: dict[bytes | tuple[bytes, bytes], Metadata] = {}
        self.recall: Callable[[bytes], Metadata | None] = self._known.get
        """The shortest way: what these very attributes mean, or None if only `read` can tell."""

    def forget(self) -> None:
        """Forget everything, so that a renamed interface gets its new name."""
        self._known.clear()

    def read(self, attributes: bytes) -> Metadata:
        """Return the meaning of *attributes*.

        Raises ValueError for attributes that contradict their own length.
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
            link_source=_link_address(values.get(NFQA_HWADDR, b"")),
        )
        if len(self._known) >= self.LIMIT:
            self._known.clear()
        self._known[key] = metadata
        return metadata

    def _name(self, values: dict[int, bytes], physical: int, logical: int) -> str:
        """Return the name of a bridge's physical port if there is one, else the interface's."""
        index = _u32(values.get(physical)) or _u32(values.get(logical))
        return self._interface_name(index) if index else ""


def _u32(value: bytes | None) -> int | None:
    if value is None:
        return None
    if len(value) != U32.size:
        raise ValueError(f"{len(value)} bytes where a number has {U32.size}")
    number: int = U32.unpack(value)[0]
    return number


def _link_address(value: bytes) -> bytes:
    """Return the address in an nfqnl_msg_packet_hw: a 16-bit length, padding, up to 8 bytes."""
    return value[4 : 4 + int.from_bytes(value[:2], "big")]
