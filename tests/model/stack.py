"""One end of a TCP connection, as stacks of today have it.

Handshake with MSS, window scale, SACK and timestamps; slow start, congestion avoidance, fast
retransmit and recovery (NewReno, RFC 6582, or with SACK and time, RFC 6675 and 8985), timeouts
(RFC 6298), zero windows and probes, delayed acknowledgements, PAWS (RFC 7323 section 5) and the
challenges of RFC 5961. Where the RFCs leave a choice, it is Linux's.

It owns no clock and no wire: packets that it sends lie in ``out``, ``timer`` says when it wants to
be called next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from struct import Struct

from tests.fuzz.packets import ACK, FIN, MASK, PSH, RST, SYN, Packet
from tests.model.overlap import Waiting

LISTEN, SYN_SENT, SYN_RECEIVED, OPEN, OVER = range(5)
SHORTEST_TIMEOUT, LONGEST_TIMEOUT, FIRST_TIMEOUT = 0.2, 60.0, 1.0
DELAYED = 0.04
QUICK = 16
"""So many acknowledgements are not delayed at the beginning, and when something seems to be lost."""
CHALLENGES_APART = 0.5
"""Seconds between answers to packets that carry nothing and fit nowhere."""

_TWO = Struct("!LL")
_STAMPS = b"\1\1\x08\x0a"
_SACK = b"\1\1\5"


@dataclass(slots=True)
class Habits:
    """Sizes in bytes, times in seconds."""

    initial: int = 0
    largest: int = 1448
    """Payload of a segment."""
    cut: bool = False
    """Segments are of random size, and cut anew when they are sent again."""
    burst: int = 1
    """So many segments may leave as one packet (GSO)."""
    window: int = 65535
    scale: int | None = None
    sack: bool = True
    timestamps: bool = True
    policy: str = "linux"
    """Which bytes of overlapping segments stay, see ``overlap.py``."""
    delayed: bool = False
    reading: float = 0.0
    """How long data waits for the application."""
    probe_with_data: bool = False
    keep_alives: int = 0
    attempts: int = 9
    """Timeouts in a row after which it gives up."""


class Sent:
    """A piece of the stream on its way."""

    __slots__ = ("again", "end", "lost", "sacked", "start", "time")

    def __init__(self, start: int, end: int, time: float) -> None:
        self.start, self.end, self.time = start, end, time
        self.again = self.lost = self.sacked = False


def near(number: int, reference: int) -> int:
    """The number nearest to ``reference`` with these low 32 bits."""
    step = (number - reference) & MASK
    return reference + (step if step < 1 << 31 else step - (1 << 32))


class Stack:
    """``application`` gets what arrives and answers with what is to be sent."""

    def __init__(
        self,
        habits: Habits,
        random: Random,
        application: Callable[[bytes], bytes] = lambda data: b"",
    ) -> None:
        self.habits, self.random, self.application = habits, random, application
        self.state = LISTEN
        self.out: list[Packet] = []
        self.reset = self.gave_up = False
        # sending
        self.stream = bytearray()
        self.closing = False
        self.base = habits.initial + 1
        self.una = self.nxt = habits.initial
        self.flight: list[Sent] = []
        self.peer_window = self.largest_peer_window = 0
        self.peer_scale = 0
        self.window_from = (0, 0)
        self.congestion = 10 * habits.largest
        self.threshold = 1 << 30
        self.recovering = self.after_timeout = False
        self.at_once = False
        """The next lost segment is sent whatever the congestion window says."""
        self.recover = 0
        self.repeated_acks = 0
        self.smoothed: float | None = None
        self.variance = 0.0
        self.timeout = FIRST_TIMEOUT
        self.backoff = 0
        self.newest_delivered = 0.0
        # receiving
        self.received = bytearray()
        self.unread = bytearray()
        self.waiting = Waiting(habits.policy)
        self.latest_waiting = 0
        self.peer_initial: int | None = None
        self.rcv = 0
        self.edge = 0
        self.peer_fin: int | None = None
        self.acknowledged = 0
        self.unacknowledged = 0
        self.quick = QUICK
        self.window_scale = 0
        self.sack = self.timestamps = False
        self.recent = 0
        self.stamp_offset = random.getrandbits(32)
        self.challenged = -1.0
        self.kept_alive = 0
        # timers
        self.resend_at: float | None = None
        self.acknowledge_at: float | None = None
        self.read_at: float | None = None
        self.keep_at: float | None = None

    # ---- the application's side

    def write(self, data: bytes) -> None:
        self.stream += data

    @property
    def fin_number(self) -> int:
        return self.base + len(self.stream)

    @property
    def done(self) -> bool:
        """Everything sent is acknowledged, everything is read, and both sides have ended."""
        return (
            self.closing
            and self.una == self.fin_number + 1
            and self.peer_fin is not None
            and self.rcv == self.peer_fin + 1
            and not self.unread
        )

    def connect(self, now: float) -> None:
        self.state = SYN_SENT
        self.nxt = self.base
        self.resend_at = now + self.timeout
        self._send(now, self.una, SYN)

    @property
    def timer(self) -> float | None:
        """When it wants to be woken next."""
        first = self.resend_at
        for at in (self.acknowledge_at, self.read_at, self.keep_at):
            if at is not None and (first is None or at < first):
                first = at
        return first

    def wake(self, now: float) -> None:
        """Do what is due."""
        if self.read_at is not None and self.read_at <= now:
            self._read(now)
        if self.acknowledge_at is not None and self.acknowledge_at <= now:
            self._send(now, self.nxt, ACK)
        if self.keep_at is not None and self.keep_at <= now:
            self._keep_alive(now)
        if self.resend_at is not None and self.resend_at <= now:
            self._resend(now)

    # ---- sending

    def _send(self, now: float, sequence: int, flags: int, payload: bytes = b"") -> None:
        acknowledgment = 0
        if flags & ACK:
            acknowledgment = self.acknowledged = self.rcv
            self.acknowledge_at = None
            self.unacknowledged = 0
            self.quick = max(0, self.quick - 1)
        self.out.append(
            Packet(
                sequence & MASK,
                acknowledgment & MASK,
                flags,
                self._window(flags),
                self._options(now, flags),
                payload,
            )
        )

    def _window(self, flags: int) -> int:
        room = self.habits.window - len(self.unread)
        edge = self.rcv + room
        if edge - self.edge >= min(self.habits.largest, self.habits.window // 2):
            self.edge = edge  # no silly windows (RFC 9293 section 3.8.6.2.2), no shrinking
        scale = 0 if flags & SYN else self.window_scale
        return min(max(0, self.edge - self.rcv) >> scale, 0xFFFF)

    def _options(self, now: float, flags: int) -> bytes:
        habits = self.habits
        stamps = b""
        if self.timestamps or (flags & SYN and habits.timestamps and not flags & ACK):
            value = self.stamp_offset + int(now * 1000) & MASK
            stamps = _STAMPS + _TWO.pack(value, self.recent if flags & ACK else 0)
        if not flags & SYN:
            if not (self.sack and self.waiting.pieces):
                return stamps
            blocks = self.waiting.ranges()
            blocks.sort(key=lambda block: not block[0] <= self.latest_waiting < block[1])
            edges = b"".join(
                _TWO.pack(low & MASK, high & MASK) for low, high in blocks[: 3 if stamps else 4]
            )
            return b"%b%b%c%b" % (stamps, _SACK, 2 + len(edges), edges)
        answering = bool(flags & ACK)
        segment = habits.largest + (12 if habits.timestamps else 0)
        options = b"\2\4" + segment.to_bytes(2, "big")
        if self.sack if answering else habits.sack:
            options += b"\1\1\4\2"
        if habits.scale is not None and not (answering and self.peer_scale < 0):
            options += b"\1\3\3%c" % habits.scale
        return options + stamps

    def _size(self) -> int:
        largest = self.habits.largest
        if not self.habits.cut:
            return largest
        return self.random.choice((1, 2, self.random.randint(1, largest), largest, largest))

    def _range(self, now: float, start: int, end: int) -> None:
        """Send these numbers of the stream (and its FIN)."""
        at = start - self.base
        payload = bytes(self.stream[at : end - self.base])
        flags = ACK
        if self.closing and end == self.fin_number + 1:
            flags |= FIN
        if payload and at + len(payload) == len(self.stream):
            flags |= PSH
        self._send(now, start, flags, payload)

    def _pipe(self) -> int:
        return sum(
            [sent.end - sent.start for sent in self.flight if not (sent.sacked or sent.lost)]
        )

    def pump(self, now: float) -> None:
        """Send what the windows allow: first what is lost, then what is new."""
        if self.state != OPEN:
            return
        pipe = self._pipe() if self.flight else 0
        if self.recovering:
            for sent in self.flight:
                if sent.lost and not sent.sacked:
                    if pipe and pipe + sent.end - sent.start > self.congestion and not self.at_once:
                        break
                    self.at_once = False
                    self._again(sent, now)
                    pipe += sent.end - sent.start
        limit = self.fin_number + self.closing
        edge = self.una + self.peer_window
        congestion = self.congestion
        if not self.recovering and not self.sack:
            congestion += min(self.repeated_acks, 2) * self.habits.largest  # RFC 3042
        fresh: list[Sent] = []
        while self.nxt < limit:
            size = min(self._size(), limit - self.nxt, edge - self.nxt)
            if size <= 0 or (pipe and pipe + size > congestion):
                break
            if (
                size < self.habits.largest
                and size == edge - self.nxt < limit - self.nxt
                and pipe
                and not self.habits.cut
            ):
                break  # no silly segments
            fresh.append(Sent(self.nxt, self.nxt + size, now))
            self.nxt += size
            pipe += size
        burst = self.habits.burst
        for first in range(0, len(fresh), burst):
            group = fresh[first : first + burst]
            self._range(now, group[0].start, group[-1].end)
        self.flight += fresh
        if self.resend_at is None and (self.flight or self.nxt < limit):
            self.resend_at = now + self.timeout

    def _again(self, sent: Sent, now: float) -> None:
        sent.again, sent.lost, sent.time = True, False, now
        start, end = sent.start, sent.end
        if self.habits.cut:
            random = self.random
            kind = random.random()
            if kind < 0.2:
                end = random.randint(start + 1, end)
            elif kind < 0.4:
                end = random.randint(end, min(self.nxt, end + self.habits.largest))
            elif kind < 0.5:
                start = random.randint(max(self.una, self.base, start - 10), start)
            for other in self.flight:
                other.again = other.again or (other.start < end and start < other.end)
        self._range(now, start, end)

    def _resend(self, now: float) -> None:
        self.resend_at = None
        if self.state in (LISTEN, OVER):
            return
        if self.state == OPEN and not self.flight and self.nxt >= self.fin_number + self.closing:
            return
        self.backoff += 1
        if self.backoff > self.habits.attempts:
            self.gave_up = True
            return
        self.resend_at = now + min(LONGEST_TIMEOUT, self.timeout * (1 << min(self.backoff, 12)))
        if self.state != OPEN:
            self._send(now, self.habits.initial, SYN if self.state == SYN_SENT else SYN | ACK)
        elif self.flight:
            if self.flight[0].sacked:
                for sent in self.flight:
                    sent.sacked = False  # the receiver has reneged (RFC 2018 section 8)
            if not self.after_timeout:
                self._halve()
            for sent in self.flight:
                sent.lost = not sent.sacked
            self.congestion = self.habits.largest
            self.recovering = self.after_timeout = True
            self.recover = self.nxt
            self.repeated_acks = 0
            self.pump(now)
        else:
            self._probe(now)

    def _probe(self, now: float) -> None:
        """The window is closed: ask whether it still is."""
        if not self.habits.probe_with_data:
            self._send(now, self.una - 1, ACK)
            return
        self.flight.append(Sent(self.nxt, self.nxt + 1, now))
        self._range(now, self.nxt, self.nxt + 1)
        self.nxt += 1

    def _keep_alive(self, now: float) -> None:
        self.keep_at = None
        if self.state == OPEN and self.kept_alive < self.habits.keep_alives:
            self.kept_alive += 1
            self.keep_at = now + self.random.uniform(0.1, 3)
            if not self.flight:
                garbage = self.random.choice((b"", b"\0"))
                self._send(now, self.una - 1, ACK, garbage)

    # ---- receiving

    def receive(self, packet: Packet, now: float) -> None:
        """Take one packet whose checksum is right."""
        sequence, acknowledgment, flags, window, options, payload = packet
        if self.state < OPEN and self._opening(packet, now):
            return
        if self.state == OVER:
            return
        start = near(sequence, self.rcv)
        end = start + len(payload)
        echo, blocks, newer = None, [], None
        if options:
            stamps, blocks = read_options(options)
            if stamps is not None and self.timestamps:
                echo = stamps[1]
                older = (self.recent - stamps[0] + 0x8000_0000 & MASK) - 0x8000_0000
                if older > 1 and not flags & RST:
                    if end > start or flags & FIN:
                        self._send(now, self.nxt, ACK)
                    return
                if older < 0 and start <= self.acknowledged:
                    newer = stamps[0]
        if end > start and start < self.rcv:
            self.quick = QUICK
        if end + (flags & FIN) < self.acknowledged or start > self.edge:
            if not flags & RST:
                self._challenge(now, unasked=end == start)
            return
        if newer is not None:
            self.recent = newer
        if flags & RST:
            if start == self.rcv:
                self.reset, self.state = True, OVER
                self.resend_at = self.acknowledge_at = self.keep_at = self.read_at = None
            else:
                self._challenge(now)
            return
        if flags & SYN:
            self._challenge(now)
            return
        if not flags & ACK:
            return
        number = near(acknowledgment, self.una)
        if not self.una - self.largest_peer_window <= number <= self.nxt:  # RFC 5961 section 5
            self._challenge(now)
            return
        advanced = number > self.una
        if number >= self.una:
            if (
                advanced
                or start > self.window_from[0]
                or (start == self.window_from[0] and window << self.peer_scale > self.peer_window)
            ):
                self.window_from = (start, number)
                changed = self.peer_window != window << self.peer_scale
                self.peer_window = window << self.peer_scale
                self.largest_peer_window = max(self.largest_peer_window, self.peer_window)
            else:
                changed = False
            self._acknowledged(number, blocks, echo, end > start or changed, now)
        if end > start or flags & FIN:
            self._data(start, payload, flags, now)
        elif start < self.rcv:
            self._send(now, self.nxt, ACK)  # a keep-alive or a probe
        self.pump(now)

    def _opening(self, packet: Packet, now: float) -> bool:
        """True if that was all."""
        flags = packet.flags
        if self.state == LISTEN:
            if flags & (SYN | ACK | RST) == SYN:
                self._heard_syn(packet)
                self.state = SYN_RECEIVED
                self.nxt = self.base
                self.resend_at = now + self.timeout
                self._send(now, self.habits.initial, SYN | ACK)
            return True
        if self.state == SYN_SENT:
            right = bool(flags & ACK) and packet.acknowledgment == self.base & MASK
            if flags & RST and right:
                self.reset, self.state, self.resend_at = True, OVER, None
            elif flags & SYN and right and not flags & RST:
                self._heard_syn(packet)
                self._opened(now)
                self.peer_window = self.largest_peer_window = packet.window
                self._send(now, self.nxt, ACK)
                self.pump(now)
            return True
        if flags & SYN and not flags & ACK and packet.sequence == self.peer_initial:
            self._send(now, self.habits.initial, SYN | ACK)
            return True
        if flags & (ACK | SYN | RST) == ACK and packet.acknowledgment == self.base & MASK:
            if near(packet.sequence, self.rcv) < self.rcv:
                self._challenge(now)
                return True
            self._opened(now)
            self.peer_window = self.largest_peer_window = packet.window << self.peer_scale
            return False
        return not flags & RST

    def _heard_syn(self, packet: Packet) -> None:
        habits = self.habits
        self.peer_initial = packet.sequence
        self.rcv = self.acknowledged = packet.sequence + 1
        self.edge = self.rcv
        kinds = syn_options(packet.options)
        self.sack = habits.sack and 4 in kinds
        self.timestamps = habits.timestamps and 8 in kinds
        if self.timestamps:
            self.recent = int.from_bytes(kinds[8][:4], "big")
        if habits.scale is not None and 3 in kinds:
            self.window_scale, self.peer_scale = habits.scale, kinds[3][0]
        else:
            self.window_scale, self.peer_scale = 0, 0 if self.state == SYN_SENT else -1

    def _opened(self, now: float) -> None:
        self.state = OPEN
        self.peer_scale = max(self.peer_scale, 0)
        self.una = self.base
        self.window_from = (self.rcv, self.base)
        self.resend_at, self.backoff = None, 0
        if self.habits.keep_alives:
            self.keep_at = now + self.random.uniform(0.1, 3)

    def _challenge(self, now: float, *, unasked: bool = True) -> None:
        """Say where we are; not too often to what asked for no answer."""
        if unasked:
            if now < self.challenged + CHALLENGES_APART:
                return
            self.challenged = now
        self._send(now, self.nxt, ACK)

    def _acknowledged(
        self,
        number: int,
        blocks: list[tuple[int, int]],
        echo: int | None,
        carries_more: bool,
        now: float,
    ) -> None:
        flight = self.flight
        gained = number - self.una
        delivered: list[Sent] = []
        if gained:
            self.una = number
            done = 0
            for sent in flight:
                if sent.end > number:
                    sent.start = max(sent.start, number)
                    break
                done += 1
            delivered = [sent for sent in flight[:done] if not sent.sacked]
            del flight[:done]
            self._measure(delivered, echo, now)
            self.backoff = 0
            pending = flight or self.nxt < self.fin_number + self.closing
            self.resend_at = now + self.timeout if pending else None
            if flight and flight[0].sacked:
                self.resend_at = now + max((self.smoothed or 0) / 2, 0.01)  # it has reneged
        elif self.flight and not carries_more:
            self.repeated_acks += 1
        elif not self.flight:
            self.backoff = 0  # an answered probe
        newly: list[Sent] = []
        if blocks and self.sack:
            for low, high in blocks:
                low = near(low, self.una)
                high = near(high, self.una)
                newly += [
                    sent
                    for sent in flight
                    if not sent.sacked and low <= sent.start and sent.end <= high
                ]
                for sent in newly:
                    sent.sacked = True
        for sent in delivered + newly:
            if not sent.again or now - sent.time > (self.smoothed or 0) / 2:
                self.newest_delivered = max(self.newest_delivered, sent.time)
        if gained:
            self._grow(gained)
        if self.sack:
            if newly or gained:
                self._detect(now)
        elif self.repeated_acks >= 3 and flight:
            if not self.recovering:
                self._enter()
                flight[0].lost = True
                self.congestion += 3 * self.habits.largest
            elif not gained:
                self.congestion += self.habits.largest

    def _measure(self, delivered: list[Sent], echo: int | None, now: float) -> None:
        if echo is not None and self.timestamps:
            sample = (self.stamp_offset + int(now * 1000) - echo & MASK) / 1000
        else:
            samples = [now - sent.time for sent in delivered if not sent.again]
            if not samples:
                return
            sample = samples[-1]
        if sample > 1000:
            return
        if self.smoothed is None:
            self.smoothed, self.variance = sample, sample / 2
        else:
            self.variance += (abs(self.smoothed - sample) - self.variance) / 4
            self.smoothed += (sample - self.smoothed) / 8
        self.timeout = min(
            LONGEST_TIMEOUT, self.smoothed + max(SHORTEST_TIMEOUT, 4 * self.variance)
        )

    def _grow(self, gained: int) -> None:
        largest = self.habits.largest
        if self.recovering:
            if self.una >= self.recover:
                if not self.after_timeout:
                    self.congestion = self.threshold
                self.recovering = self.after_timeout = False
                self.repeated_acks = 0
                return
            if not self.after_timeout:
                if not self.sack:  # a partial acknowledgement (RFC 6582)
                    self.congestion = max(largest, self.congestion - gained + largest)
                    if self.flight:
                        self.flight[0].lost = self.at_once = True
                return
        self.repeated_acks = 0
        if self.nxt - self.una + gained + largest < self.congestion:
            return  # it is not this window that holds us back (RFC 7661)
        if self.congestion < self.threshold:
            self.congestion += gained
        else:
            self.congestion += max(1, largest * min(gained, largest) // self.congestion)

    def _enter(self) -> None:
        self.recovering, self.after_timeout, self.at_once = True, False, True
        self.recover = self.nxt
        self._halve()
        self.congestion = self.threshold

    def _halve(self) -> None:
        """RFC 5681 section 3.1, of the window instead of what is outstanding."""
        self.threshold = max(self.congestion // 2, 2 * self.habits.largest)

    def _detect(self, now: float) -> None:
        """Lost is what three later segments, or one sent a while later, have overtaken."""
        above = 0
        lost: list[Sent] = []
        overdue = self.newest_delivered - (self.smoothed or 0) / 4
        for sent in reversed(self.flight):
            if sent.sacked:
                above += 1
            elif not sent.lost and (
                (above >= 3 and not sent.again) or (above and sent.time < overdue)
            ):
                lost.append(sent)
        if lost and not self.recovering:
            self._enter()
        for sent in lost:
            sent.lost = True

    def _data(self, start: int, payload: bytes, flags: int, now: float) -> None:
        if self.peer_fin is not None and self.rcv > self.peer_fin:
            self._send(now, self.nxt, ACK)  # nothing can follow
            return
        end = start + len(payload)
        if end > self.edge:
            payload = payload[: max(0, self.edge - start)]
            end, flags = start + len(payload), flags & ~FIN
        gap = bool(self.waiting.pieces)
        if flags & FIN and self.peer_fin is None:
            self.peer_fin = end
        fresh = b""
        if start > self.rcv:
            if payload:
                self.waiting.add(start, payload)
                self.latest_waiting = start
                self.quick = QUICK
        elif end > self.rcv:
            fresh = payload[self.rcv - start :]
            if gap:
                self.waiting.add(self.rcv, fresh)
                fresh = self.waiting.take(self.rcv)
            self.rcv += len(fresh)
            self.unread += fresh
        ended = self.peer_fin == self.rcv
        if ended:
            self.rcv += 1
        self.unacknowledged += len(fresh)
        at_once = (
            not self.habits.delayed
            or self.quick > 0
            or gap
            or ended
            or not fresh
            or self.unacknowledged >= 2 * self.habits.largest
        )
        if fresh or ended:
            if self.habits.reading and not ended:
                if self.read_at is None:
                    self.read_at = now + self.habits.reading * self.random.random()
            else:
                self._read(now)
        if at_once:
            if fresh and not gap and self.acknowledged == self.rcv:
                return  # the answer has acknowledged it
            self._send(now, self.nxt, ACK)
        elif self.acknowledge_at is None and self.unacknowledged:
            self.acknowledge_at = now + DELAYED

    def _read(self, now: float) -> None:
        self.read_at = None
        data = bytes(self.unread)
        self.unread.clear()
        self.received += data
        before = self.edge - self.rcv
        if data:
            self.stream += self.application(data)
        if self.peer_fin is not None and self.rcv > self.peer_fin:
            self.closing = True
        if before < self.habits.largest and self.habits.reading:
            self._send(now, self.nxt, ACK)  # the window is open again
        self.pump(now)


def read_options(options: bytes) -> tuple[tuple[int, int] | None, list[tuple[int, int]]]:
    """Timestamps, and SACK blocks, of a packet that is no SYN."""
    stamps = None
    at = 0
    if options[:4] == _STAMPS:
        stamps = _TWO.unpack_from(options, 4)
        at = 12
    while at < len(options):
        kind = options[at]
        if kind == 1:
            at += 1
        elif kind == 0 or at + 1 >= len(options) or options[at + 1] < 2:
            break
        else:
            size = options[at + 1]
            if kind == 8 and size == 10:
                stamps = _TWO.unpack_from(options, at + 2)
            elif kind == 5:
                return stamps, list(_TWO.iter_unpack(options[at + 2 : at + size]))
            at += size
    return stamps, []


def syn_options(options: bytes) -> dict[int, bytes]:
    """Option values by kind."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(options) and options[at]:
        if options[at] == 1:
            at += 1
            continue
        size = options[at + 1]
        found[options[at]] = options[at + 2 : at + size]
        at += size
    return found
