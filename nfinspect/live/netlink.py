"""Netfilter netlink messages as bytes: headers, attributes, errors.

A message is a netlink header (16 bytes, host byte order), an nfgenmsg (4 bytes), then attributes:
length and type, 16 bits each in host byte order, and a value in network byte order, padded to 4
bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

NETLINK_NETFILTER = 12
"""The netlink protocol number."""

NETLINK_HEADER = Struct("=IHHII")  # length, type, flags, sequence number, port
NFGENMSG = Struct("!BBH")  # family, version, resource: a queue number, or 0
ATTRIBUTE = Struct("=HH")  # length including this header, type
ERROR = Struct("=i")  # a negative errno, 0 for an acknowledgement

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF  # without the flags "nested" and "network byte order"

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300


def request(subsystem: int, kind: int, flags: int, attributes: bytes = b"", *,
            family: int = 0, resource: int = 0) -> bytes:  # fmt: skip
    """Return a message to the kernel; *flags* are added to NLM_F_REQUEST."""
    length = NETLINK_HEADER.size + NFGENMSG.size + len(attributes)
    header = NETLINK_HEADER.pack(length, subsystem << 8 | kind, NLM_F_REQUEST | flags, 0, 0)
    return header + NFGENMSG.pack(family, 0, resource) + attributes


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute, padded."""
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that contains *attributes*."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each message in *data*."""
    at = 0
    while len(data) - at >= NETLINK_HEADER.size:
        length, kind, *_ = NETLINK_HEADER.unpack_from(data, at)
        yield kind, data[at + NETLINK_HEADER.size : at + length]
        at += max(length + -length % 4, NETLINK_HEADER.size)


def error_number(body: bytes) -> int:
    """Return the errno in the body of an NLMSG_ERROR, 0 for an acknowledgement.

    Raises ValueError if there is none.
    """
    if len(body) < ERROR.size:
        raise ValueError("truncated netlink error")
    error: int = ERROR.unpack_from(body)[0]
    return -error


def walk(attributes: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield offset, type and value of each attribute.

    Raises ValueError at one that is longer than what is left.
    """
    at, end = 0, len(attributes)
    while at < end:
        if end - at < ATTRIBUTE.size:
            raise ValueError("truncated attribute")
        length, kind = ATTRIBUTE.unpack_from(attributes, at)
        if not ATTRIBUTE.size <= length <= end - at:
            raise ValueError(f"attribute length {length} with {end - at} bytes left")
        yield at, kind & NLA_TYPE_MASK, attributes[at + ATTRIBUTE.size : at + length]
        at += length + -length % 4
