"""One NFQUEUE, through NetfilterQueue; no other module imports that library.

Three things the library does not do are done here on its own socket: the queue is configured for
GSO packets and the full copy range, its receive buffer is forced to a size that holds a burst of
them, and the metadata that the library does not show are read from the raw message. They meet in
`Queue.recv`: the library's ``run_socket`` asks the object it is given for the next message, and
what it gets is always the same buffer, for allocating 64 KiB for each packet would cost more than
all the rest.

Waiting is a time limit on the socket itself (SO_RCVTIMEO), which costs nothing to measure. Roads not
taken: poll() before each read costs half a microsecond a packet; reading what is there before
deciding any of it gains nothing.

The library swallows ENOBUFS, by which the kernel tells that packets were lost; here it is counted
on its way.
"""

from __future__ import annotations

import errno
import os
import socket
import warnings
from collections.abc import Callable
from struct import Struct
from time import monotonic
from typing import Protocol

from nfinspect.arrival import Arrival
from nfinspect.live import nfnetlink, obstacles
from nfinspect.live.netlink import ATTRIBUTE

MAX_LENGTH = 16_384
"""Packets that may wait for a verdict, unread and held together; the kernel drops what is more."""

RECEIVE_BUFFER = 32 * 1024 * 1024
"""Bytes asked for. The kernel grants the double for its overhead, which holds about 1,000 packets of
64 KiB; of packets within an MTU of 1,500 it holds more than MAX_LENGTH."""

MESSAGE_LIMIT = 128 * 1024
"""Bytes. The longest message is 65,531 of a packet with some 200 of metadata."""

PATIENCE = 0.1
"""Seconds that the queue waits for a packet before the caller's other business is due."""

SO_RCVBUFFORCE = 33  # asm-generic/socket.h; the socket module does not name it
TIMEVAL = Struct("@ll")


class QueueError(Exception):
    """The queue cannot be had, or is lost; the message is for the person who started the filter."""


class QueuedPacket(Protocol):
    """The token of an arrival: a packet in the kernel that waits for its one verdict."""

    def get_payload(self) -> bytes:
        """Return a copy of the datagram, from the IP header on."""

    def accept(self) -> None:
        """Let it pass, with the payload that was set, if one was."""

    def drop(self) -> None:
        """Discard it."""

    def set_payload(self, payload: bytes) -> None:
        """Replace all of it from the IP header on, when it is accepted."""


