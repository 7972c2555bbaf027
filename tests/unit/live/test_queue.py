"""The order in which a queue's packets are decided: what belongs to connections before SYNs. The end-to-end
tests have the kernel."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from time import monotonic

import pytest

from nfinspect.arrival import Arrival
from nfinspect.live import queue as queue_module
from nfinspect.live.netlink import messages, walk
from nfinspect.live.queue import SYN_TURN, Queue
from nfinspect.rules.queues import syn_queue
from tests.unit.live.test_queue_message import message

NUMBER = 3


class Kernel:
    """The other end of the queue's socket."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def sends(self, number: int, *, syn: bool = False, **changes: bytes) -> None:
        sent = bytearray(message(number, **changes))
        sent[18:20] = struct.pack("!H", syn_queue(NUMBER) if syn else NUMBER)
        self._end.send(sent)

    def verdicts(self) -> list[tuple[int, int, int]]:
        """Queue, number and verdict of all since the last call."""
        found = []
        while True:
            try:
                sent = self._end.recv(1 << 20, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            for _, body in messages(sent):
                (verdict,) = (value for _, kind, value in walk(body[4:]) if kind == 2)
                found.append(
                    (*struct.unpack("!2xH", body[:4]), *struct.unpack("!II", verdict)[::-1])
                )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Queue, Kernel]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def bind(queue: Queue, fail_open: bool) -> None:
        queue._socket = ours
        queue._receive_into, queue._send = ours.recv_into, ours.send
        queue._wait_at_most(0.01)

    monkeypatch.setattr(Queue, "_bind", bind)
    monkeypatch.setattr(queue_module, "_interface_name", str)
    with ours, theirs:
        yield Queue(NUMBER), Kernel(theirs)


def decided(queue: Queue, rounds: Callable[[Callable[[Arrival], None]], None]) -> list[int]:
    """The numbers of the packets, those of SYNs negative, in the order in which they are decided."""
    order = []

    def handle(arrival: Arrival) -> None:
        token = arrival.token
        assert isinstance(token, bytes)
        number = int.from_bytes(token[-4:])
        order.append(-number if len(token) > 4 else number)
        queue.accept(token)

    rounds(handle)
    return order


def received(queue: Queue) -> list[int]:
    return decided(queue, lambda handle: queue.receive(handle, monotonic() + 60))


def test_packets_of_connections_are_decided_before_syns_that_came_first(
    made: tuple[Queue, Kernel],
) -> None:
    queue, kernel = made
    for number in range(1, 9):
        kernel.sends(number, syn=True)
    for number in range(1, 4):
        kernel.sends(number)
    assert received(queue) == [1, 2, 3, *range(-1, -9, -1)]
    assert queue.syns == 8


def test_syns_have_their_turns_while_there_are_others(made: tuple[Queue, Kernel]) -> None:
    queue, kernel = made
    for number in range(1, 61):
        kernel.sends(number, syn=True)
    for number in range(1, 61):
        kernel.sends(number)
    order = received(queue)
    last = order.index(60)
    assert 0 < sum(number < 0 for number in order[:last]) <= 60 // 2
    assert [number for number in order if number > 0] == list(range(1, 61))
    assert [-number for number in order if number < 0] == list(range(1, 61))
    between = order[order.index(1) : last]
    turns = "".join("s" if number < 0 else "d" for number in between).split("d")
    assert max(map(len, turns)) == SYN_TURN


def test_verdicts_go_to_the_queue_that_the_packet_came_from(made: tuple[Queue, Kernel]) -> None:
    queue, kernel = made
    kernel.sends(7, syn=True)
    kernel.sends(7)
    assert received(queue) == [7, -7]
    assert kernel.verdicts() == [(NUMBER, 7, 1), (syn_queue(NUMBER), 7, 1)]


def test_syns_that_wait_are_decided_as_the_filter_ends(made: tuple[Queue, Kernel]) -> None:
    queue, kernel = made
    for number in range(1, 41):
        kernel.sends(number, syn=True)
    order = decided(queue, lambda handle: queue.drain(handle, monotonic() + 60))
    assert order == [-number for number in range(1, 41)]


def test_unreadable_syn_is_dropped_in_its_queue(made: tuple[Queue, Kernel]) -> None:
    queue, kernel = made
    kernel.sends(5, syn=True, tail=bytes(4))
    assert received(queue) == []
    queue.send_verdicts()
    assert queue.unreadable == 1
    assert kernel.verdicts() == [(syn_queue(NUMBER), 5, 0)]
