"""What a queue's socket delivers: a packet with its number and metadata, or an error.

A message has one packet: NFQA_PACKET_HDR first, other attributes, NFQA_PAYLOAD last, which is how
nfqnl_build_packet_message writes it since Linux 3.10. That is checked, not assumed.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from nfinspect.live.netlink import ATTRIBUTE, NETLINK_HEADER, NLMSG_ERROR, walk
from nfinspect.live.nfnetlink import (
    METADATA_START,
    NFNL_SUBSYS_QUEUE,
    NFQA_PACKET_HDR,
    NFQA_PAYLOAD,
    NFQNL_MSG_PACKET,
    Metadata,
    MetadataReader,
)

PACKET = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET
HEADER = Struct("=IH14xHH")
"""The message's length and type, then length and type of its first attribute."""
KIND = Struct("=4xH")
"""A message's type alone."""
PACKET_HDR_LENGTH = ATTRIBUTE.size + 7
"""NFQA_PACKET_HDR: number (4 bytes), protocol (2), hook (1)."""
QUEUE_AT = NETLINK_HEADER.size + 2
"""The first byte of the queue's number."""
NUMBER = slice(METADATA_START - 8, METADATA_START - 4)

QueuedPacket = tuple[bytes, bytes, Metadata]
"""Number, datagram from the IP header on, metadata."""


class MessageReader:
    """Reads the messages that arrive, one after another, at the beginning of a buffer.

    What lies in the buffer behind a message is left over from earlier packets: it is never read.
    """

    SIZES = 4
    """How many sizes of the metadata are tried before it is parsed."""

    def __init__(self, buffer: memoryview, interface_name: Callable[[int], str]) -> None:
        self._buffer = buffer
        self._metadata = MetadataReader(interface_name)
        self._recall = self._metadata.recall
        self._sizes: list[int] = []
        """Of the metadata of recent messages, without repetition."""

    def forget(self) -> None:
        """Forget the names of interfaces."""
        self._metadata.forget()

    def read(self, length: int) -> QueuedPacket | None:
        """Return the packet in the message of *length* bytes; None if it is the kernel's error.

        Raises ValueError for any other message.
        """
        buffer = self._buffer
        if length < METADATA_START:
            self._error(length)
            return None
        end, kind, first_length, first = HEADER.unpack_from(buffer)
        if (
            kind != PACKET
            or first != NFQA_PACKET_HDR
            or first_length != PACKET_HDR_LENGTH
            or not end <= length < end + 4
        ):
            self._error(length)
            return None
        # Attributes whose bytes are known were parsed before: the payload follows where they end.
        for size in self._sizes:
            start = METADATA_START + size
            if start + ATTRIBUTE.size < end and ATTRIBUTE.unpack_from(buffer, start) == (
                end - start,
                NFQA_PAYLOAD,
            ):
                metadata = self._recall(buffer[METADATA_START:start].tobytes())
                if metadata is not None:
                    datagram = buffer[start + ATTRIBUTE.size : end].tobytes()
                    return buffer[NUMBER].tobytes(), datagram, metadata
        return self._parse(end)

    def _parse(self, end: int) -> QueuedPacket:
        message = self._buffer[METADATA_START:end].tobytes()
        for size, kind, datagram in walk(message):
            if kind == NFQA_PAYLOAD:
                if size + ATTRIBUTE.size + len(datagram) != len(message):
                    raise ValueError("attributes behind the payload")
                metadata = self._metadata.read(message[:size])
                if size not in self._sizes:
                    self._sizes = [size, *self._sizes[: self.SIZES - 1]]
                return self._buffer[NUMBER].tobytes(), datagram, metadata
        raise ValueError("a queued packet without its payload")

    def packet_number(self, length: int) -> bytes | None:
        """The number in a message that `read` refused, if it has one."""
        if length < METADATA_START:
            return None
        _, kind, first_length, first = HEADER.unpack_from(self._buffer)
        if (kind, first_length, first) != (PACKET, PACKET_HDR_LENGTH, NFQA_PACKET_HDR):
            return None
        return self._buffer[NUMBER].tobytes()

    def _error(self, length: int) -> None:
        """Raises ValueError if the message is no error either."""
        if length < NETLINK_HEADER.size or KIND.unpack_from(self._buffer)[0] != NLMSG_ERROR:
            raise ValueError(f"a message of {length} bytes that is neither a packet nor an error")
