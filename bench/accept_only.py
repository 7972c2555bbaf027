"""The reference: a process that accepts every queued packet and looks at none of them.

The queue is set up as the filter sets it up: GSO packets, the same receive buffer, one reused buffer
for messages. It differs only in what happens for each packet, which is as little as a program in
Python can do. Runs as ``python -m bench.accept_only`` until SIGTERM.
"""

from __future__ import annotations

import signal
import sys
from math import inf
from struct import Struct
from types import FrameType

from nfinspect.live.queue import Queue, QueuedPacket

_TERMINATE = Struct("=I").pack_into


class AcceptOnly(Queue):
    """A queue all of whose packets pass."""

    def _packet_arrived(self, packet: QueuedPacket) -> None:
        packet.accept()

    def recv(self, _size: int) -> bytearray:
        """Return the next message in the reused buffer; see `Queue.recv`."""
        length = self._receive_into(self._view)
        _TERMINATE(self._buffer, length, 0)  # the length of a next message: there is none
        return self._buffer


def main() -> None:
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    queue = AcceptOnly(0, lambda arrival: None)
    print("accept-only ready", file=sys.stderr, flush=True)
    while not stopping:
        queue.receive(inf)  # returns when nothing came for a while
    queue.close()


if __name__ == "__main__":
    main()
