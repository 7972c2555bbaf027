"""Frames with an encapsulated IP packet, and a link on which real connections use such frames.

A kernel may lack VLAN devices, so this is done in user space: each endpoint has a TUN device, whose
packets are wrapped in frames on the cable and unwrapped at the other end.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import netns

from nfinspect.lab.lab import Lab
from nfinspect.lab.topology import CABLES, CLIENT, SERVER, full_name

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 1, 0x1000
ETH_P_ALL = 3
PACKET_AUXDATA, SOL_PACKET, SO_RCVBUFFORCE = 8, 263, 33

CLIENT_MAC, SERVER_MAC = (
    bytes.fromhex(host.mac.replace(":", ""))
    for host, _ in sorted(CABLES, key=lambda c: c[0].namespace)
)
INNER_CLIENT, INNER_SERVER = "203.0.113.10", "203.0.113.25"
INNER_CLIENT6, INNER_SERVER6 = "2001:db8:3::10", "2001:db8:3::25"
MTU = 1400


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """What is between the link-layer addresses and the IP packet in a frame."""

    wrap: Callable[[bytes], bytes]

    def unwrap(self, data: bytes) -> bytes | None:
        """The IP packet in a frame, given without its addresses; None if the frame holds no IP packet
        encapsulated in this way."""
        for version in (4, 6):
            probe = self.wrap(bytes([version << 4]) + bytes(99))
            size = len(probe) - 100
            packet = data[size:]
            if packet and packet[0] >> 4 == version and self.wrap(packet) == data:
                return packet
        return None


def ethertype(packet: bytes) -> bytes:
    return b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"


def tags(*words: str) -> Encapsulation:
    """VLAN tags, each as ``TYPE+TCI`` in hexadecimal digits."""
    return Encapsulation(lambda packet: bytes.fromhex("".join(words)) + ethertype(packet) + packet)


def pppoe(before: str = "") -> Encapsulation:
    def wrap(packet: bytes) -> bytes:
        protocol = b"\x00\x21" if packet[0] >> 4 == 4 else b"\x00\x57"
        header = struct.pack("!HBBHH", 0x8864, 0x11, 0, 1, len(packet) + 2)
        return bytes.fromhex(before) + header + protocol + packet

    return Encapsulation(wrap)


def pppoe_short(packet: bytes) -> bytes:
    """With protocol field compression: the protocol takes one byte."""
    protocol = b"\x21" if packet[0] >> 4 == 4 else b"\x57"
    return struct.pack("!HBBHH", 0x8864, 0x11, 0, 1, len(packet) + 1) + protocol + packet


def with_length(header: bytes) -> Callable[[bytes], bytes]:
    """An IEEE 802.3 frame, with a length in place of the EtherType."""
    return lambda packet: (len(header) + len(packet)).to_bytes(2, "big") + header + packet


PLAIN = tags()
VLAN, SERVICE_VLAN = tags("81000005"), tags("88a80005")
PRIORITY = tags("8100e000")
QINQ, QINQ_AD = tags("81000005", "81000006"), tags("88a80005", "81000006")
OLD_QINQ = tags("91000005")
PPPOE, PPPOE_SHORT, VLAN_PPPOE = pppoe(), Encapsulation(pppoe_short), pppoe("81000005")
MPLS = Encapsulation(lambda packet: bytes.fromhex("8847 00005140") + packet)
SNAP = Encapsulation(lambda packet: with_length(b"\xaa\xaa\x03\0\0\0" + ethertype(packet))(packet))
SAP = Encapsulation(with_length(b"\x06\x06\x03"))


class Cable:
    """A packet socket at an endpoint: whole frames, with VLAN tags as they were on the wire."""

    def __init__(self, lab: Lab, where: str) -> None:
        self.socket = lab.socket(where, socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 * 1024 * 1024)
        self.socket.bind(("eth0", ETH_P_ALL))
        self.socket.setblocking(False)

    def send(self, frame: bytes) -> None:
        self.socket.send(frame)

    def received(self) -> Iterator[bytes]:
        """The frames that have arrived since the last call, without those that this endpoint sent."""
        while True:
            try:
                frame, auxiliary, _, address = self.socket.recvmsg(65536, 128)
            except BlockingIOError:
                return
            if address[2] == socket.PACKET_OUTGOING:
                continue
            for level, kind, data in auxiliary:
                if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                    status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", data)
                    if status & 1 << 4:  # TP_STATUS_VLAN_VALID: the kernel has removed the tag
                        frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
            yield frame

    def close(self) -> None:
        self.socket.close()


@contextmanager
def link(lab: Lab, encapsulation: Encapsulation) -> Iterator[None]:
    """Connect `INNER_CLIENT` and `INNER_SERVER` with frames of this kind on the lab's cables."""
    ends = []
    for where, addresses in (
        (CLIENT, (INNER_CLIENT, INNER_CLIENT6)),
        (SERVER, (INNER_SERVER, INNER_SERVER6)),
    ):
        ends.append((_tun(lab, where), Cable(lab, where)))
        for address in addresses:
            length = "64" if ":" in address else "24"
            lab.run(where, ["ip", "address", "add", f"{address}/{length}", "dev", "inner"])
        lab.run(where, ["ip", "link", "set", "inner", "up", "mtu", str(MTU)])
    stop_here, stop = os.pipe()
    macs = ((SERVER_MAC + CLIENT_MAC), (CLIENT_MAC + SERVER_MAC))
    thread = threading.Thread(target=_relay, args=(ends, macs, encapsulation, stop_here))
    thread.start()
    try:
        yield
    finally:
        os.write(stop, b"x")
        thread.join()
        for tun, cable in ends:
            os.close(tun)
            cable.close()
        os.close(stop)
        os.close(stop_here)


def _relay(
    ends: list[tuple[int, Cable]],
    macs: tuple[bytes, bytes],
    encapsulation: Encapsulation,
    stop: int,
) -> None:
    watched = [stop, *(fd for tun, cable in ends for fd in (tun, cable.socket.fileno()))]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if stop in ready:
            return
        for (tun, cable), addresses in zip(ends, macs, strict=True):
            if tun in ready:
                cable.send(addresses + encapsulation.wrap(os.read(tun, 65536)))
            if cable.socket.fileno() in ready:
                for frame in cable.received():
                    packet = encapsulation.unwrap(frame[12:])
                    if packet is not None and frame[:6] == addresses[6:]:
                        os.write(tun, packet)


def _tun(lab: Lab, where: str) -> int:
    """Make a TUN device "inner" in that namespace. It disappears when its file is closed."""
    made: list[int] = []

    def make() -> None:
        file = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", b"inner", IFF_TUN | IFF_NO_PI))
        made.append(file)

    thread = threading.Thread(target=_inside, args=(lab, where, make))
    thread.start()
    thread.join()
    return made[0]


def _inside(lab: Lab, where: str, make: Callable[[], None]) -> None:
    with (Path(netns.NETNS_RUN_DIR) / full_name(lab.prefix, where)).open("rb") as namespace:
        if _libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), where)
    make()
