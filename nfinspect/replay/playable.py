"""The packets of captures as they can be sent: by one of two hosts on Ethernet, through a filter.

What is sent is what reached the engine in a replay, in that order. So captures on any link layer, with
VLAN tags or PPPoE, or on a host whose network card completes packets, become frames as they are on a
wire: lengths and checksums left to the card are filled in, and what it would cut is cut. A wrong
checksum stays wrong. The payload, the ports and all else is not changed; addresses only where
they must be (see `addresses`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from struct import Struct

from nfinspect.actions import Drop, DropReason, Emit
from nfinspect.events import ConnectionBuilt
from nfinspect.packet.checksum import ipv4_header_checksum, update
from nfinspect.packet.edit import rewrite
from nfinspect.packet.segment import ACK, SYN, Segment, parse, ports, reverse_key
from nfinspect.policy.model import Policy
from nfinspect.replay.addresses import PlayedAddresses
from nfinspect.replay.capture import CaptureInterface, Frame
from nfinspect.replay.cutting import MTU
from nfinspect.replay.link import ETHERNET
from nfinspect.replay.output import CaptureWriter
from nfinspect.replay.tape import Step, Tape, truncated

CLIENT_MAC, SERVER_MAC = bytes.fromhex("02000000000c"), bytes.fromhex("02000000000d")


@dataclass(frozen=True, slots=True)
class LinkAddresses:
    """From and to which link-layer addresses each side sends."""

    client: bytes = CLIENT_MAC
    beyond_client: bytes = SERVER_MAC
    """Whom the client's side sends to: its gateway, or the server."""
    server: bytes = SERVER_MAC
    beyond_server: bytes = CLIENT_MAC


NEUTRAL = LinkAddresses()
"""Of no interface."""

WIRE = CaptureInterface(ETHERNET, True)
PAUSE = 1_000_000_000
"""Nanoseconds between two captures."""

_ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
_WORD = Struct("!H")
_FLAGS = 13
"""Offset of the flags in a TCP header."""


class CannotPlayError(Exception):
    """A capture cannot be played; the message says where, why, and what to do."""


@dataclass(frozen=True, slots=True)
class PlayedPacket:
    """A frame to be sent."""

    number: int
    """Of the packet in the captures."""
    time: int
    """Nanoseconds since 1970, of the capture; captures follow one another."""
    from_client: bool
    datagram: bytes
    capture: int
    """From 0, in the order in which they are played."""
    completes: bool
    """Whether a datagram is complete with it: false for all fragments but the last."""

    def frame(self, link: LinkAddresses = NEUTRAL) -> bytes:
        """As it is on Ethernet."""
        ends = link.client, link.beyond_client
        if not self.from_client:
            ends = link.server, link.beyond_server
        return ends[1] + ends[0] + _ETHERTYPES[self.datagram[0] >> 4] + self.datagram


@dataclass(slots=True)
class Playable:
    """What is sent, and what is not."""

    packets: list[PlayedPacket] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    """Why packets are not sent, and how many."""
    addresses: PlayedAddresses = field(default_factory=PlayedAddresses)

    def write(self, file: CaptureWriter, link: LinkAddresses) -> None:
        """Write the frames as they are to be sent."""
        for packet in self.packets:
            frame = packet.frame(link)
            file.write(WIRE, packet.time, frame, len(frame))

    def leave_out(self, why: str, count: int = 1) -> None:
        """Note packets that are not sent."""
        if count:
            self.left_out[why] = self.left_out.get(why, 0) + count

    @property
    def ends(self) -> tuple[set[bytes], set[bytes]]:
        """The addresses of clients and of servers."""
        found: tuple[set[bytes], set[bytes]] = set(), set()
        for packet in self.packets:
            source, destination = addresses_of(packet.datagram)
            found[not packet.from_client].add(source)
            found[packet.from_client].add(destination)
        return found


def repeated(source: Playable, times: int) -> Playable:
    """The same packets, several *times* side by side, each time between hosts of their own."""
    copies = [source.packets]
    captures = source.packets[-1].capture + 1
    for copy in range(1, times):
        copies.append([])
        for capture in range(captures):
            source.addresses.next_capture()
            copies[-1] += [
                replace(
                    packet,
                    datagram=source.addresses.changed(
                        packet.datagram, from_client=packet.from_client
                    ),
                    capture=copy * captures + capture,
                )
                for packet in source.packets
                if packet.capture == capture
            ]
    source.packets = [packet for row in zip(*copies, strict=True) for packet in row]
    return source


SNAPPED = "cut short when they were captured (record with tcpdump -s 0)"
UNJOINED = "fragments whose rest is missing, or that the kernel discards"
BAD_HEADER = "with a wrong IP header checksum, which no kernel forwards"
COPIES = "second copies, as the capture has each packet twice"
ONE_HOP = "packet {}: its TTL of 1 ends at a router; play the capture with --bridge"
TOO_LARGE = f"larger than {MTU:,} bytes, and damaged, so that they cannot be cut"