class Queue:
    """A bound queue. Packets may get their verdict in any order, as long as it is not closed."""

    __slots__ = (
        "_buffer",
        "_handle",
        "_library",
        "_message_length",
        "_metadata",
        "_recall",
        "_receive_into",
        "_socket",
        "_until",
        "_view",
        "now",
        "number",
        "overflows",
        "refused_verdicts",
        "unreadable",
    )

    def __init__(
        self, number: int, handle: Callable[[Arrival], None], *, fail_open: bool = False
    ) -> None:
        """Bind queue *number*; `receive` then hands its packets to *handle*, in order.

        With *fail_open* the kernel passes packets uninspected while the queue is full.
        Raises QueueError with the reason if it cannot be bound.
        """
        self.number = number
        self.now = monotonic()
        """When the latest packet was read, on the clock of time.monotonic."""
        self.overflows = 0
        """ENOBUFS: how often the kernel told that it had lost packets for want of buffer."""
        self.refused_verdicts = 0
        """Errors from the kernel, as for a packet that went with its interface."""
        self.unreadable = 0
        """Packets that were dropped because their message could not be read."""
        self._handle = handle
        self._until = self.now
        self._buffer = bytearray(MESSAGE_LIMIT + ATTRIBUTE.size)
        self._view = memoryview(self._buffer)[:MESSAGE_LIMIT]
        self._message_length = 0
        self._metadata = nfnetlink.MetadataReader(_interface_name)
        self._recall = self._metadata.recall
        self._bind(fail_open)

    def _bind(self, fail_open: bool) -> None:
        try:
            import netfilterqueue
        except ImportError as error:
            raise QueueError(
                f"the Python module NetfilterQueue is missing ({error}); run script/setup"
            ) from error
        try:
            library = netfilterqueue.NetfilterQueue()
            with warnings.catch_warnings(record=True):  # of a receive buffer that we replace
                # Until it is configured the queue takes no packet: none is seen half configured.
                library.bind(self.number, self._packet_arrived, mode=netfilterqueue.COPY_NONE)
        except OSError as error:
            raise QueueError(obstacles.of_queue(self.number)) from error
        self._library = library
        self._socket = socket.socket(fileno=os.dup(library.get_fd()))
        self._receive_into = self._socket.recv_into
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            self._socket.send(
                nfnetlink.set_flags_and_length(self.number, MAX_LENGTH, fail_open=fail_open)
            )
            refused = nfnetlink.refusal(self._socket.recv(4096))
            if refused:
                raise OSError(refused, os.strerror(refused))
            self._wait_at_most(PATIENCE)
            self._socket.send(nfnetlink.start_copying(self.number))
        except (OSError, ValueError) as error:
            self.close()
            raise QueueError(f"queue {self.number} cannot be configured: {error}") from error

    def receive(self, until: float) -> None:
        """Hand packets to the handler until the monotonic time *until*, or none came for 0.1 s.

        Raises QueueError if the socket fails.
        """
        self._until = until
        try:
            self._library.run_socket(self)  # type: ignore[arg-type]
        except OSError as error:
            raise QueueError(f"queue {self.number} is lost: {error}") from error

    def drain(self, until: float) -> None:
        """As `receive`, but return as soon as no packet is ready."""
        self._wait_at_most(1e-6)
        self.now = monotonic()
        self.receive(until)
        self._wait_at_most(PATIENCE)

    def close(self) -> None:
        """Unbind the queue; the kernel drops what still waits for a verdict."""
        self._wait_at_most(0)  # the library awaits the kernel's answer
        self._library.unbind()
        self._socket.close()

    def forget_interface_names(self) -> None:
        """Look interface names up again from now on."""
        self._metadata.forget()

    def recv(self, _size: int) -> bytearray:
        """Return the next message, for ``run_socket``, at the beginning of the reused buffer.

        Raises BlockingIOError, which ends ``run_socket``, when the time is up or nothing came.
        """
        if self.now >= self._until:
            raise BlockingIOError(errno.EAGAIN, "the caller's other business is due")
        try:
            length = self._receive_into(self._view)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                self.overflows += 1
            raise
        self.now = monotonic()
        self._message_length = length
        # The library reads messages as long as the buffer has any: one of length 0 stops it.
        _TERMINATE(self._buffer, length, 0)
        if self._buffer[nfnetlink.SUBSYSTEM_BYTE] != nfnetlink.NFNL_SUBSYS_QUEUE:
            self.refused_verdicts += 1
        return self._buffer

    def _packet_arrived(self, packet: QueuedPacket) -> None:
        try:
            datagram = packet.get_payload()
            # The payload, behind the header of its attribute, is the end of the message.
            end = self._message_length - len(datagram) - ATTRIBUTE.size
            attributes = self._view[nfnetlink.METADATA_START : end].tobytes()
            metadata = self._recall(attributes) or self._metadata.read(attributes)
        except (RuntimeError, ValueError):
            packet.drop()
            self.unreadable += 1
            return
        # Unpacked by hand and passed by position: the quickest way to make an arrival.
        captured_length, checksum_ready, gso, ingress, egress, link_source = metadata
        self._handle(
            Arrival(
                packet,
                datagram,
                self.now,
                captured_length,
                checksum_ready,
                gso,
                ingress,
                egress,
                link_source,
            )
        )

    def _wait_at_most(self, seconds: float) -> None:
        """Let a read return without a packet after *seconds*; 0 is never."""
        whole = int(seconds)
        microseconds = round((seconds - whole) * 1e6)
        value = TIMEVAL.pack(whole, microseconds)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)


_TERMINATE = Struct("=I").pack_into


def _interface_name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:  # it is gone already
        return f"if{index}"
