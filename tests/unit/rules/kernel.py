"""What iptables does with a packet by the rules of a text: enough of it for our rules."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from nfinspect.policy.classify import OpeningConnection

DECIDED = ("ACCEPT", "NFQUEUE")


@dataclass(frozen=True, slots=True)
class FirstPacket:
    """The SYN of a connection in FORWARD."""

    connection: OpeningConnection
    came_in: str = ""
    leaves: str = ""
    """Devices."""
    bridged: bool = False
    """These are ports of the bridge br0."""
    sends_mark: bool = False


def chains_of(text: str) -> dict[str, list[list[str]]]:
    """Return the rules of each chain that a text for iptables-restore makes, as words."""
    chains: dict[str, list[list[str]]] = {"FORWARD": [], "INPUT": []}
    for line in text.splitlines():
        words = shlex.split(line)
        if words[0] == "-N":
            assert len(words[1]) < 29
            chains[words[1]] = []
        elif words[0] == "-A":
            chains[words[1]].append(words[2:])
    return chains


def passes(text: str, packet: FirstPacket) -> str:
    """Return what becomes of a packet: ``NFQUEUE``, ``exempt`` (also if it is queued to be counted: the
    mark lets all that follow pass), or empty if no rule decides."""
    chains = chains_of(text)
    marked: list[bool] = []
    end = _walk(chains, "FORWARD", packet, marked)
    return "exempt" if end and marked else end


def _walk(
    chains: dict[str, list[list[str]]], chain: str, packet: FirstPacket, marked: list[bool]
) -> str:
    for words in chains[chain]:
        rest = _unmatched(words, packet)
        if rest is None:
            continue
        option, target = rest[:2]
        if target in DECIDED:
            return target
        if target == "RETURN":
            return ""
        if target == "CONNMARK":
            marked.append(True)
            continue
        found = _walk(chains, target, packet, marked)
        if found or option == "-g":
            return found
    return ""


def _unmatched(words: list[str], packet: FirstPacket) -> list[str] | None:
    """Return the words from ``-j`` or ``-g`` on, or None if the packet does not match."""
    connection = packet.connection
    at, inverted = 0, False
    while words[at] not in ("-j", "-g"):
        option, value = words[at], words[at + 1]
        at += 2
        match option:
            case "--tcp-flags":
                found = {"SYN"}.intersection(value.split(",")) == set(words[at].split(","))
                at += 1
            case "!":
                at, inverted = at - 1, True
                continue
            case "-m" | "--comment" | "--ctstate" | "--ctdir":
                continue
            case "-p":
                found = value == "tcp"
            case "-s":
                found = ip_address(_bytes(connection.version, connection.source)) in ip_network(
                    value
                )
            case "-d":
                where = _bytes(connection.version, connection.destination)
                found = ip_address(where) in ip_network(value)
            case "--sport":
                first, _, last = value.partition(":")
                found = int(first) <= connection.source_port <= int(last or first)
            case "--dport":
                found = int(value) == connection.destination_port
            case "--sports":
                found = str(connection.source_port) in value.split(",")
            case "--ports":
                ends = str(connection.source_port), str(connection.destination_port)
                found = not set(ends).isdisjoint(value.split(","))
            case "--dports":
                found = str(connection.destination_port) in value.split(",")
            case "--mark":
                found = False  # nothing is marked before the first packet
            case "-i":
                found = value == ("br0" if packet.bridged else packet.came_in)
            case "-o":
                found = value == ("br0" if packet.bridged else packet.leaves)
            case "--physdev-in":
                found = packet.bridged and value == packet.came_in
            case "--physdev-out":
                found = packet.bridged and value == packet.leaves
            case "--physdev-is-in" | "--physdev-is-bridged":
                found = packet.bridged
                at -= 1
            case _:
                raise AssertionError(f"unknown match {option}")
        if found == inverted:
            return None
        inverted = False
    return words[at:]


def _bytes(version: int, address: int) -> bytes:
    return address.to_bytes(4 if version == 4 else 16)