def playable(
    tapes: Iterable[Tape], policy: Policy, addresses: PlayedAddresses, *, routed: bool
) -> Playable:
    """What is to be sent of captures whose replays are on *tapes*, one capture after another. *routed*:
    a router forwards it.

    Raises CannotPlayError.
    """
    result = Playable(addresses=addresses)
    shift = end = 0
    seen: dict[str, int] = {}
    for position, tape in enumerate(tapes):
        seen |= tape.summary["elsewhere"]
        addresses.next_capture()
        sides = _Sides(policy)
        first = True
        for step in tape.steps:
            sides.follow(step)
            if step.arrival is None:
                continue
            frame = step.arrival.token
            assert isinstance(frame, Frame)
            if first and end:
                shift = end + PAUSE - frame.time
            first = False
            end = max(end, frame.time + shift)
            from_client = sides.from_client(step)
            for packet in _packets(step, frame, result):
                if routed and packet.datagram[8 if packet.datagram[0] >> 4 == 4 else 7] < 2:
                    raise CannotPlayError(ONE_HOP.format(frame.number))
                result.packets.append(
                    PlayedPacket(
                        frame.number,
                        end,
                        from_client,
                        addresses.changed(packet.datagram, from_client=from_client),
                        position,
                        packet.completes,
                    )
                )
        _note_others(tape, result)
    if not result.packets:
        inspected = ", ".join(map(str, sorted(policy.plans)))
        raise CannotPlayError(
            f"no packet to or from an inspected port ({inspected}) that could be sent"
            f"{_elsewhere(seen)}; see 'nfinspect replay' for what is in the capture"
        )
    return result


def _elsewhere(seen: dict[str, int]) -> str:
    """Where mail was *seen* instead: ports, and their first packets."""
    if not seen:
        return ""
    ports = ", ".join(f"port {port} (packet {packet})" for port, packet in seen.items())
    return f"; mail was seen on {ports}: inspect that by --config"


@dataclass(frozen=True, slots=True)
class _Piece:
    datagram: bytes
    completes: bool = True


def _packets(step: Step, frame: Frame, result: Playable) -> Iterator[_Piece]:
    """The packets that bring the step's datagram."""
    arrival = step.arrival
    assert arrival is not None
    if frame.parts:
        *others, last = frame.parts
        for part in others:
            yield _Piece(_fragment(part), completes=False)
        yield _Piece(_fragment(last))
        return
    if truncated(step):
        result.leave_out(SNAPPED)
        return
    datagram = _completed(arrival.datagram, ready=arrival.checksum_ready)
    if len(datagram) > MTU:
        result.leave_out(TOO_LARGE)
        return
    yield _Piece(datagram)


def _fragment(frame: Frame) -> bytes:
    datagram = frame.data[frame.offset : frame.end]
    if len(datagram) > MTU:
        raise CannotPlayError(
            f"packet {frame.number}: a fragment of {len(datagram):,} bytes is larger than the lab's"
            f" MTU of {MTU:,}; leave its connection out, or replay the capture offline"
        )
    return datagram


def _completed(datagram: bytes, *, ready: bool) -> bytes:
    """The datagram with what was left to the network card. *ready*: not its TCP checksum."""
    segment = parse(datagram, len(datagram))
    if not isinstance(segment, Segment):
        return datagram
    if not ready:
        return rewrite(segment)
    head = bytearray(datagram[: segment.transport])
    if segment.version == 4:
        if not head[2] and not head[3]:
            _WORD.pack_into(head, 2, len(datagram))
        elif head[10] or head[11]:
            return datagram
        _WORD.pack_into(head, 10, ipv4_header_checksum(head))
    elif not head[4] and not head[5]:
        _WORD.pack_into(head, 4, len(datagram) - 40)
    return bytes(head) + datagram[segment.transport :]


def _note_others(tape: Tape, result: Playable) -> None:
    """What of the capture did not reach the engine at all; only counts are known."""
    summary = tape.summary
    reached = [step for step in tape.steps if step.arrival is not None]
    bad = summary["dropped"].get("bad-checksum", 0) - sum(
        isinstance(action, Drop) and action.reason is DropReason.BAD_CHECKSUM
        for step in reached
        for action in step.actions
    )
    for why, count in (
        (UNJOINED, summary["fragments"]["discarded"]),
        (COPIES, summary["packets"]["copies"]),
        (BAD_HEADER, bad),
    ):
        result.leave_out(why, count)


class _Sides:
    """Which side sent a segment: the one that opened the connection, or else the one that does not
    have the inspected port."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._clients: dict[bytes, bool] = {}
        """By `Segment.key`: whether it is that of the client's packets."""

    def follow(self, step: Step) -> None:
        """Learn which side has opened a connection."""
        for action in step.actions:
            if isinstance(action, Emit) and isinstance(action.event, ConnectionBuilt):
                connection = action.event.connection
                client, server = connection.client, connection.server
                key = (
                    client.address
                    + server.address
                    + client.port.to_bytes(2, "big")
                    + server.port.to_bytes(2, "big")
                )
                self._clients[key], self._clients[reverse_key(key)] = True, False

    def from_client(self, step: Step) -> bool:
        """Whether the client sent the step's datagram."""
        arrival = step.arrival
        assert arrival is not None
        found = ports(arrival.datagram)
        assert found is not None
        source, destination = found
        inspected = self._policy.plans
        segment = parse(arrival.datagram, arrival.captured_length)
        if not isinstance(segment, Segment):
            return destination in inspected
        known = self._clients.get(segment.key)
        if known is not None:
            return known
        from_client = destination in inspected
        if from_client and source in inspected:
            from_client = segment.flags & (SYN | ACK) != SYN | ACK
        self._clients[segment.key] = from_client
        self._clients[segment.reverse_key] = not from_client
        return from_client


def addresses_of(datagram: bytes) -> tuple[bytes, bytes]:
    """Source and destination."""
    if datagram[0] >> 4 == 4:
        return datagram[12:16], datagram[16:20]
    return datagram[8:24], datagram[24:40]


def one_hop_less(datagram: bytes) -> bytes:
    """The datagram behind a router."""
    changed = bytearray(datagram)
    if datagram[0] >> 4 == 6:
        changed[7] -= 1
        return bytes(changed)
    before = _WORD.unpack_from(datagram, 8)[0]
    changed[8] -= 1
    checksum = update(_WORD.unpack_from(datagram, 10)[0], before, before - 0x100)
    _WORD.pack_into(changed, 10, checksum)
    return bytes(changed)
