"""The SYNs of a flood are what a receiver believes, each of them another one."""

from __future__ import annotations

from ipaddress import ip_address

from scapy.layers.inet import IP, TCP

from bench.syn_flood import LENGTH, SOURCES, go_round, prepared
from nfinspect.packet.segment import SYN, Segment, parse

COUNT = 200


def test_syns_have_right_checksums_and_another_source_or_port_each() -> None:
    packets = prepared("198.51.100.25", COUNT)
    seen = set()
    turns = (0, 1, 2, 254, 255)
    for turn in turns:
        go_round(packets, turn)
        for at in range(0, len(packets), LENGTH):
            datagram = bytes(packets[at : at + LENGTH])
            segment = parse(datagram)
            assert isinstance(segment, Segment)
            assert (segment.flags, segment.destination_port, segment.length) == (SYN, 25, 0)
            assert ip_address(segment.source) in SOURCES
            seen.add(segment.key)
            read = IP(datagram)
            checksum = read[TCP].chksum
            del read[TCP].chksum
            assert IP(bytes(read))[TCP].chksum == checksum
    assert len(seen) == COUNT * len(turns)
