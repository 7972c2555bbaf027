"""Crafted segments equal those that scapy builds."""

import socket

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from nfinspect.packet.craft import craft_acknowledgment, craft_reset
from nfinspect.packet.options import sack_option, timestamps_option

KEYS = {
    "IPv4": socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.25"),
    "IPv6": socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8:25::25"),
}
PORTS = bytes.fromhex("9c40 0019")


def network_layer(version: str, hop_limit: int = 64) -> Packet:
    if version == "IPv4":
        return IP(src="192.0.2.1", dst="198.51.100.25", id=0, flags="DF", ttl=hop_limit)
    return IPv6(src="2001:db8::1", dst="2001:db8:25::25", hlim=hop_limit)


def tcp(**fields: object) -> TCP:
    return TCP(sport=40000, dport=25, **fields)


versions = pytest.mark.parametrize("version", ["IPv4", "IPv6"])


@versions
def test_reset_equals_scapys(version: str) -> None:
    crafted = craft_reset(KEYS[version] + PORTS, sequence=0xFFFFFFFF)
    expected = network_layer(version) / tcp(flags="R", seq=0xFFFFFFFF, ack=0, window=0)
    assert crafted == bytes(expected)


@versions
def test_reset_that_answers_a_syn_equals_scapys(version: str) -> None:
    crafted = craft_reset(KEYS[version] + PORTS, sequence=0, acknowledgment=0)
    expected = network_layer(version) / tcp(flags="RA", seq=0, ack=0, window=0)
    assert crafted == bytes(expected)


@versions
def test_acknowledgment_equals_scapys(version: str) -> None:
    crafted = craft_acknowledgment(
        KEYS[version] + PORTS, sequence=5, acknowledgment=0x80000000, window=501, hop_limit=9
    )
    expected = network_layer(version, 9) / tcp(flags="A", seq=5, ack=0x80000000, window=501)
    assert crafted == bytes(expected)


@versions
def test_acknowledgment_with_timestamps_and_sack_blocks_equals_scapys(version: str) -> None:
    blocks = [(100, 200), (300, 400), (0xFFFFFFF0, 16)]
    crafted = craft_acknowledgment(
        KEYS[version] + PORTS,
        sequence=5,
        acknowledgment=7,
        window=0xFFFF,
        options=timestamps_option(1, 2) + sack_option(blocks),
    )
    options = [
        ("NOP", None),
        ("NOP", None),
        ("Timestamp", (1, 2)),
        ("NOP", None),
        ("NOP", None),
        ("SAck", (100, 200, 300, 400, 0xFFFFFFF0, 16)),
    ]
    expected = network_layer(version) / tcp(flags="A", seq=5, ack=7, window=0xFFFF, options=options)
    assert crafted == bytes(expected)


@versions
def test_acknowledgment_with_a_byte_of_payload_equals_scapys(version: str) -> None:
    crafted = craft_acknowledgment(
        KEYS[version] + PORTS,
        sequence=5,
        acknowledgment=7,
        window=1,
        options=timestamps_option(1, 2),
        payload=b"x",
    )
    options = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]
    expected = network_layer(version) / tcp(flags="A", seq=5, ack=7, window=1, options=options)
    assert crafted == bytes(expected / b"x")
