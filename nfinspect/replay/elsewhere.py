"""Mail on ports that the policy does not inspect, so that a replay without any can say where it is."""

from __future__ import annotations

import re

SUBMISSION = frozenset({465, 587, 2525})
"""Ports of mail besides 25 (RFC 8314, RFC 6409; the last by custom)."""

TLS_PORT = 465
"""Encrypted from the first byte: nothing in it can be inspected."""

MOST_PORTS = 10
"""Ports remembered."""

_CLIENT = re.compile(rb"(?:EHLO|HELO) |(?:MAIL FROM|RCPT TO):", re.IGNORECASE)
_SERVER = re.compile(rb"220[ -][^\r\n]*SMTP", re.IGNORECASE)


class Elsewhere:
    """The servers' ports on which mail was seen."""

    def __init__(self) -> None:
        self.ports: dict[int, int] = {}
        """The first packet of each."""

    def notice(self, datagram: bytes, ports: tuple[int, int], packet: int) -> None:
        """Look at a TCP segment of any ports (source, destination)."""
        source, destination = ports
        if source in self.ports or destination in self.ports:
            return
        if destination in SUBMISSION:
            found = destination
        elif source in SUBMISSION:
            found = source
        else:
            at = (datagram[0] & 15) << 2 if datagram[0] >> 4 == 4 else 40
            if len(datagram) < at + 20:
                return
            at += (datagram[at + 12] >> 4) << 2
            if _CLIENT.match(datagram, at):
                found = destination
            elif _SERVER.match(datagram, at):
                found = source
            else:
                return
        if len(self.ports) < MOST_PORTS:
            self.ports[found] = packet
