"""Ordinary TCP looks the same to both endpoints with and without the filter in the path.

There are two labs, one of them with a filter. The same sessions run in both, with the same delay and
the same losses, and are captured at both endpoints. What the endpoints see is compared: relative
sequence numbers, flags, options, windows, sizes, content, the fields of the IP header. When a bare
ACK is sent depends on the kernel's timers and the machine's load, so only what it says is compared.

Inspection leaves all of this mail unchanged.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.utils import PcapReader

from nfinspect.lab.lab import Lab
from nfinspect.lab.link import WIRE, Impairments, Link
from nfinspect.lab.topology import CLIENT, SCRIPT_ADDRESS, SERVER
from tests.end_to_end.ends import Counters

DELAY = 0.04
"""Seconds each way: long enough to tell flights of packets apart by the pauses between them."""
LOSSY = Impairments(delay=DELAY, loss=0.02, seed=5)
LOSSLESS = Impairments(delay=DELAY)
PATIENCE = 10.0

GREETING = b"220 *******************\r\n"
BODY = b"".join(b"%06d %s\r\n" % (number, b"x" * 62) for number in range(4000))
FIN, SYN, RST, ACK = 1, 2, 4, 16
SO_RCVBUFFORCE = 33  # asm-generic/socket.h


@dataclass(frozen=True, slots=True)
class Packet:
    """As captured at one endpoint. Numbers are relative to the first byte; a SYN has -1."""

    from_client: bool
    flags: int
    sequence: int
    acknowledgment: int
    payload: bytes
    window: int
    options: tuple[tuple[str, object], ...]
    """Without NOP and SACK, and without the values of timestamps."""
    sack: tuple[tuple[int, int], ...]
    network: tuple[int, int, str]
    """TOS, TTL, flags."""

    @property
    def end(self) -> int:
        return self.sequence + len(self.payload)


@dataclass
class Seen:
    """One connection as both endpoints saw it, and the client's TCP counters."""

    client: list[Packet] = field(default_factory=list)
    server: list[Packet] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    received: bytes = b""
    """What the server has received from the client."""


def packets(file: Path) -> list[Packet]:
    """The packets of the only connection in the capture."""
    found = []
    starts: dict[bool, int] = {}
    with PcapReader(str(file)) as captured:
        for each in captured:
            ip, tcp = each[IP], each[TCP]
            from_client = tcp.dport == 25
            if tcp.flags.S:
                starts[from_client] = tcp.seq + 1

            def offset(number: int, client: bool) -> int:
                start = starts.get(client, number)
                return (number - start + 2**31) % 2**32 - 2**31

            sack = dict(tcp.options).get("SAck", ())
            edges = [offset(edge, not from_client) for edge in sack]
            found.append(
                Packet(
                    from_client,
                    int(tcp.flags),
                    offset(tcp.seq, from_client),
                    offset(tcp.ack, not from_client) if tcp.flags.A else 0,
                    bytes(tcp.payload)[: ip.len - ip.ihl * 4 - tcp.dataofs * 4],
                    tcp.window,
                    tuple(
                        (name, None if name == "Timestamp" else value)
                        for name, value in tcp.options
                        if name not in ("NOP", "SAck")
                    ),
                    tuple(zip(edges[::2], edges[1::2], strict=True)),
                    (ip.tos, ip.ttl, str(ip.flags)),
                )
            )
    return found


# ---- the sessions ------------------------------------------------------------------------------


