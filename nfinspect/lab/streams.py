"""The TCP connections to port 25 in a capture.

This reader uses scapy and none of the filter's own code, so that it can be used to judge the
filter. It expects complete captures; a stream ends at the first gap.
"""

from __future__ import annotations

from pathlib import Path

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet
from scapy.utils import PcapReader

from nfinspect.lab.conversation import REPLY, REQUEST, CapturedSegment, Conversation, reassemble

PORT = 25

_WRAP = 1 << 32


def conversations(file: Path) -> list[Conversation]:
    """Return the connections of a capture, in the order of their SYNs."""
    found: dict[tuple[str, str], Conversation] = {}
    starts: dict[tuple[str, str, str], int] = {}
    with PcapReader(str(file)) as packets:
        for number, packet in enumerate(packets, 1):
            if TCP not in packet or PORT not in (packet[TCP].sport, packet[TCP].dport):
                continue
            tcp = packet[TCP]
            direction = REQUEST if tcp.dport == PORT else REPLY
            source, destination = _ends(packet)
            ends = (source, destination) if direction == REQUEST else (destination, source)
            if tcp.flags.S and not tcp.flags.A and (ends not in found or _over(found[ends])):
                found[ends] = Conversation(*ends)
                starts.pop((*ends, REPLY), None)
                starts.pop((*ends, REQUEST), None)
            if ends not in found:
                continue  # its SYN is not in the capture
            if tcp.flags.S:
                starts.setdefault((*ends, direction), tcp.seq + 1)
            start = starts.get((*ends, direction), tcp.seq)
            found[ends].segments.append(
                CapturedSegment(
                    number,
                    float(packet.time),
                    direction,
                    (tcp.seq + bool(tcp.flags.S) - start + _WRAP // 2) % _WRAP - _WRAP // 2,
                    _payload(packet),
                    str(tcp.flags),
                )
            )
    for each in found.values():
        each.request = reassemble(each.segments, REQUEST)
        each.reply = reassemble(each.segments, REPLY)
    return list(found.values())


def _over(conversation: Conversation) -> bool:
    return any("F" in each.flags or "R" in each.flags for each in conversation.segments)


def _ends(packet: Packet) -> tuple[str, str]:
    tcp = packet[TCP]
    if IP in packet:
        return f"{packet[IP].src}:{tcp.sport}", f"{packet[IP].dst}:{tcp.dport}"
    return f"[{packet[IPv6].src}]:{tcp.sport}", f"[{packet[IPv6].dst}]:{tcp.dport}"


def _payload(packet: Packet) -> bytes:
    # By the lengths in the headers, as a short frame is padded.
    tcp = packet[TCP]
    if IP in packet:
        length = packet[IP].len - packet[IP].ihl * 4 - tcp.dataofs * 4
    else:
        length = packet[IPv6].plen - tcp.dataofs * 4
    return bytes(tcp.payload)[:length] if length > 0 else b""
