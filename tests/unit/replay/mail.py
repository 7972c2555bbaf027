"""A mail session as datagrams, and every link header that replay reads, built with scapy."""

from __future__ import annotations

from collections.abc import Callable

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether
from scapy.layers.ppp import PPP, PPPoE
from scapy.packet import Raw

CLIENT, SERVER = "192.0.2.1", "198.51.100.25"
CLIENT_6, SERVER_6 = "2001:db8::1", "2001:db8::25"

ENVELOPE = (
    (">", b"MAIL FROM:<a@example>\r\n"),
    ("<", b"250 2.1.0 Ok\r\n"),
    (">", b"RCPT TO:<b@example>\r\n"),
    ("<", b"250 2.1.5 Ok\r\n"),
    (">", b"DATA\r\n"),
    ("<", b"354 go on\r\n"),
)
MESSAGE = (
    (">", b"Subject: test\r\n\r\nHello.\r\n.\r\n"),
    ("<", b"250 2.0.0 Ok: queued\r\n"),
)
DIALOGUE = (
    ("<", b"220 mx.example ESMTP\r\n"),
    (">", b"HELO client.example\r\n"),
    ("<", b"250 mx.example\r\n"),
    *ENVELOPE,
    *MESSAGE,
    (">", b"QUIT\r\n"),
    ("<", b"221 2.0.0 Bye\r\n"),
)


def datagram(
    direction: str,
    flags: str,
    seq: int,
    ack: int,
    payload: bytes = b"",
    *,
    six: bool = False,
    port: int = 40_000,
    **ip: object,
) -> bytes:
    """A segment from the client (``>``) or from the server (``<``)."""
    ends = (CLIENT_6, SERVER_6) if six else (CLIENT, SERVER)
    ports = (port, 25)
    if direction == "<":
        ends, ports = ends[::-1], ports[::-1]
    header = IPv6(src=ends[0], dst=ends[1], **ip) if six else IP(src=ends[0], dst=ends[1], **ip)
    tcp = TCP(sport=ports[0], dport=ports[1], flags=flags, seq=seq, ack=ack, window=29_200)
    return bytes(header / tcp / Raw(payload)) if payload else bytes(header / tcp)


def session(
    dialogue: tuple[tuple[str, bytes], ...] = DIALOGUE, *, six: bool = False, port: int = 40_000
) -> list[bytes]:
    """From SYN to FIN; every line acknowledges the previous line of the other side."""

    def segment(direction: str, flags: str, payload: bytes = b"") -> bytes:
        own, other = (0, 1) if direction == ">" else (1, 0)
        packet = datagram(
            direction, flags, numbers[own], numbers[other], payload, six=six, port=port
        )
        numbers[own] = (numbers[own] + len(payload) + ("S" in flags) + ("F" in flags)) % 2**32
        return packet

    numbers = [2**32 - 20, 1_000]  # the client's numbers wrap around
    packets = [
        datagram(">", "S", numbers[0], 0, six=six, port=port),
        datagram("<", "SA", numbers[1], numbers[0] + 1, six=six, port=port),
    ]
    numbers[0] += 1
    numbers[1] += 1
    packets.append(segment(">", "A"))
    packets += [segment(direction, "PA", payload) for direction, payload in dialogue]
    packets += [segment(">", "FA"), segment("<", "FA"), segment(">", "A")]
    return packets


def ether_type(packet: bytes) -> int:
    return 0x0800 if packet[0] >> 4 == 4 else 0x86DD


def ethernet(packet: bytes) -> bytes:
    """An Ethernet frame, padded to 60 bytes."""
    frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=ether_type(packet))
    return bytes(frame / Raw(packet)).ljust(60, b"\0")


def _tagged(*tags: type) -> Callable[[bytes], bytes]:
    def wrap(packet: bytes) -> bytes:
        frame = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        for number, tag in enumerate(tags):
            frame /= tag(vlan=7 + number)
        frame.lastlayer().type = ether_type(packet)
        return bytes(frame / Raw(packet))

    return wrap


def _pppoe(packet: bytes) -> bytes:
    proto = 0x0021 if packet[0] >> 4 == 4 else 0x0057
    head = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / PPPoE(sessionid=5)
    return bytes(head / PPP(proto=proto) / Raw(packet))


def _cooked(packet: bytes) -> bytes:
    return bytes(CookedLinux(pkttype=4, lladdrtype=1, proto=ether_type(packet)) / Raw(packet))


def _cooked_tagged(packet: bytes) -> bytes:
    head = CookedLinux(pkttype=4, lladdrtype=1, proto=0x8100)
    return bytes(head / Dot1Q(vlan=9, type=ether_type(packet)) / Raw(packet))


def _cooked_2(packet: bytes) -> bytes:
    return bytes(CookedLinuxV2(proto=ether_type(packet), lladdrtype=1) / Raw(packet))


def _cooked_2_tagged(packet: bytes) -> bytes:
    return (
        bytes(CookedLinuxV2(proto=0x8100, lladdrtype=1))
        + bytes(Dot1Q(vlan=9, type=ether_type(packet)))
        + packet
    )


def _loopback(order: str) -> Callable[[bytes], bytes]:
    def wrap(packet: bytes) -> bytes:
        family = 2 if packet[0] >> 4 == 4 else 24 if order == "big" else 30
        return family.to_bytes(4, order) + packet  # type: ignore[arg-type]

    return wrap


def _raw(packet: bytes) -> bytes:
    return packet


LINKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "Ethernet": (1, ethernet),
    "802.1Q": (1, _tagged(Dot1Q)),
    "QinQ": (1, _tagged(Dot1AD, Dot1Q)),
    "three tags": (1, _tagged(Dot1Q, Dot1Q, Dot1Q)),
    "PPPoE": (1, _pppoe),
    "Linux cooked v1": (113, _cooked),
    "Linux cooked v1, tagged": (113, _cooked_tagged),
    "Linux cooked v2": (276, _cooked_2),
    "Linux cooked v2, tagged": (276, _cooked_2_tagged),
    "raw IP": (101, _raw),
    "raw IP, BSD/OS's number": (12, _raw),
    "raw IP, OpenBSD's number": (14, _raw),
    "BSD loopback, little-endian": (0, _loopback("little")),
    "BSD loopback, big-endian": (0, _loopback("big")),
    "OpenBSD loopback": (108, _loopback("big")),
    "OpenBSD loopback with the number of raw IP": (12, _loopback("big")),
}
"""Link type, and a function that makes a frame of a datagram."""
