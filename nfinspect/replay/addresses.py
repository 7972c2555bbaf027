"""Addresses of captured hosts in the lab: their own, wherever that is possible.

A policy may name addresses, so they are kept. Another one takes the place of one that a router does not
forward (loopback, multicast), that belongs to the lab's filter, that is a client's as well as
a server's, or that an earlier capture had.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from struct import Struct

from nfinspect.packet.checksum import ones_complement_sum

_WORD = Struct("!H")
_POOLS = {
    # RFC 2544: networks for measurements; RFC 3849: documentation
    (4, True): "198.18.0.0/16",
    (4, False): "198.19.0.0/16",
    (6, True): "2001:db8:c::/64",
    (6, False): "2001:db8:5::/64",
}
"""From which new addresses come, by IP version and whether it is a client's."""

IpAddress = IPv4Address | IPv6Address


class PlayedAddresses:
    """What becomes of each address."""

    def __init__(self, taken: Collection[str] = (), *, routed: bool = False) -> None:
        """*taken*: those of the filter. Without *routed*, addresses of any kind pass."""
        self._taken = {ip_address(text).packed for text in taken}
        self._routed = routed
        self._earlier: set[bytes] = set()
        self._now: dict[tuple[bytes, bool], bytes] = {}
        self._roles: dict[bytes, bool] = {}
        self._pools: dict[tuple[int, bool], Iterator[IpAddress]] = {
            key: ip_network(pool).hosts() for key, pool in _POOLS.items()
        }
        self.replaced: dict[str, str] = {}
        """Addresses that were replaced, for the reader."""

    def next_capture(self) -> None:
        """What follows is of another capture."""
        self._earlier |= set(self._now.values()) | {address for address, _ in self._now}
        self._now.clear()
        self._roles.clear()

    def changed(self, datagram: bytes, *, from_client: bool) -> bytes:
        """The datagram, or a fragment, with the addresses that it has in the lab. A wrong TCP checksum
        stays as wrong as it was."""
        version = datagram[0] >> 4
        start, size = (12, 4) if version == 4 else (8, 16)
        old = datagram[start : start + 2 * size]
        new = b"".join(
            self._of(address, version, client)
            for address, client in ((old[:size], from_client), (old[size:], not from_client))
        )
        if new == old:
            return datagram
        changed = bytearray(datagram)
        changed[start : start + 2 * size] = new
        change = ones_complement_sum(new) - ones_complement_sum(old)
        if version == 4:
            _adjust(changed, 10, change)
        transport = _transport(datagram, version)
        if transport is not None:
            _adjust(changed, transport + 16, change)
        return bytes(changed)

    def _of(self, address: bytes, version: int, client: bool) -> bytes:
        known = self._now.get((address, client))
        if known is not None:
            return known
        role = self._roles.setdefault(address, client)
        if address in self._earlier or (
            self._routed and (role is not client or address in self._taken or _special(address))
        ):
            new = next(
                each.packed
                for each in self._pools[version, client]
                if each.packed not in self._earlier and (each.packed, client) not in self._now
            )
            self.replaced.setdefault(str(ip_address(address)), str(ip_address(new)))
        else:
            new = address
        self._now[address, client] = new
        return new


def _special(address: bytes) -> bool:
    """Whether no router forwards packets from or to the address."""
    found = ip_address(address)
    return (
        found.is_loopback
        or found.is_multicast
        or found.is_unspecified
        or found.is_link_local
        or (isinstance(found, IPv4Address) and (address[0] in (0, 127) or address[0] >= 224))
        or (isinstance(found, IPv6Address) and found.ipv4_mapped is not None)
        or (address[-1] in (0, 255) and len(address) == 4)
    )


def _adjust(datagram: bytearray, at: int, change: int) -> None:
    """A checksum after the sum of what it covers has changed (RFC 1624)."""
    checksum = _WORD.unpack_from(datagram, at)[0]
    _WORD.pack_into(datagram, at, (checksum - change) % 0xFFFF)


def _transport(datagram: bytes, version: int) -> int | None:
    """Where the TCP header begins, if its checksum is in this packet."""
    if version == 4:
        if int.from_bytes(datagram[6:8], "big") & 0x1FFF:
            return None
        transport = (datagram[0] & 15) << 2
    else:
        header, transport = datagram[6], 40
        while header != 6:
            if transport + 8 > len(datagram):
                return None
            if header == 44 and int.from_bytes(datagram[transport + 2 : transport + 4], "big") & ~7:
                return None
            length = 8 if header == 44 else (datagram[transport + 1] + 1) * 8
            if header == 51:
                length = (datagram[transport + 1] + 2) * 4
            header = datagram[transport]
            transport += length
    return transport if transport + 18 <= len(datagram) else None
