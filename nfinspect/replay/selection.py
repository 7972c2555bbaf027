"""Which connections a report is about."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class End:
    """An address or a network, and a port; None stands for any."""

    network: Network | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> End:
        """From ``ADDRESS``, ``ADDRESS/BITS``, ``ADDRESS:PORT``, ``[ADDRESS]:PORT`` or ``:PORT``.

        Raises ValueError.
        """
        address, port = text, ""
        if text.startswith("["):
            address, closed, port = text[1:].partition("]")
            if not closed or (port and not port.startswith(":")):
                raise ValueError(text)
            port = port[1:]
        elif text.count(":") == 1:
            address, _, port = text.partition(":")
        if port and not (port.isascii() and port.isdigit() and int(port) < 65536):
            raise ValueError(text)
        if not address and not port:
            raise ValueError(text)
        network = ipaddress.ip_network(address, strict=False) if address else None
        return cls(network, int(port) if port else None)

    def matches(self, ip_port: str) -> bool:
        """Whether ``ip:port`` or ``[ip]:port`` is this end."""
        address, _, port = ip_port.rpartition(":")
        return (self.port is None or self.port == int(port)) and (
            self.network is None or ipaddress.ip_address(address.strip("[]")) in self.network
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """The connection with this number, or those between these ends that have a finding of one of
    these kinds. None and an empty tuple stand for any."""

    number: int | None = None
    kinds: tuple[str, ...] = ()
    clients: tuple[End, ...] = ()
    servers: tuple[End, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self.number is None and not (self.kinds or self.clients or self.servers)

    def admits(self, connection: dict[str, Any]) -> bool:
        """Whether the report is about *connection*, as in ``Result.connections``."""
        return (
            self.number in (None, connection["number"])
            and (not self.kinds or any(f["kind"] in self.kinds for f in connection["findings"]))
            and _any(self.clients, connection["client"])
            and _any(self.servers, connection["server"])
        )


def _any(ends: tuple[End, ...], ip_port: str) -> bool:
    return not ends or any(end.matches(ip_port) for end in ends)
