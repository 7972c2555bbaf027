"""Sees every frame that passes an interface of the lab, with its direction and time.

Unlike a capture by tcpdump (`capture`) it starts at once and keeps the frames in memory.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from nfinspect.lab.topology import LabError

ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35  # asm-generic/socket.h
OUTGOING = 4
"""PACKET_OUTGOING, linux/if_packet.h."""
BUFFER = 256 * 1024 * 1024
"""Bytes that the kernel keeps until they are read, by the sizes of its own buffers."""
LARGEST = 65_600
_STATISTICS = struct.Struct("=II")
_TIME = struct.Struct("=qq")


@dataclass(frozen=True, slots=True)
class TappedFrame:
    """A frame on an interface."""

    time: int
    """Nanoseconds since 1970."""
    data: bytes


@dataclass(slots=True)
class Tapped:
    """What passed an interface."""

    came: list[TappedFrame] = field(default_factory=list)
    """Towards the host that has the interface."""
    left: list[TappedFrame] = field(default_factory=list)


class Tap:
    """Sees the frames of an interface from the moment that it is made."""

    def __init__(
        self, opened: Callable[[str, int, int], socket.socket], where: str, interface: str
    ) -> None:
        """*opened* makes a socket in the namespace *where*."""
        self.frames = Tapped()
        self._socket = opened(where, socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setblocking(False)
        self._socket.bind((interface, ETH_P_ALL))
        self._interface = interface
        self._ending = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            ending = self._ending.is_set()
            ready, _, _ = select.select([self._socket], [], [], 0.02)
            if ready:
                self._take_all()
            elif ending:
                return

    def _take_all(self) -> None:
        while True:
            try:
                data, ancillary, _, address = self._socket.recvmsg(LARGEST, 64)
            except BlockingIOError:
                return
            seconds, nanoseconds = _TIME.unpack(ancillary[0][2])
            frame = TappedFrame(seconds * 10**9 + nanoseconds, data)
            side = self.frames.left if address[2] == OUTGOING else self.frames.came
            side.append(frame)

    def stop(self) -> Tapped:
        """Return what has passed.

        Raises LabError if the kernel could not keep all of it.
        """
        self._ending.set()
        self._reader.join()
        words = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, _STATISTICS.size)
        lost = _STATISTICS.unpack(words)[1]
        self.close()
        if lost:
            raise LabError(f"{lost} frames on {self._interface} were not seen: play more slowly")
        return self.frames

    def close(self) -> None:
        """Stop looking, whatever is there."""
        self._ending.set()
        if self._reader is not threading.current_thread():
            self._reader.join()
        self._socket.close()
