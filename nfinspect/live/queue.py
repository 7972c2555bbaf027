"""One NFQUEUE, with another for SYNs beside it: packets in runs, their verdicts joined.

NetfilterQueue binds and unbinds the queue; no other module imports that library. Everything else
happens on its socket, here and in Python: the library would copy a packet's payload twice, send
each verdict by itself, and read on behind a message whose length it does not know.

A run is what one wake-up brings: the first packet is waited for, further ones are read while they
are there, each is decided as it is read, and their verdicts leave in one send. To read ahead costs
a system call that finds nothing when packets come one by one, so that is tried after a run that had
more than one packet, and now and then. Waiting is a timeout on the socket itself (SO_RCVTIMEO),
whose cost is not measurable; poll() before each read costs half a microsecond a packet.

Messages are read into one reused buffer, as allocating 64 KiB per packet would cost more than
everything else. It holds bytes of earlier, longer packets behind the message: nothing is read
beyond the length that the kernel returned.

SYNs come from a queue of their own on the same socket, so that waiting for both is one read. They are
set aside as they are read, and decided when no other packet is there, or, a few at a time, between two
runs: a flood of them delays what belongs to connections by no more than that. How many wait is bounded by
the kernel, which drops further ones. No later packet of its connection can overtake a SYN, as none is
sent before the server has answered it. One that is repeated meanwhile is decided after the first.

ENOBUFS, by which the kernel reports lost packets, is counted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import warnings
from collections import deque
from collections.abc import Callable
from struct import Struct
from time import monotonic

from nfinspect.arrival import Arrival
from nfinspect.live import nfnetlink, obstacles
from nfinspect.live.queue_message import QUEUE_AT, MessageReader, QueuedPacket
from nfinspect.live.verdicts import SYN, Verdicts
from nfinspect.rules.queues import SYN_QUEUES, syn_queue

MAX_LENGTH = 16_384
"""Packets without a verdict, unread or held; the kernel drops further ones."""

RECEIVE_BUFFER = 32 * 1024 * 1024
"""Bytes requested. The kernel doubles it for its overhead; that holds about 1,000 packets of 64
KiB, or more than MAX_LENGTH packets within an MTU of 1,500."""

MAX_SYNS = 1024
"""SYNs without a verdict; the kernel drops further ones. Enough for as many clients at once, and decided in
some 20 ms."""

SYN_COPY_RANGE = 9216
"""Bytes of a SYN that are read, a jumbo frame. Longer ones, which can only come in fragments, count as
truncated: `MAX_SYNS` of them would take the room of data in the receive buffer."""

SYN_TURN = 4
"""SYNs decided between two runs."""

MESSAGE_LIMIT = 128 * 1024
"""Bytes. The longest message has 65,531 bytes of a packet and about 200 of metadata."""

PATIENCE = 0.1
"""Seconds that a read waits for a packet before it returns to the caller."""

LONGEST_RUN = 16
"""Packets decided before their verdicts are sent."""

LOOK_AHEAD = 16
"""Every so many runs, reading ahead is tried although the last run had a single packet."""

SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33  # asm-generic/socket.h; missing in the socket module
TIMEVAL = Struct("@ll")
SYN_BIT = SYN_QUEUES >> 8


class QueueError(Exception):
    """The queue is not available, or has failed; the message is for the operator."""


class Queue:
    """A bound queue. Until it is closed, packets may get their verdicts in any order.

    A packet's token is its number in the queue, as `Verdicts` wants it. Verdicts are collected, and sent at
    the end of a run or by `send_verdicts`.
    """

    __slots__ = (
        "_buffer",
        "_handle",
        "_library",
        "_only_watches",
        "_reader",
        "_receive_into",
        "_send",
        "_socket",
        "_spin",
        "_syns",
        "_verdicts",
        "_view",
        "accept",
        "drop",
        "now",
        "number",
        "overflows",
        "refused_verdicts",
        "replace",
        "syns",
        "unreadable",
    )

    def __init__(
        self, number: int, *, fail_open: bool = False, spin: float = 0.0, only_watches: bool = False
    ) -> None:
        """Bind queue *number* and the one for SYNs.

        With *fail_open* the kernel passes packets uninspected while the queue is full; SYNs, whose
        answers would be refused, only if the filter *only_watches*. *spin*: for
        so many seconds after a run, look for the next packet without sleeping.
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
        """Messages that could not be parsed; packets in them are dropped as far as they have a
        number."""
        self.syns = 0
        """Packets from the queue for SYNs."""
        self._only_watches = only_watches
        self._syns: deque[QueuedPacket] = deque()
        """Those that wait for their turn."""
        self._handle: Callable[[Arrival], None] = lambda arrival: None
        self._spin = spin
        self._buffer = bytearray(MESSAGE_LIMIT)
        self._view = memoryview(self._buffer)
        self._reader = MessageReader(self._view, _interface_name)
        self._verdicts = Verdicts(number)
        self.accept = self._verdicts.accept
        """Let the packet with this token pass unchanged."""
        self.replace = self._verdicts.replace
        """Let it pass with these bytes, from the IP header on, in place of its own."""
        self.drop = self._verdicts.drop
        """Discard it."""
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
                library.bind(self.number, lambda packet: None, mode=netfilterqueue.COPY_NONE)
        except OSError as error:
            raise QueueError(obstacles.of_queue(self.number)) from error
        self._library = library
        syns = syn_queue(self.number)
        self._socket = socket.socket(fileno=os.dup(library.get_fd()))
        self._receive_into = self._socket.recv_into
        self._send = self._socket.send
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 2 * Verdicts.LIMIT)
            self._ask(nfnetlink.set_flags_and_length(self.number, MAX_LENGTH, fail_open=fail_open))
            try:
                self._ask(nfnetlink.command(syns, nfnetlink.NFQNL_CFG_CMD_BIND))
            except OSError as error:
                self.close()
                raise QueueError(obstacles.of_queue(syns)) from error
            self._ask(nfnetlink.set_flags_and_length(syns, MAX_SYNS, fail_open=self._only_watches))
            self._wait_at_most(PATIENCE)
            copying = nfnetlink.NFQNL_COPY_PACKET
            self._send(nfnetlink.set_copying(syns, copying, most=SYN_COPY_RANGE))
            self._send(nfnetlink.set_copying(self.number, copying))
        except (OSError, ValueError) as error:
            self.close()
            raise QueueError(f"cannot configure queue {self.number}: {error}") from error

    def _ask(self, message: bytes) -> None:
        """Raises OSError if the kernel refuses it."""
        self._send(message)
        refused = nfnetlink.refusal(self._socket.recv(4096))
        if refused:
            raise OSError(refused, os.strerror(refused))

    def receive(self, handle: Callable[[Arrival], None], until: float) -> None:
        """Hand packets to *handle*, in order, until the monotonic time *until*, or until none came
        for 0.1 s; the verdicts given are sent.

        Raises QueueError if the socket fails.
        """
        self._handle = handle
        ahead = 0
        found_more = False
        while True:
            try:
                self._read(socket.MSG_DONTWAIT if self._syns else 0)
                ahead += 1
                if found_more or self._syns or ahead >= LOOK_AHEAD:
                    ahead = 0
                    found_more = self._read_ahead(LONGEST_RUN - 1) > 0
            except BlockingIOError:
                if not self._syns:
                    return  # nothing came
            if self._syns:
                self._decide_syns()
            self.send_verdicts()
            if self._spin and not self._syns:
                self._spin_on()
            if self.now >= until:
                return

    def drain(self, handle: Callable[[Arrival], None], until: float) -> None:
        """Like `receive`, but return as soon as no packet is ready."""
        self._handle = handle
        self.now = monotonic()
        while self.now < until and (self._read_ahead(LONGEST_RUN) > 0 or self._syns):
            self._decide_syns()
            self.send_verdicts()

    def send_verdicts(self) -> None:
        """Send the verdicts that have been collected."""
        for messages in self._verdicts.take():
            try:
                self._send(b"".join(messages))
            except OSError:  # one too many at once: each by itself
                for message in messages:
                    try:
                        self._send(message)
                    except OSError:
                        self.refused_verdicts += 1

    def close(self) -> None:
        """Unbind the queue; the kernel drops packets without a verdict."""
        try:
            # What is still in the socket is read here, so that the library finds only its answer.
            self._wait_at_most(PATIENCE)
            none = nfnetlink.NFQNL_COPY_NONE
            self._send(nfnetlink.set_copying(syn_queue(self.number), none))
            nothing = nfnetlink.set_copying(self.number, none, acknowledge=True)
            self._send(nothing)
            self._read_away()
            self._wait_at_most(0)  # the library must get the kernel's answer
            self._library.unbind()
        finally:
            self._socket.close()

    def forget_interface_names(self) -> None:
        """Look interface names up again from now on."""
        self._reader.forget()

    def _read_ahead(self, most: int) -> int:
        """Read and hand on up to *most* packets that are there already; returns how many."""
        count = 0
        try:
            while count < most:
                self._read(socket.MSG_DONTWAIT)
                count += 1
        except BlockingIOError:
            pass
        return count

    def _decide_syns(self) -> None:
        """Hand on some of those that wait."""
        self.now = now = monotonic()
        syns = self._syns
        for _ in range(min(SYN_TURN, len(syns))):
            self.syns += 1
            token, datagram, metadata = syns.popleft()
            self._handle(Arrival(token, datagram, now, *metadata))

    def _spin_on(self) -> None:
        end = self.now + self._spin
        while not self._syns:
            if self._read_ahead(LONGEST_RUN):
                self.send_verdicts()
                end = self.now + self._spin
            elif monotonic() >= end:
                return

    def _read(self, flags: int) -> None:
        """Read one message, and hand its packet on.

        Raises BlockingIOError if there is none, QueueError if the socket fails.
        """
        try:
            length = self._receive_into(self._view, 0, flags)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise QueueError(f"queue {self.number} failed: {error}") from error
            self.overflows += 1
            return
        self.now = now = monotonic()
        reader = self._reader
        try:
            packet = reader.read(length)
        except ValueError:
            self.unreadable += 1
            token = reader.packet_number(length)
            if token:
                if self._buffer[QUEUE_AT] & SYN_BIT:
                    token = SYN + token
                (self.accept if self._only_watches else self.drop)(token)
            return
        if packet is None:
            self.refused_verdicts += 1
            return
        token, datagram, metadata = packet
        if self._buffer[QUEUE_AT] & SYN_BIT:
            self._syns.append((SYN + token, datagram, metadata))
            return
        # Unpacked and passed by position: the fastest way to make an Arrival.
        captured_length, checksum_ready, gso, ingress, egress, link_source = metadata
        self._handle(
            Arrival(
                token,
                datagram,
                now,
                captured_length,
                checksum_ready,
                gso,
                ingress,
                egress,
                link_source,
            )
        )

    def _read_away(self) -> None:
        """Read and ignore everything up to the kernel's acknowledgement."""
        while True:
            try:
                length = self._receive_into(self._view)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    continue
                raise
            with contextlib.suppress(ValueError):
                if nfnetlink.refusal(self._view[:length].tobytes()) == 0:
                    return

    def _wait_at_most(self, seconds: float) -> None:
        """Let a read fail with EAGAIN after *seconds* without a packet; 0 means no limit."""
        whole = int(seconds)
        microseconds = round((seconds - whole) * 1e6)
        value = TIMEVAL.pack(whole, microseconds)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)


def _interface_name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:  # the interface is gone
        return f"if{index}"
