"""Ordinary TCP looks the same to both ends, with the filter in the path and without it.

Two labs, one of them with a filter; in each the same is done, over the same long way with the same
losses, and captured at either end. What is compared is what the ends can see: numbers relative to
the beginning, flags, options, windows, sizes, content, the fields of the IP header. Acknowledgements
without data come when a kernel's timer or the machine's load has it so; they are compared by what
they say.

The words are such that inspection leaves them as they are.
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
"""Seconds each way: flights of packets are told apart by the pause between them."""
LOSSY = Impairments(delay=DELAY, loss=0.02, seed=5)
LOSSLESS = Impairments(delay=DELAY)
PATIENCE = 10.0

GREETING = b"220 *******************\r\n"
BODY = b"".join(b"%06d %s\r\n" % (number, b"x" * 62) for number in range(4000))
FIN, SYN, RST, ACK = 1, 2, 4, 16
SO_RCVBUFFORCE = 33  # asm-generic/socket.h


@dataclass(frozen=True, slots=True)
class Packet:
    """As captured at one end; numbers are offsets, -1 is a SYN's."""

    from_client: bool
    flags: int
    sequence: int
    acknowledgment: int
    payload: bytes
    window: int
    options: tuple[tuple[str, object], ...]
    """Without timestamps' values, padding and SACK."""
    sack: tuple[tuple[int, int], ...]
    network: tuple[int, int, str]
    """Type of service, time to live, flags."""

    @property
    def end(self) -> int:
        return self.sequence + len(self.payload)


@dataclass
class Seen:
    """One connection as both ends saw it, and what the client's kernel counted."""

    client: list[Packet] = field(default_factory=list)
    server: list[Packet] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    received: bytes = b""
    """By the server, from the client."""


def packets(file: Path) -> list[Packet]:
    """Of the only connection in the capture."""
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


# ---- what is done ------------------------------------------------------------------------------


class Ends:
    """A connection with both its ends in one hand."""

    def __init__(self, lab: Lab, *, server_buffer: int = 2_000_000) -> None:
        self.listener = lab.socket(SERVER)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A size that is set: else it grows as fast as the machine lets the server read.
        self.listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, server_buffer)
        self.listener.bind((SCRIPT_ADDRESS, 25))
        self.listener.listen()
        self.client = lab.socket(CLIENT)
        # Slow start ends where something is lost, and not where the machine was busy.
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.settimeout(PATIENCE)
        self.client.connect((SCRIPT_ADDRESS, 25))
        self.server, _ = self.listener.accept()
        self.server.settimeout(PATIENCE)
        self.received = b""
        self.say(self.server, self.client, GREETING)

    def say(self, speaker: socket.socket, listener: socket.socket, words: bytes) -> None:
        """Send words and have them read."""
        speaker.sendall(words)
        heard = b""
        while len(heard) < len(words):
            heard += listener.recv(len(words) - len(heard))
        assert heard == words
        if listener is self.server:
            self.received += heard

    def command(self, line: bytes, reply: bytes) -> None:
        self.say(self.client, self.server, line + b"\r\n")
        self.say(self.server, self.client, reply + b"\r\n")

    def envelope(self) -> None:
        self.command(b"EHLO client.example", b"250-mail.example\r\n250 8BITMIME")
        self.command(b"MAIL FROM:<a@client.example>", b"250 ok")
        self.command(b"RCPT TO:<b@inside.example>", b"250 ok")
        self.command(b"DATA", b"354 go ahead")

    def mail(self, body: bytes, *, read_after: float = 0.0) -> None:
        """Send the body; the server reads it, at once or later."""
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
        self.say(self.server, self.client, b"250 taken\r\n")

    def close(self) -> None:
        for each in (self.client, self.server, self.listener):
            each.close()


def transfer(lab: Lab) -> bytes:
    """A mail, as fast as it goes."""
    ends = Ends(lab)
    ends.envelope()
    ends.mail(BODY)
    ends.command(b"QUIT", b"221 bye")
    ends.close()
    return ends.received


def small_window(lab: Lab) -> bytes:
    """The server has little room, and reads only after a while."""
    ends = Ends(lab, server_buffer=20_000)
    ends.envelope()
    ends.mail(BODY, read_after=1.0)
    ends.command(b"QUIT", b"221 bye")
    ends.close()
    return ends.received


def shut_both_ways(lab: Lab) -> bytes:
    """The client says QUIT and that it will say no more; the server answers, and ends as well."""
    ends = Ends(lab)
    ends.command(b"NOOP", b"250 ok")
    ends.client.sendall(b"QUIT\r\n")
    ends.client.shutdown(socket.SHUT_WR)
    while data := ends.server.recv(100):
        ends.received += data
    time.sleep(0.2)
    ends.say(ends.server, ends.client, b"221 bye\r\n")
    ends.server.shutdown(socket.SHUT_WR)
    assert ends.client.recv(1) == b""
    ends.close()
    return ends.received


def kept_alive(lab: Lab) -> bytes:
    """Both are silent for a while, and see whether the other is still there."""
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
    """The client goes without a word."""
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


DONE: dict[str, tuple[Callable[[Lab], bytes], Impairments]] = {
    "transfer": (transfer, LOSSLESS),
    "lossy transfer": (transfer, LOSSY),
    "small window": (small_window, LOSSLESS),
    "shut both ways": (shut_both_ways, LOSSLESS),
    "kept alive": (kept_alive, LOSSLESS),
    "reset": (reset, LOSSLESS),
}


