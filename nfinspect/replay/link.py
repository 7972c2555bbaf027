"""Link layers: where the IP datagram begins in a captured frame, and how to replace it.

One row of `LINKS` for each LINKTYPE_ that replay reads (https://www.tcpdump.org/linktypes.html).
"""

from __future__ import annotations

from collections.abc import Callable

from nfinspect.replay.capture import Frame

NOT_IP = -1

Locate = Callable[[bytes], int]
"""From a frame to the offset of its datagram, or `NOT_IP`; the datagram may be of any length."""

_IP = frozenset({b"\x08\x00", b"\x86\xdd"})
_TAGS = frozenset({b"\x81\x00", b"\x88\xa8", b"\x91\x00", b"\x92\x00"})
"""802.1Q, 802.1ad, and the older types for stacked tags."""
_PPPOE_SESSION = b"\x88\x64"
_PPP_IP = frozenset({b"\x00\x21", b"\x00\x57"})
_ADDRESS_FAMILIES = frozenset({2, 10, 24, 28, 30})
"""AF_INET, and AF_INET6 on Linux, NetBSD and OpenBSD, FreeBSD, Darwin."""
_SMALLEST_ETHERNET = 60


def _ethernet(frame: bytes) -> int:
    if frame[12:14] in _IP:
        return 14
    return _after_tags(frame, 12)


def _after_tags(frame: bytes, at: int) -> int:
    """*at*: offset of the EtherType. An 802.3 length in its place never means IP."""
    while (kind := frame[at : at + 2]) in _TAGS:
        at += 4
    if kind in _IP:
        return at + 2
    if kind == _PPPOE_SESSION and frame[at + 8 : at + 10] in _PPP_IP:
        return at + 10
    return NOT_IP


def _cooked(frame: bytes) -> int:
    return _after_tags(frame, 14)


def _cooked_2(frame: bytes) -> int:
    kind = frame[:2]
    if kind in _IP:
        return 20
    if kind in _TAGS:  # the rest of the first tag follows the cooked header
        return _after_tags(frame, 22)
    return NOT_IP


def _raw(frame: bytes) -> int:
    return 0 if frame and frame[0] >> 4 in (4, 6) else NOT_IP


def _loopback(frame: bytes) -> int:
    """Four bytes of address family, in the byte order of the host that captured."""
    family = frame[:4]
    if int.from_bytes(family, "little") in _ADDRESS_FAMILIES:
        return 4
    return 4 if int.from_bytes(family, "big") in _ADDRESS_FAMILIES else NOT_IP


def _raw_or_loopback(frame: bytes) -> int:
    """Type 12 is raw IP, except on OpenBSD, where it is loopback."""
    return _raw(frame) if _raw(frame) != NOT_IP else _loopback(frame)


ETHERNET = 1

LINKS: dict[int, tuple[str, Locate]] = {
    0: ("BSD loopback", _loopback),
    ETHERNET: ("Ethernet", _ethernet),
    12: ("raw IP", _raw_or_loopback),
    14: ("raw IP", _raw),
    101: ("raw IP", _raw),
    108: ("OpenBSD loopback", _loopback),
    113: ("Linux cooked v1", _cooked),
    228: ("raw IPv4", _raw),
    229: ("raw IPv6", _raw),
    276: ("Linux cooked v2", _cooked_2),
}


def locate(link_type: int) -> Locate | None:
    """The function for *link_type*; None if replay does not know it."""
    found = LINKS.get(link_type)
    return found[1] if found else None


def enclose(datagram: bytes, frame: Frame) -> bytes:
    """The frame with *datagram* in place of its own; `offset` and `end` of *frame* must be set.

    After a datagram of the same length, padding stays. A shorter one on Ethernet is padded to the
    minimum frame size if the original frame had that size.
    """
    old = frame.data
    if len(datagram) == frame.end - frame.offset:
        return old[: frame.offset] + datagram + old[frame.end :]
    new = framed(old[: frame.offset], datagram)
    if frame.interface.link_type == ETHERNET and len(old) >= _SMALLEST_ETHERNET:
        new = new.ljust(_SMALLEST_ETHERNET, b"\0")
    return new


def framed(head: bytes, datagram: bytes) -> bytes:
    """*datagram* with a link header, whose PPPoE length is updated (RFC 2516 section 4)."""
    if head[-2:] in _PPP_IP and head[-10:-8] == _PPPOE_SESSION:
        head = head[:-4] + min(len(datagram) + 2, 0xFFFF).to_bytes(2, "big") + head[-2:]
    return head + datagram


def turned(head: bytes, link_type: int) -> bytes:
    """The link header for the opposite direction."""
    return head[6:12] + head[:6] + head[12:] if link_type == ETHERNET else head
