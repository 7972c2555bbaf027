"""The reference: a process that accepts every queued packet without reading it.

The queue is set up as by the filter: GSO packets, the same receive buffer, one reused buffer for
messages. The only difference is what is done for each packet: as little as a Python program can do.
Runs as ``python -m bench.accept_only`` until SIGTERM.
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
    """A queue that accepts every packet."""

    def _packet_arrived(self, packet: QueuedPacket) -> None:
        packet.accept()

    def recv(self, _size: int) -> bytearray:
        """Return the next message in the reused buffer; see `Queue.recv`."""
        length = self._receive_into(self._view)
        _TERMINATE(self._buffer, length, 0)  # the length of the next message: there is none
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
        queue.receive(inf)  # returns after a while without packets
    queue.close()


if __name__ == "__main__":
    main()