class Ends:
    """A connection of which the test controls both endpoints."""

    def __init__(self, lab: Lab, *, server_buffer: int = 2_000_000) -> None:
        self.listener = lab.socket(SERVER)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A fixed size: otherwise the kernel grows it, depending on how fast the server reads.
        self.listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, server_buffer)
        self.listener.bind((SCRIPT_ADDRESS, 25))
        self.listener.listen()
        self.client = lab.socket(CLIENT)
        # Reno leaves slow start at a loss, not when round-trip times grow on a busy machine.
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.settimeout(PATIENCE)
        self.client.connect((SCRIPT_ADDRESS, 25))
        self.server, _ = self.listener.accept()
        self.server.settimeout(PATIENCE)
        self.received = b""
        self.send(self.server, self.client, GREETING)

    def send(self, sender: socket.socket, receiver: socket.socket, data: bytes) -> None:
        """Send *data* and read it at the other endpoint."""
        sender.sendall(data)
        read = b""
        while len(read) < len(data):
            read += receiver.recv(len(data) - len(read))
        assert read == data
        if receiver is self.server:
            self.received += read

    def command(self, line: bytes, reply: bytes) -> None:
        self.send(self.client, self.server, line + b"\r\n")
        self.send(self.server, self.client, reply + b"\r\n")

    def envelope(self) -> None:
        self.command(b"EHLO client.example", b"250-mail.example\r\n250 8BITMIME")
        self.command(b"MAIL FROM:<a@client.example>", b"250 ok")
        self.command(b"RCPT TO:<b@inside.example>", b"250 ok")
        self.command(b"DATA", b"354 go ahead")

    def mail(self, body: bytes, *, read_after: float = 0.0) -> None:
        """Send the body; the server starts to read it after *read_after* seconds."""
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(self.client.sendall, body + b".\r\n")
            time.sleep(read_after)
            missing = len(body) + 3
            while missing:
                data = self.server.recv(missing)
                assert data, "the client has closed"
                missing -= len(data)
                self.received += data
            sending.result(PATIENCE)
        self.send(self.server, self.client, b"250 taken\r\n")

    def close(self) -> None:
        for each in (self.client, self.server, self.listener):
            each.close()


def transfer(lab: Lab) -> bytes:
    """Send a mail without waiting."""
    ends = Ends(lab)
    ends.envelope()
    ends.mail(BODY)
    ends.command(b"QUIT", b"221 bye")
    ends.close()
    return ends.received


def small_window(lab: Lab) -> bytes:
    """The server has a small receive buffer, and reads only after a while."""
    ends = Ends(lab, server_buffer=20_000)
    ends.envelope()
    ends.mail(BODY, read_after=1.0)
    ends.command(b"QUIT", b"221 bye")
    ends.close()
    return ends.received


def half_closed(lab: Lab) -> bytes:
    """The client sends QUIT and a FIN; the server replies, and sends its FIN later."""
    ends = Ends(lab)
    ends.command(b"NOOP", b"250 ok")
    ends.client.sendall(b"QUIT\r\n")
    ends.client.shutdown(socket.SHUT_WR)
    while data := ends.server.recv(100):
        ends.received += data
    time.sleep(0.2)
    ends.send(ends.server, ends.client, b"221 bye\r\n")
    ends.server.shutdown(socket.SHUT_WR)
    assert ends.client.recv(1) == b""
    ends.close()
    return ends.received


def kept_alive(lab: Lab) -> bytes:
    """Both are silent for a while, and the client sends keep-alives."""
    ends = Ends(lab)
    ends.command(b"NOOP", b"250 ok")
    ends.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    ends.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    ends.client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    time.sleep(2.5)
    ends.command(b"QUIT", b"221 bye")
    ends.close()
    return ends.received


def reset(lab: Lab) -> bytes:
    """The client resets the connection."""
    ends = Ends(lab)
    ends.command(b"NOOP", b"250 ok")
    time.sleep(0.1)
    ends.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ends.client.close()
    time.sleep(0.1)
    with pytest.raises(ConnectionResetError):
        ends.server.recv(1)
    ends.close()
    return ends.received


SESSIONS: dict[str, tuple[Callable[[Lab], bytes], Impairments]] = {
    "transfer": (transfer, LOSSLESS),
    "lossy transfer": (transfer, LOSSY),
    "small window": (small_window, LOSSLESS),
    "half-closed": (half_closed, LOSSLESS),
    "kept alive": (kept_alive, LOSSLESS),
    "reset": (reset, LOSSLESS),
}


