"""Sending packets that the filter originates, routed or on a bridge.

- Routed: through a raw socket, as the packet would have arrived (see `conntrack`), so that the
  kernel applies the same NAT as to every packet of its connection. A packet of an untracked
  connection is marked; a rule in raw OUTPUT keeps it untracked.
- On a bridge: through a packet socket, out of the receiver's device, as a bridge
  without an address has no route. The link-layer addresses are those of the two neighbours, as if
  the bridge had forwarded it. No bridge hook sees it.
"""

from __future__ import annotations

import contextlib
import socket

from nfinspect.actions import DropReason, Inject
from nfinspect.events import Direction
from nfinspect.live import obstacles
from nfinspect.live.conntrack import Conntrack
from nfinspect.live.nfnetlink import NOWHERE
from nfinspect.packet.edit import readdress
from nfinspect.packet.segment import parse
from nfinspect.rules.mark import MARK

SO_SNDBUFFORCE, SO_MARK = 32, 36  # asm-generic/socket.h
SEND_BUFFER = 4 * 1024 * 1024
"""Bytes that may wait for a slow network card, or for the resolution of a neighbour's address."""

ETHERTYPES = {4: 0x0800, 6: 0x86DD}


class InjectionError(Exception):
    """Packets cannot be injected; the message says why."""


class Injector:
    """Sends complete datagrams."""

    def __init__(self) -> None:
        """Open the sockets.

        Raises InjectionError if that is not permitted.
        """
        self._close = contextlib.ExitStack()
        self._raw: dict[tuple[int, bool], socket.socket] = {}
        """By IP version, and whether connection tracking sees what is sent."""
        try:
            self._packet = self._open(socket.AF_PACKET, 0)
            self._open_raw(4, socket.AF_INET)
            with contextlib.suppress(OSError):  # a kernel without IPv6 has none to filter
                self._open_raw(6, socket.AF_INET6)
        except PermissionError as error:
            self.close()
            needed = obstacles.CAP_NET_RAW
            raise InjectionError(obstacles.lacking(needed, "injecting packets")) from error
        self._conntrack = Conntrack()
        self._close.callback(self._conntrack.close)

    def _open_raw(self, version: int, family: int) -> None:
        for tracked in (True, False):
            # IPPROTO_RAW: the datagram includes its IP header, in both families.
            raw = self._open(family, socket.IPPROTO_RAW)
            if not tracked:
                raw.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)
            self._raw[version, tracked] = raw

    def _open(self, family: int, protocol: int) -> socket.socket:
        opened = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        self._close.callback(opened.close)
        with contextlib.suppress(PermissionError):  # needs CAP_NET_ADMIN, and is not essential
            opened.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER)
        return opened

    def inject(self, action: Inject) -> bool:
        """Send one datagram; returns whether that succeeded."""
        try:
            if action.link_destination or action.link_source:
                return self._bridge(action)
            return self._route(action.datagram, from_client=action.direction is Direction.REQUEST)
        except (OSError, KeyError):  # KeyError: no sockets of that family
            return False

    def _route(self, datagram: bytes, *, from_client: bool) -> bool:
        segment = parse(datagram)
        if isinstance(segment, DropReason):
            return False
        origin = self._conntrack.origin(segment.key, from_client=from_client)
        if origin is None:
            return False
        if origin.key != segment.key:
            datagram = readdress(segment, origin.key)
        # Route by the translated destination, though the header may have the one before NAT.
        family = socket.AF_INET if segment.version == 4 else socket.AF_INET6
        destination = socket.inet_ntop(family, segment.destination)
        self._raw[segment.version, origin.tracked].sendto(datagram, (destination, 0))
        return True

    def _bridge(self, action: Inject) -> bool:
        ends = action.link_destination, action.link_source
        if not all(ends) or NOWHERE in ends:
            return False
        ethertype = ETHERTYPES[action.datagram[0] >> 4]
        frame = b"".join((*ends, ethertype.to_bytes(2, "big"), action.datagram))
        self._packet.sendto(frame, (action.device, ethertype))
        return True

    def forget(self) -> None:
        """Discard what is cached from connection tracking."""
        self._conntrack.forget()

    def close(self) -> None:
        """Close the sockets."""
        self._close.close()
