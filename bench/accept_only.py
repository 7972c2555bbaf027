"""The reference: a process that accepts every queued packet without reading it.

It uses NetfilterQueue as that comes, but for a queue that is set up as by the filter: GSO packets,
the same receive buffer, one reused buffer for messages.
Runs as ``python -m bench.accept_only`` until SIGTERM.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import warnings
from struct import Struct

import netfilterqueue

from nfinspect.live import nfnetlink, queue

TERMINATOR = Struct("=Q")
"""Up to 3 bytes of padding, then the length of the next message: there is none."""


class Reader:
    """Reads messages for the library, always into the same buffer."""

    def __init__(self, opened: socket.socket) -> None:
        self._buffer = bytearray(queue.MESSAGE_LIMIT + TERMINATOR.size)
        self._view = memoryview(self._buffer)[: queue.MESSAGE_LIMIT]
        self._receive_into = opened.recv_into

    def recv(self, _size: int) -> bytearray:
        """Return the next message, which ends where the library looks for another."""
        TERMINATOR.pack_into(self._buffer, self._receive_into(self._view), 0)
        return self._buffer


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    library = netfilterqueue.NetfilterQueue()
    with warnings.catch_warnings(record=True):
        library.bind(0, lambda packet: packet.accept(), mode=netfilterqueue.COPY_NONE)
    opened = socket.socket(fileno=os.dup(library.get_fd()))
    opened.setsockopt(socket.SOL_SOCKET, queue.SO_RCVBUFFORCE, queue.RECEIVE_BUFFER)
    opened.send(nfnetlink.set_flags_and_length(0, queue.MAX_LENGTH, fail_open=False))
    opened.recv(4096)
    opened.send(nfnetlink.set_copying(0, nfnetlink.NFQNL_COPY_PACKET))
    print("accept-only ready", file=sys.stderr, flush=True)
    library.run_socket(Reader(opened))


if __name__ == "__main__":
    main()