def record(lab: Lab, directory: Path) -> dict[str, Seen]:
    """Run every session in this lab."""
    recorded = {}
    for name, (run, impairments) in SESSIONS.items():
        link = Link(lab, CLIENT, impairments, LOSSLESS)
        captures = [
            lab.capture(directory / f"{name}.{where}", interface, where)
            for where, interface in ((CLIENT, WIRE), (SERVER, "eth0"))
        ]
        counters = Counters(lab, CLIENT)
        received = run(lab)
        at_client, at_server = (packets(capture.stop()) for capture in captures)
        recorded[name] = Seen(at_client, at_server, counters.since(), received)
        lost = link.stop()["there"]["lost"]
        assert (lost > 0) == (impairments is LOSSY)
    return recorded


@dataclass
class Both:
    plain: dict[str, Seen]
    filtered: dict[str, Seen]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with ExitStack() as stack:
        labs = [stack.enter_context(Lab(offloads=False)) for _ in range(2)]
        running = labs[1].filter()
        directories = [tmp_path_factory.mktemp(name) for name in ("plain", "filtered")]
        with ThreadPoolExecutor(2) as pool:
            recorded = list(pool.map(record, labs, directories))
        running.stop()
        yield Both(*recorded)


# ---- what the endpoints saw --------------------------------------------------------------------


def without_bare_acks(packets: list[Packet]) -> list[Packet]:
    """All packets but the bare ACKs, each once: on a busy machine a timeout may repeat one."""
    return list(dict.fromkeys(p for p in packets if p.payload or p.flags & (SYN | FIN | RST)))


def stream(packets: list[Packet], *, from_client: bool) -> bytes:
    """The stream in one direction. Fail if a retransmission differs, or if there is a gap."""
    data: dict[int, int] = {}
    for packet in packets:
        if packet.from_client == from_client:
            for at, byte in enumerate(packet.payload, packet.sequence):
                assert data.setdefault(at, byte) == byte
    assert sorted(data) == list(range(len(data)))
    return bytes(data[at] for at in range(len(data)))


def flights(packets: list[Packet]) -> list[int]:
    """How many segments of the mail the client has sent in each round trip."""
    counts, sent, round_end = [0], 0, 0
    for packet in packets:
        if packet.from_client and len(packet.payload) > 200:
            counts[-1] += 1
            sent = packet.end
        elif not packet.from_client and sent and packet.acknowledgment > round_end:
            counts.append(0)
            round_end = sent
    return counts


def retransmitted(packets: list[Packet]) -> set[tuple[int, int]]:
    """The ranges that the client has sent more than once."""
    times = Counter((p.sequence, p.end) for p in packets if p.from_client and p.payload)
    return {span for span, count in times.items() if count > 1}


def probes(packets: list[Packet]) -> list[Packet]:
    """The client's keep-alives and window probes: empty segments one below its next number."""
    found, end = [], 0
    for packet in packets:
        if packet.from_client:
            if packet.flags == ACK and not packet.payload and packet.sequence == end - 1 >= 0:
                found.append(packet)
            end = max(end, packet.end)
    return found


def ends_of(both: Both, name: str) -> list[tuple[list[Packet], list[Packet]]]:
    """For each endpoint, what it saw without the filter and with it."""
    plain, filtered = both.plain[name], both.filtered[name]
    return [(plain.client, filtered.client), (plain.server, filtered.server)]


@pytest.mark.parametrize("name", SESSIONS)
def test_handshake_options_windows_and_ip_headers_are_the_same(both: Both, name: str) -> None:
    for plain, filtered in ends_of(both, name):
        assert filtered[:3] == plain[:3]
        assert [packet.flags for packet in plain[:3]] == [SYN, SYN | ACK, ACK]
        assert dict(plain[0].options).keys() >= {"MSS", "SAckOK", "Timestamp", "WScale"}
        headers = [
            {(packet.from_client, packet.network, packet.options) for packet in packets}
            for packets in (plain, filtered)
        ]
        assert headers[0] == headers[1]


@pytest.mark.parametrize("name", SESSIONS)
def test_both_streams_are_byte_for_byte_the_same(both: Both, name: str) -> None:
    for plain, filtered in ends_of(both, name):
        for from_client in (True, False):
            expected = stream(plain, from_client=from_client)
            assert stream(filtered, from_client=from_client) == expected
    assert both.filtered[name].received == both.plain[name].received
    assert stream(both.plain[name].client, from_client=True) == both.plain[name].received


