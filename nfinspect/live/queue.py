"""One NFQUEUE, through NetfilterQueue; no other module imports that library.

This module does three things on the library's socket that the library does not do: it configures
the queue for GSO packets and the full copy range, forces a receive buffer that holds a burst of
them, and reads metadata that the library does not expose from the raw message. The latter is
possible in `Queue.recv`: the library's ``run_socket`` calls it for the next message. It always
returns the same buffer, as allocating 64 KiB per packet would cost more than everything else.

The buffer holds bytes of earlier, longer packets behind the message, and the library, which is
told the buffer's length and not the message's, reads messages until it ends: `delimit` keeps it
from reading what an attacker has left there.

Waiting is a timeout on the socket itself (SO_RCVTIMEO), whose cost is not measurable. Alternatives
that were tried: poll() before each read costs half a microsecond per packet; reading all available
packets before deciding any of them gains nothing.

The library ignores ENOBUFS, by which the kernel reports lost packets; `Queue.recv` counts it.
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
from nfinspect.live.netlink import ATTRIBUTE, NETLINK_HEADER

MAX_LENGTH = 16_384
"""Packets without a verdict, unread or held; the kernel drops further ones."""

RECEIVE_BUFFER = 32 * 1024 * 1024
"""Bytes requested. The kernel doubles it for its overhead; that holds about 1,000 packets of 64
KiB, or more than MAX_LENGTH packets within an MTU of 1,500."""

MESSAGE_LIMIT = 128 * 1024
"""Bytes. The longest message has 65,531 bytes of a packet and about 200 of metadata."""

PATIENCE = 0.1
"""Seconds that a read waits for a packet before it returns to the caller."""

SO_RCVBUFFORCE = 33  # asm-generic/socket.h; missing in the socket module
TIMEVAL = Struct("@ll")

TERMINATOR = Struct("=Q")  # padding of up to 3 bytes, then a message length of 0
MESSAGE_LENGTH = Struct("=I")


class QueueError(Exception):
    """The queue is not available, or has failed; the message is for the operator."""


class QueuedPacket(Protocol):
    """The token of an arrival: a packet in the kernel, waiting for its verdict."""

    def get_payload(self) -> bytes:
        """Return a copy of the datagram, from the IP header on."""

    def accept(self) -> None:
        """Let it pass, with the new payload if one was set."""

    def drop(self) -> None:
        """Discard it."""

    def set_payload(self, payload: bytes) -> None:
        """Replace the whole datagram, from the IP header on, when it is accepted."""


class Queue:
    """A bound queue. Until it is closed, packets may get their verdicts in any order."""

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
        """When the latest packet was read (time.monotonic)."""
        self.overflows = 0
        """ENOBUFS errors: times the kernel lost packets because the receive buffer was full."""
        self.refused_verdicts = 0
        """Errors from the kernel, for example because a packet vanished with its interface."""
        self.unreadable = 0
        """Packets dropped because their message could not be parsed."""
        self._handle = handle
        self._until = self.now
        self._buffer = bytearray(MESSAGE_LIMIT + TERMINATOR.size)
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
            with warnings.catch_warnings(record=True):  # about a receive buffer that we replace
                # COPY_NONE: no packet is queued until the queue is fully configured.
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
            raise QueueError(f"cannot configure queue {self.number}: {error}") from error

    def receive(self, until: float) -> None:
        """Hand packets to the handler until the monotonic time *until*, or until none came for 0.1
        s.

        Raises QueueError if the socket fails.
        """
        self._until = until
        try:
            self._library.run_socket(self)  # type: ignore[arg-type]
        except OSError as error:
            raise QueueError(f"queue {self.number} failed: {error}") from error

    def drain(self, until: float) -> None:
        """Like `receive`, but return as soon as no packet is ready."""
        self._wait_at_most(1e-6)
        self.now = monotonic()
        self.receive(until)
        self._wait_at_most(PATIENCE)

    def close(self) -> None:
        """Unbind the queue; the kernel drops packets without a verdict."""
        self._wait_at_most(0)  # the library must get the kernel's answer
        self._library.unbind()
        self._socket.close()

    def forget_interface_names(self) -> None:
        """Look interface names up again from now on."""
        self._metadata.forget()

    def recv(self, _size: int) -> bytearray:
        """Read the next message for ``run_socket`` into the reused buffer, and return that.

        Raises BlockingIOError, which ends ``run_socket``, when the time is up or nothing came.
        """
        if self.now >= self._until:
            raise BlockingIOError(errno.EAGAIN, "the caller's time limit is reached")
        try:
            length = self._receive_into(self._view)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                self.overflows += 1
            raise
        self.now = monotonic()
        self._message_length = length
        if not delimit(self._buffer, length):
            self.unreadable += 1
        elif self._buffer[nfnetlink.SUBSYSTEM_BYTE] != nfnetlink.NFNL_SUBSYS_QUEUE:
            self.refused_verdicts += 1
        return self._buffer

    def _packet_arrived(self, packet: QueuedPacket) -> None:
        try:
            datagram = packet.get_payload()
            # The message ends with the payload attribute: its header, then the datagram.
            end = self._message_length - len(datagram) - ATTRIBUTE.size
            attributes = self._view[nfnetlink.METADATA_START : end].tobytes()
            metadata = self._recall(attributes) or self._metadata.read(attributes)
        except (RuntimeError, ValueError):
            packet.drop()
            self.unreadable += 1
            return
        # Unpacked and passed by position: the fastest way to make an Arrival.
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
        """Let a read fail with EAGAIN after *seconds* without a packet; 0 means no limit."""
        whole = int(seconds)
        microseconds = round((seconds - whole) * 1e6)
        value = TIMEVAL.pack(whole, microseconds)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)


def delimit(buffer: bytearray, length: int) -> bool:
    """Let the library find one message of *length* bytes in *buffer*, and nothing behind it.

    It looks for the next message where this one ends by its own length field, rounded up to a
    multiple of 4, and stops at a length of 0 there. The buffer needs room for `TERMINATOR` behind
    the message. False if the length field does not agree with *length* (the kernel sends one
    message at a time): then the library finds nothing at all.
    """
    TERMINATOR.pack_into(buffer, length, 0)
    own: int = MESSAGE_LENGTH.unpack_from(buffer)[0]
    if NETLINK_HEADER.size <= own <= length < own + 4:
        return True
    TERMINATOR.pack_into(buffer, 0, 0)
    return False


def _interface_name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:  # the interface is gone
        return f"if{index}"
