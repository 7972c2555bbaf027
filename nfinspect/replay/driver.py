"""Drives the engine with captures, on the captures' clock.

One of three things happens to each packet: it is copied through, if it does not concern the filter;
it is a fragment, and becomes part of a reassembled packet or is discarded; or it goes to the engine
and gets a verdict. Packets are numbered from 1, through all captures in the given order, and
replayed in the order of their times (``order``). For the engine, time never runs backwards: where
sorting is not enough, its clock stops until the captures have caught up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from typing import Any, Protocol

from nfinspect import events
from nfinspect.actions import Accept, Action, Drop, DropReason, Emit, Inject, Replace, Would
from nfinspect.arrival import Arrival
from nfinspect.audit import show, syslog
from nfinspect.audit.counters import Counters
from nfinspect.audit.json_lines import iso
from nfinspect.audit.text import address as address_text
from nfinspect.packet.checksum import ip_header_valid, tcp_checksum_valid
from nfinspect.packet.segment import TCP_PROTOCOL, Segment, parse, ports, reverse_key
from nfinspect.policy.model import Policy
from nfinspect.replay.capture import SECOND, Capture, Frame
from nfinspect.replay.checksums import Checksums, ChecksumUse, Sender
from nfinspect.replay.cutting import MTU, cut
from nfinspect.replay.elsewhere import Elsewhere
from nfinspect.replay.fragments import Decided, Reassembler, is_fragment
from nfinspect.replay.incomplete import LINK_TYPE, SNAP_LENGTH, incomplete
from nfinspect.replay.link import NOT_IP, Locate, enclose, framed, locate, turned
from nfinspect.replay.order import Merged, Ordered, Source
from nfinspect.replay.output import CaptureWriter
from nfinspect.replay.records import (
    ConnectionRecord,
    PacketCounts,
    Records,
    connection_key,
    packet_key,
)
from nfinspect.replay.redact import Redactor
from nfinspect.replay.result import Result
from nfinspect.replay.sides import Translations

MAX_TICKS = 100_000
"""The engine's deadlines served between two packets, at most: a capture's clock may jump by a
century."""

MAX_SENDERS_NOTED = 20
"""Senders whose wrong checksums have a note of their own."""

TO_THE_CARD = "the checksums of {} were left to its network card (offload): taken for right"
ALL_WRONG = "the checksums of {} are all wrong (offload): not looked at"
"""What is noted of a sender."""

CUT = f"longer than {MTU:,} bytes (segmentation offload); cut as a network card does"

_WORD = Struct("!H")


class ReplayEngine(Protocol):
    """What the driver needs from the engine."""

    @property
    def totals(self) -> Any: ...
    def arrive(self, arrival: Arrival) -> list[Action]: ...
    def tick(self, now: float) -> list[Action]: ...
    def deadline(self) -> float | None: ...
    def flush(self, now: float) -> list[Action]: ...
    def payload_bytes(self, key: bytes) -> int: ...


class Replay:
    """A replay of captures, in the order in which `feed` gets them."""

    def __init__(
        self,
        policy: Policy,
        engine: ReplayEngine,
        out: CaptureWriter | None = None,
        checksums: ChecksumUse = ChecksumUse.AUTO,
        *,
        as_live: bool = False,
        only_watches: bool = False,
        redactor: Redactor | None = None,
        pictured: Callable[[int], bool] | None = None,
        ended: Callable[[ConnectionRecord], None] | None = None,
    ) -> None:
        """*engine* must have been started at time 0.0, which is that of the first packet.

        *as_live*: datagrams larger than the MTU are cut first, as the filter in the path sees them.

        *redactor*: what replaces everything private in the result and in *out*, which then has only
        packets that concern the filter.

        *pictured*: whether the result is to hold the segments of the connection with this number;
        *ended* is called with the record of each connection that has ended.
        """
        self.policy = policy
        self.result = Result(redactor=redactor)
        self._redactor = redactor
        self._engine = engine
        self._out = out
        self._as_live = as_live
        self._counters = Counters(only_watches=only_watches)
        self._fragments = Reassembler()
        self._checksums = Checksums(checksums)
        self._senders_noted = 0
        self._ordered = Ordered((), self._late, self._segment)
        self._records = Records(self.result.spool, self.result.finished, pictured, ended)
        self._start: int | None = None
        """The engine's time 0.0, in nanoseconds since 1970."""
        self._now = 0.0
        """The engine's time."""
        self._time = 0
        """The time of the packet or tick being decided, in nanoseconds since 1970."""
        self._nobody = PacketCounts()
        """Packets that belong to no connection."""
        self._copied = 0
        self._elsewhere = Elsewhere()
        self._copies = 0
        """Second copies of packets of connections that are seen on two sides."""
        self._translations = Translations()
        self._fragments_joined = 0
        self._datagrams_joined = 0
        self._fragments_discarded = 0
        self._cut = 0
        """Datagrams cut, and into how many pieces."""
        self._pieces = 0
        self._captures: list[dict[str, Any]] = []
        self._notes: dict[str, dict[str, Any]] = {}

    # ---- the interface -------------------------------------------------------------------------

    def feed(self, capture: Capture, progress: Callable[[], None] | None = None) -> None:
        """Replay one capture to its end; *progress* is called from time to time."""
        self._replay(capture, progress)
        self._ended(capture)

    def feed_merged(
        self, sources: list[Source], progress: Callable[[], None] | None = None
    ) -> None:
        """Replay several captures together, by the times of their packets."""
        self._replay(Merged(sources, self._out_of_place), progress)
        for source in sources:
            assert source.capture is not None
            self._ended(source.capture)

    def _ended(self, capture: Capture) -> None:
        damage = str(capture.damage) if capture.damage else None
        packets = capture.packets - capture.before
        self._captures.append({"file": capture.name, "packets": packets, "damage": damage})

    def _replay(self, frames: Iterable[Frame], progress: Callable[[], None] | None) -> None:
        interface = None
        find: Locate | None = None
        self._ordered = Ordered(frames, self._late, self._segment)
        for frame in self._ordered:
            self._advance(frame)
            if frame.interface is not interface:
                interface = frame.interface
                find = locate(interface.link_type)
            if progress is not None and not frame.number & 0x3FF:
                progress()
            offset = NOT_IP
            if find is not None:
                offset = find(frame.data)
            else:
                link_type = frame.interface.link_type
                self._note(LINK_TYPE.format(link_type), frame.number)
            if offset == NOT_IP or offset + 20 > len(frame.data):
                self._copy(frame)
            else:
                frame.offset = offset
                self._datagram(frame)

    def finish(self) -> Result:
        """Finish after the last capture: drop what is still held, and return the result."""
        self._let_time_pass()
        for decided in self._fragments.flush():
            self._joined(decided)
        self._apply(self._engine.flush(self._now))
        for record in self._records.open():
            record.bytes = self._engine.payload_bytes(record.key)
        self._records.put_all_away(self._now)
        totals = self._engine.totals
        self.result.counters = self._counters.to_json(self.policy, totals)
        self.result.show = show.service_policy(
            self._counters.inspections(self.policy, totals),
            only_watches=self._counters.only_watches,
        )
        self.result.summary = self._summary()
        return self.result

    # ---- time ----------------------------------------------------------------------------------

    def _advance(self, frame: Frame) -> None:
        """Advance the clock to this packet, unless it is already later."""
        self._time = frame.time
        if self._start is None:
            self._start = frame.time
            self._records.start = frame.time / SECOND
        now = (frame.time - self._start) / SECOND
        if now >= self._now:
            self._now = now
        else:
            self._note("earlier than the packet before it; the clock was stopped", frame.number)

    def _out_of_place(self, frame: Frame) -> None:
        self._note("in captures that overlap or are in the wrong order; sorted", frame.number)

    def _late(self, frame: Frame) -> None:
        self._note("earlier than a packet before it; sorted by time", frame.number)

    def _let_time_pass(self) -> None:
        """Call the engine's tick at every deadline up to now."""
        deadline = self._engine.deadline()
        if deadline is None or deadline > self._now:
            return
        assert self._start is not None
        time = self._time
        for _ in range(MAX_TICKS):
            self._time = self._start + round(deadline * SECOND)
            self._apply(self._engine.tick(deadline))
            before, deadline = deadline, self._engine.deadline()
            if deadline is None or deadline > self._now or deadline <= before:
                break
        self._time = time
        if deadline is not None and deadline <= self._now:
            self._apply(self._engine.tick(self._now))

    # ---- the path of one packet ----------------------------------------------------------------

    def _datagram(self, frame: Frame) -> None:
        """Find out whom the datagram in a frame concerns; there is room for an IP header."""
        offset = frame.offset
        datagram = frame.data[offset:] if offset else frame.data
        version = datagram[0] >> 4
        if version == 4:
            may_be_fragment = datagram[6] & 0x3F or datagram[7]
        elif version == 6 and len(datagram) >= 40:
            may_be_fragment = datagram[6] != TCP_PROTOCOL
        else:
            self._copy(frame)
            return
        length = _ip_length(datagram)
        if 20 <= length < len(datagram):
            datagram = datagram[:length]
        frame.end = offset + len(datagram)
        if may_be_fragment and is_fragment(datagram):
            for decided in self._fragments.expire(self._now):
                self._joined(decided)
            last = self._fragments.add(frame, self._now)
            if last is not None:
                self._joined(last)
            return
        found = ports(datagram)
        if found is None or not self.policy.concerns(*found):
            if found is not None:
                self._elsewhere.notice(datagram, found, frame.number)
            self._copy(frame)
            return
        captured_length = None
        if not length:
            captured_length = frame.length - offset
            self._note("IP length 0 (segmentation offload); the frame's is used", frame.number)
        elif length > len(datagram) and frame.length > len(frame.data):
            captured_length = frame.length - offset
        if captured_length is not None and captured_length > len(datagram):
            self._note(SNAP_LENGTH, frame.number)
        self._whole(frame, datagram, found, captured_length)

    def _joined(self, decided: Decided) -> None:
        """Handle fragments that were reassembled or given up."""
        whole = decided.datagram
        found = ports(whole or decided.first or b"")
        if not self.policy.concerns(*found) if found else whole is not None:
            for frame in decided.frames:
                self._copy(frame)
        elif whole is None:
            self._fragments_discarded += len(decided.frames)
        else:
            assert found is not None
            self._fragments_joined += len(decided.frames)
            self._datagrams_joined += 1
            last = decided.frames[-1]
            data = last.data[: last.offset] + whole
            joined = Frame(last.number, last.time, last.interface, data, len(data))
            joined.offset, joined.end = last.offset, len(data)
            joined.parts = decided.frames
            self._arrive(joined, whole, found)

    def _copy(self, frame: Frame) -> None:
        """Copy a packet that does not concern the filter."""
        self._copied += 1
        if self._out is not None and self._redactor is None:
            self._out.copy(frame, self._time)

    def _whole(
        self, frame: Frame, datagram: bytes, found: tuple[int, int], captured_length: int | None
    ) -> None:
        """Give a datagram as it was captured to the engine, in pieces if it has to be cut."""
        segment = None
        if self._as_live and len(datagram) > MTU:
            segment = parse(datagram, captured_length)
        if not isinstance(segment, Segment):
            self._arrive(frame, datagram, found, captured_length)
            return
        sender = self._checksums.sender(_source(datagram))
        arrival = Arrival(frame, datagram, self._now, captured_length)
        right = not sender.verified or (ip_header_valid(datagram) and tcp_checksum_valid(segment))
        if not right and not self._usable(sender, arrival):
            self._arrive(frame, datagram, found, captured_length)  # damaged: dropped whole
            return
        self._note(CUT, frame.number)
        pieces = cut(frame, segment)
        self._cut += 1
        self._pieces += len(pieces)
        for piece, part in pieces:
            self._arrive(piece, part, found, completed=True)

    def _arrive(
        self,
        frame: Frame,
        datagram: bytes,
        found: tuple[int, int],
        captured_length: int | None = None,
        *,
        completed: bool = False,
    ) -> None:
        """Give a datagram that concerns the filter to the engine, and apply its actions. See
        ``Arrival`` for *captured_length*. *completed*: its checksum says nothing of its sender's."""
        self._let_time_pass()
        frame.key = packet_key(datagram, found)
        record = self._records.find(frame.key)
        if record is not None:
            if record.sides.is_copy(frame, datagram):
                self._copies += 1
                record.copied(frame.number, self._now)
                return
            if record.sides.answer is not None:
                self._find_translation(frame, record)
            self._belongs(frame, record)
            sender = record.senders.get(frame.key)
            if sender is None:
                sender = record.senders[frame.key] = self._checksums.sender(_source(datagram))
        else:
            sender = self._checksums.sender(_source(datagram))
        arrival = Arrival(frame, datagram, self._now, captured_length, sender.verified)
        if not sender.verified or ip_header_valid(datagram):
            actions = self._engine.arrive(arrival)
        else:  # live, the kernel drops it before any filter
            actions = [Drop(frame, DropReason.BAD_CHECKSUM)]
        if completed:
            pass
        elif not sender.verified:
            if sender.note is not None:
                sender.note["packets"] += 1
        elif not any(_bad_checksum(action) for action in actions):
            sender.right += 1
        elif self._usable(sender, arrival):
            arrival.checksum_ready = False
            actions = self._engine.arrive(arrival)
        if record is not None:
            for action in actions:
                if type(action) is Drop and action.token is frame:
                    break
            else:
                time = self._records.start + self._now
                record.turns.packet(frame, frame.key == record.key, time)
        self._apply(actions)
        if frame.record is not record and frame.record is not None:  # its SYN
            frame.record.sides.is_copy(frame, datagram)
        if not frame.decided:
            self._packets(frame).held += 1

    def _find_translation(self, frame: Frame, record: ConnectionRecord) -> None:
        """At the SYN-ACK of a connection."""
        answer, record.sides.answer = record.sides.answer, None
        assert answer is not None
        same = self._translations.same_as(answer, frame, record.connection.number)
        if same is not None:
            record.same_as(same, frame.number)

    def _usable(self, sender: Sender, arrival: Arrival) -> bool:
        """Whether to use a packet although a checksum is wrong."""
        frame, datagram = arrival.token, arrival.datagram
        assert isinstance(frame, Frame)
        address = _source(datagram)
        if self._checksums.left_to_the_card(sender, datagram, arrival.captured_length):
            if sender.note is None:
                sender.note = self._note_sender(TO_THE_CARD, address, frame.number)
            else:
                sender.note["packets"] += 1
            return True
        if not self._checksums.mean_nothing(sender, self._ahead(address)):
            return False
        sender.note = self._note_sender(ALL_WRONG, address, frame.number)
        return True

    def _note_sender(self, text: str, address: bytes, packet: int) -> dict[str, Any]:
        """Note what the checksums of an address are like; returns the note."""
        self._senders_noted += 1
        many = self._senders_noted > MAX_SENDERS_NOTED
        if self._redactor is not None:
            address = self._redactor.address(address)
        return self._note(text.format("further senders" if many else address_text(address)), packet)

    def _ahead(self, address: bytes) -> Iterator[bytes]:
        """The datagrams in the window that come from *address* and concern the filter."""
        for frame in self._ordered.ahead():
            datagram = self._concerning(frame)
            if datagram and _source(datagram) == address:
                yield datagram

    def _concerning(self, frame: Frame) -> bytes:
        """The datagram in a frame not yet decided; empty if it does not concern the filter."""
        find = locate(frame.interface.link_type)
        offset = find(frame.data) if find is not None else NOT_IP
        datagram = frame.data[offset:] if offset != NOT_IP else b""
        found = ports(datagram)
        if found is None or not self.policy.concerns(*found):
            return b""
        return datagram[: _ip_length(datagram) or None]

    def _segment(self, frame: Frame) -> Segment | None:
        """The segment in a frame not yet decided, if it concerns the filter."""
        datagram = self._concerning(frame)
        segment = parse(datagram, len(datagram))
        return segment if isinstance(segment, Segment) else None

    # ---- the engine's actions ------------------------------------------------------------------

    def _apply(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Emit):
                self._observe(action)
                continue
            if isinstance(action, Inject):
                self._inject(action.datagram)
                continue
            if isinstance(action, Would):
                if isinstance(action.decision, Drop):
                    self._counters.dropped(action.decision.reason)
                continue
            frame = action.token
            assert isinstance(frame, Frame)
            if frame.decided:
                self._rest(frame, action)
                continue
            frame.decided = True
            if isinstance(action, Accept):
                self._packets(frame).accepted += 1
                self._leaves(frame, frame.data[frame.offset : frame.end])
                if self._redactor is not None:
                    self._write(frame, frame.data[frame.offset : frame.end])
                elif self._out is not None:
                    self._out.copy(frame, self._time)
            elif isinstance(action, Replace):
                packets = self._packets(frame)
                packets.rewritten += 1
                came = _payload(frame.data[frame.offset : frame.end])
                packets.rewritten_headers += came is not None and came == _payload(action.datagram)
                self._leaves(frame, action.datagram)
                self._write(frame, action.datagram)
            else:
                self._counters.dropped(action.reason)
                if action.reason is DropReason.NO_CONNECTION:
                    frame.record = None  # its addresses are those of a connection that is over
                self._packets(frame).dropped += 1
        self._records.settle_text()

    def _rest(self, frame: Frame, action: Action) -> None:
        """The rest of a packet that was cut has its own verdict; if it passes, it is a packet that
        the capture does not have."""
        if isinstance(action, Replace):
            self._packets(frame).injected += 1
            self._leaves(frame, action.datagram)
            self._write(frame, action.datagram)

    def _write(self, frame: Frame, datagram: bytes) -> None:
        """Write a datagram in place of that in *frame*."""
        if self._out is None:
            return
        redacted = self._redacted(datagram, frame.record, frame.key)
        if redacted is not None:
            data = enclose(redacted, frame)
            self._out.write(frame.interface, self._time, data, len(data))

    def _redacted(
        self, datagram: bytes, record: ConnectionRecord | None, key: bytes
    ) -> bytes | None:
        """The datagram as --out may have it; None if it may not."""
        if self._redactor is None:
            return datagram
        if record is None:  # nobody knows what it is: no word may stay
            return self._redactor.datagram(datagram, request=True, message=True)
        request = key == record.key
        return self._redactor.datagram(datagram, request=request, message=record.text.was)

    def _leaves(self, frame: Frame, datagram: bytes) -> None:
        record: ConnectionRecord | None = frame.record
        if record is not None and record.wire is not None:
            record.wire.left(datagram, frame.number)

    def _packets(self, frame: Frame) -> PacketCounts:
        record: ConnectionRecord | None = frame.record
        return self._nobody if record is None else record.packets

    def _inject(self, datagram: bytes) -> None:
        """Write an injected packet, with the link header of its direction."""
        found = ports(datagram)
        assert found is not None
        key = packet_key(datagram, found)
        record = self._records.find(key)
        if record is None:
            self._nobody.injected += 1
            return
        record.packets.injected += 1
        if record.wire is not None:
            record.wire.left(datagram, 0)
        if self._out is None:
            return
        if key in record.heads:
            interface, head = record.heads[key]
        else:  # nothing has been seen in this direction yet
            interface, head = record.heads[reverse_key(key)]
            head = turned(head, interface.link_type)
        redacted = self._redacted(datagram, record, key)
        if redacted is not None:
            data = framed(head, redacted)
            self._out.write(interface, self._time, data, len(data))

    def _observe(self, emitted: Emit) -> None:
        event = emitted.event
        if self._redactor is not None:
            event = self._redactor.event(event)
        frame = emitted.token if isinstance(emitted.token, Frame) else None
        self._counters.observe(event)
        line = syslog.render(event)
        if line is not None:
            about = getattr(event, "connection", None)
            self.result.syslog.append([about.number if about is not None else 0, line])
        if isinstance(event, events.DeniedNoConnection | events.TableFull | events.LimitReached):
            return
        if isinstance(event, events.ConnectionBuilt):
            real = emitted.event
            assert isinstance(real, events.ConnectionBuilt)
            key = connection_key(real.connection)
            record = self._records.build(event.connection, key, self._now)
            if frame is not None:
                self._belongs(frame, record)
            return
        packet = frame.number if frame else None
        if self._redactor is not None:
            self._records.follow_text(emitted.event, event.connection.number)
        self._records.observe(event, event.connection, packet, self._now)

    def _belongs(self, frame: Frame, record: ConnectionRecord) -> None:
        frame.record = record
        record.last_seen = self._now
        if self._out is not None:
            record.heads[frame.key] = (frame.interface, frame.data[: frame.offset])
        if record.wire is not None:
            record.wire.arrived(frame.data[frame.offset : frame.end], frame.number)

    # ---- the summary ---------------------------------------------------------------------------

    def _note(self, text: str, packet: int) -> dict[str, Any]:
        """Note something about a packet for the reader of the result; returns the note, which
        counts the packets."""
        note = self._notes.setdefault(text, {"note": text, "packets": 0, "first": packet})
        note["packets"] += 1
        return note

    def _summary(self) -> dict[str, Any]:
        total = self._records.total
        total.add(self._nobody)
        dropped = {r.value: n for r, n in self._counters.dropped_packets.items()}
        notes = list(self._notes.values())
        return {
            "captures": self._captures,
            "began": None if self._start is None else iso(self._start / SECOND),
            "duration": round(self._now, 9),
            "packets": {
                "read": sum(capture["packets"] for capture in self._captures),
                "copied": self._copied,
                "copies": self._copies,
                **total.to_json(),
            },
            "only_watches": self._counters.only_watches,
            "would_drop" if self._counters.only_watches else "dropped": dropped,
            "fragments": {
                "joined": self._fragments_joined,
                "datagrams": self._datagrams_joined,
                "discarded": self._fragments_discarded,
            },
            **(
                {"as_live": True, "cut": {"datagrams": self._cut, "pieces": self._pieces}}
                if self._as_live
                else {}
            ),
            "connections": self._counters.built,
            "ports": sorted(self.policy.plans),
            "elsewhere": {str(port): first for port, first in self._elsewhere.ports.items()},
            "notes": notes,
            "incomplete": incomplete(self._captures, notes, dropped, self._fragments_discarded),
        }


def _ip_length(datagram: bytes) -> int:
    """The length of a datagram by its header; 0 if that is left to segmentation offload."""
    if datagram[0] >> 4 == 4:
        return int(_WORD.unpack_from(datagram, 2)[0])
    payload: int = _WORD.unpack_from(datagram, 4)[0]
    return payload + 40 if payload else 0


def _source(datagram: bytes) -> bytes:
    """The source address."""
    return datagram[12:16] if datagram[0] >> 4 == 4 else datagram[8:24]


def _bad_checksum(action: Action) -> bool:
    if isinstance(action, Would):
        action = action.decision
    return isinstance(action, Drop) and action.reason is DropReason.BAD_CHECKSUM


def _payload(datagram: bytes) -> bytes | None:
    """The data of a TCP segment; None if it is none."""
    segment = parse(datagram)
    return None if isinstance(segment, DropReason) else segment.payload_bytes
