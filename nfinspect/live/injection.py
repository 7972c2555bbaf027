"""Packets of the filter's own making, through raw sockets: routed filters without NAT."""

from __future__ import annotations

import contextlib
import socket

from nfinspect.actions import Inject
from nfinspect.live import obstacles
from nfinspect.rules.mark import MARK

SO_MARK = 36  # asm-generic/socket.h


class InjectionError(Exception):
    """No packet can be injected; the message says why."""


class Injector:
    """Sends whole datagrams, marked as the filter's own."""

    def __init__(self) -> None:
        """Open the raw sockets.

        Raises InjectionError if that is not permitted.
        """
        self.failed = 0
        """Packets that could not be sent."""
        self._sockets: dict[int, socket.socket] = {}
        try:
            self._open(4, socket.AF_INET)
            with contextlib.suppress(OSError):  # a kernel without IPv6 has none to filter
                self._open(6, socket.AF_INET6)
        except PermissionError as error:
            self.close()
            needed = obstacles.CAP_NET_RAW
            raise InjectionError(obstacles.lacking(needed, "answering for a peer")) from error

    def _open(self, version: int, family: int) -> None:
        # IPPROTO_RAW: the datagram brings its own header, in both families.
        raw = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW)
        raw.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)
        self._sockets[version] = raw

    def inject(self, action: Inject) -> bool:
        """Send one datagram to its own destination; return whether the kernel took it."""
        datagram = action.datagram
        version = datagram[0] >> 4
        if version == 4:
            host = socket.inet_ntop(socket.AF_INET, datagram[16:20])
        else:
            host = socket.inet_ntop(socket.AF_INET6, datagram[24:40])
        try:
            self._sockets[version].sendto(datagram, (host, 0))
        except (OSError, KeyError):
            self.failed += 1
            return False
        return True

    def close(self) -> None:
        """Close the raw sockets."""
        for raw in self._sockets.values():
            raw.close()