def record(lab: Lab, directory: Path) -> dict[str, Seen]:
    """Do everything in this lab."""
    recorded = {}
    for name, (do, way) in DONE.items():
        link = Link(lab, CLIENT, way, LOSSLESS)
        captures = [
            lab.capture(directory / f"{name}.{where}", interface, where)
            for where, interface in ((CLIENT, WIRE), (SERVER, "eth0"))
        ]
        counters = Counters(lab, CLIENT)
        received = do(lab)
        at_client, at_server = (packets(capture.stop()) for capture in captures)
        recorded[name] = Seen(at_client, at_server, counters.since(), received)
        lost = link.stop()["there"]["lost"]
        assert (lost > 0) == (way is LOSSY)
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


# ---- what it looks like ------------------------------------------------------------------------


def spoken(packets: list[Packet]) -> list[Packet]:
    """All that is not a bare acknowledgement, each once: a timer of a busy machine may repeat it."""
    return list(dict.fromkeys(p for p in packets if p.payload or p.flags & (SYN | FIN | RST)))


def stream(packets: list[Packet], *, from_client: bool) -> bytes:
    """The bytes of one direction, as they were sent first."""
    data: dict[int, int] = {}
    for packet in packets:
        if packet.from_client == from_client:
            for at, byte in enumerate(packet.payload, packet.sequence):
                assert data.setdefault(at, byte) == byte
    assert sorted(data) == list(range(len(data)))
    return bytes(data[at] for at in range(len(data)))


def flights(packets: list[Packet]) -> list[int]:
    """How many segments the client has sent in each round trip of the mail."""
    counts, sent, round_end = [0], 0, 0
    for packet in packets:
        if packet.from_client and len(packet.payload) > 200:
            counts[-1] += 1
            sent = packet.end
        elif not packet.from_client and sent and packet.acknowledgment > round_end:
            counts.append(0)
            round_end = sent
    return counts


def sent_again(packets: list[Packet]) -> set[tuple[int, int]]:
    """The ranges that the client has sent more than once."""
    times = Counter((p.sequence, p.end) for p in packets if p.from_client and p.payload)
    return {span for span, count in times.items() if count > 1}


def probes(packets: list[Packet]) -> list[Packet]:
    """Empty segments of the client's that repeat the number before its next one."""
    found, behind = [], 0
    for packet in packets:
        if packet.from_client:
            if packet.flags == ACK and not packet.payload and packet.sequence == behind - 1 >= 0:
                found.append(packet)
            behind = max(behind, packet.end)
    return found


def ends_of(both: Both, name: str) -> list[tuple[list[Packet], list[Packet]]]:
    """What an end saw without the filter and with it, for each end."""
    plain, filtered = both.plain[name], both.filtered[name]
    return [(plain.client, filtered.client), (plain.server, filtered.server)]


@pytest.mark.parametrize("name", DONE)
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


@pytest.mark.parametrize("name", DONE)
def test_every_byte_is_the_same(both: Both, name: str) -> None:
    for plain, filtered in ends_of(both, name):
        for from_client in (True, False):
            expected = stream(plain, from_client=from_client)
            assert stream(filtered, from_client=from_client) == expected
    assert both.filtered[name].received == both.plain[name].received
    assert stream(both.plain[name].client, from_client=True) == both.plain[name].received


@pytest.mark.parametrize("name", ["shut both ways", "kept alive", "reset"])
def test_what_is_said_is_the_same_packet_by_packet(both: Both, name: str) -> None:
    for plain, filtered in ends_of(both, name):
        assert spoken(filtered) == spoken(plain)
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
        # An acknowledgement for two segments may stand across the border of two round trips.
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


def test_lost_segments_are_told_and_repeated_without_a_timeout(both: Both) -> None:
    plain, filtered = both.plain["lossy transfer"], both.filtered["lossy transfer"]
    holes = sent_again(plain.client)
    assert sent_again(filtered.client) == holes
    assert len(holes) > 2
    for seen in (plain, filtered):
        assert seen.counted["TCPTimeouts"] == 0
        assert seen.counted["TCPFastRetrans"] == seen.counted["RetransSegs"] >= len(holes)
        assert seen.counted["TCPSACKReneging"] == 0
        assert seen.counted["TCPDSACKRecv"] == 0
        heard = {left for p in seen.client if not p.from_client for left, _ in p.sack}
        assert heard == {end for _, end in holes}
        # What was missing is acknowledged together with what lay behind it.
        acknowledged = {p.acknowledgment for p in seen.client if not p.from_client}
        assert not acknowledged & ({end for _, end in holes} - {start for start, _ in holes})


def test_receiver_of_a_lossy_way_gets_each_byte_once_and_the_lost_ones_late(both: Both) -> None:
    for seen in (both.plain["lossy transfer"], both.filtered["lossy transfer"]):
        holes = sent_again(seen.client)
        sent = {(p.sequence, p.end) for p in seen.client if p.from_client}
        came = [(p.sequence, p.end) for p in seen.server if p.from_client and p.payload]
        questions = [span for span in came if span not in sent]
        assert all(end - start == 1 for start, end in questions)  # the filter's, see flow/gap.py
        assert len(questions) <= (len(holes) if seen is both.filtered["lossy transfer"] else 0)
        data = [span for span in came if span in sent]
        assert len(data) == len(set(data))
        for start, end in holes:
            behind = min(span for span in data if span[0] >= end and span not in holes)
            assert data.index(behind) < data.index((start, end))