@pytest.mark.parametrize("name", ["half-closed", "kept alive", "reset"])
def test_all_packets_but_bare_acks_are_the_same(both: Both, name: str) -> None:
    for plain, filtered in ends_of(both, name):
        assert without_bare_acks(filtered) == without_bare_acks(plain)
        assert plain[-1].flags & RST if name == "reset" else sum(p.flags & FIN for p in plain) == 2


def test_keep_alives_arrive_and_are_answered(both: Both) -> None:
    for plain, filtered in ends_of(both, "kept alive"):
        assert probes(filtered) == probes(plain)
        assert len(probes(plain)) == 2
        for packets in (plain, filtered):
            for probe in probes(packets):
                answer = packets[packets.index(probe) + 1]
                assert not answer.from_client
                assert (answer.flags, answer.acknowledgment) == (ACK, probe.sequence + 1)


def test_slow_start_doubles_from_flight_to_flight(both: Both) -> None:
    plain, filtered = (flights(each["transfer"].client) for each in (both.plain, both.filtered))
    for expected, one, other in zip((10, 20, 40, 80), plain, filtered, strict=False):
        # An ACK of two segments may span two round trips.
        assert one == pytest.approx(expected, abs=4, rel=0.2)
        assert other == pytest.approx(expected, abs=4, rel=0.2)
    for seen in (both.plain, both.filtered):
        assert seen["transfer"].counted["RetransSegs"] == 0


def test_window_closes_and_opens_at_the_same_numbers(both: Both) -> None:
    for plain, filtered in ends_of(both, "small window"):
        closed = [
            next(p for p in packets if not p.from_client and p.window == 0)
            for packets in (plain, filtered)
        ]
        assert closed[0].acknowledgment == closed[1].acknowledgment > 5000
        for packets in (plain, filtered):
            assert probes(packets)
            opened = packets[packets.index(closed[packets is filtered]) :]
            assert any(not p.from_client and p.window for p in opened)
        scale = dict(plain[1].options)["WScale"]
        assert isinstance(scale, int)
        edges = [
            {p.acknowledgment + (p.window << scale) for p in packets if not p.from_client}
            for packets in (plain, filtered)
        ]
        assert min(edges[0]) == min(edges[1])


def test_lost_segments_are_reported_and_retransmitted_without_a_timeout(both: Both) -> None:
    plain, filtered = both.plain["lossy transfer"], both.filtered["lossy transfer"]
    lost = retransmitted(plain.client)
    assert retransmitted(filtered.client) == lost
    assert len(lost) > 2
    for seen in (plain, filtered):
        assert seen.counted["TCPTimeouts"] == 0
        assert seen.counted["TCPFastRetrans"] == seen.counted["RetransSegs"] >= len(lost)
        assert seen.counted["TCPSACKReneging"] == 0
        assert seen.counted["TCPDSACKRecv"] == 0
        reported = {left for p in seen.client if not p.from_client for left, _ in p.sack}
        assert reported == {end for _, end in lost}
        # A lost segment is acknowledged together with the data beyond it.
        acknowledged = {p.acknowledgment for p in seen.client if not p.from_client}
        assert not acknowledged & ({end for _, end in lost} - {start for start, _ in lost})


def test_receiver_on_a_lossy_path_gets_each_segment_once_and_lost_ones_after_later_ones(
    both: Both,
) -> None:
    for seen in (both.plain["lossy transfer"], both.filtered["lossy transfer"]):
        lost = retransmitted(seen.client)
        sent = {(p.sequence, p.end) for p in seen.client if p.from_client}
        received = [(p.sequence, p.end) for p in seen.server if p.from_client and p.payload]
        gap_probes = [span for span in received if span not in sent]
        assert all(end - start == 1 for start, end in gap_probes)  # the filter's, see flow/gap.py
        assert len(gap_probes) <= (len(lost) if seen is both.filtered["lossy transfer"] else 0)
        data = [span for span in received if span in sent]
        assert len(data) == len(set(data))
        for start, end in lost:
            beyond = min(span for span in data if span[0] >= end and span not in lost)
            assert data.index(beyond) < data.index((start, end))
