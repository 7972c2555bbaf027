"""Drives the engine with captures, in the time of the captures.

Each packet that is read has one fate: it is copied through, because it is not the filter's
business; it is a fragment, and lives on in a reassembled packet or is discarded; or it is given to
the engine and gets a verdict. Packets are numbered from 1 on, through all captures in the order in
which they were named. Time never runs backwards for the engine: it stands until the captures
have caught up.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Protocol

from nfinspect import events
from nfinspect.actions import Accept, Action, Drop, DropReason, Emit, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.audit import show, syslog
from nfinspect.audit.counters import Counters
from nfinspect.audit.json_lines import iso
from nfinspect.packet.checksum import ip_header_valid
from nfinspect.packet.segment import TCP_PROTOCOL, ports, reverse_key
from nfinspect.policy.model import Policy
from nfinspect.replay.capture import SECOND, Capture, Frame
from nfinspect.replay.fragments import Decided, Reassembler, is_fragment
from nfinspect.replay.link import NOT_IP, Locate, behind, enclose, locate, turned
from nfinspect.replay.output import CaptureWriter
from nfinspect.replay.records import (
    ConnectionRecord,
    PacketCounts,
    Records,
    connection_key,
    packet_key,
)
from nfinspect.replay.result import Result

MOST_TICKS = 100_000
"""Deadlines of the engine between two packets that it is woken at; a capture's clock may jump by a
century."""

_WORD = Struct("!H")


class Engine(Protocol):
    """What the driver needs of the engine."""

    @property
    def totals(self) -> Any: ...
    def arrive(self, arrival: Arrival) -> list[Action]: ...
    def tick(self, now: float) -> list[Action]: ...
    def deadline(self) -> float | None: ...
    def flush(self, now: float) -> list[Action]: ...
    def payload_bytes(self, key: bytes) -> int: ...


class Replay:
    """One replay of captures, in the order in which they are given to `feed`."""

    def __init__(self, policy: Policy, engine: Engine, out: CaptureWriter | None = None) -> None:
        """*engine* was started at 0.0, the time of the first packet."""
        self.policy = policy
        self.result = Result()
        self._engine = engine
        self._out = out
        self._counters = Counters()
        self._fragments = Reassembler()
        self._records = Records(self.result.spool, self.result.finished)
        self._start: int | None = None
        """The engine's zero, nanoseconds since 1970."""
        self._now = 0.0
        """The engine's time."""
        self._time = 0
        """Of what is being decided, nanoseconds since 1970."""
        self._nobody = PacketCounts()
        """Of packets that belong to no connection."""
        self._copied = 0
        self._fragments_joined = 0
        self._datagrams_joined = 0
        self._fragments_discarded = 0
        self._captures: list[dict[str, Any]] = []
        self._notes: dict[str, dict[str, Any]] = {}

    # ---- what a caller calls -------------------------------------------------------------------

    def feed(self, capture: Capture, progress: Callable[[], None] | None = None) -> None:
        """Replay one capture to its end; *progress* is called now and then."""
        before = capture.packets
        interface = None
        find: Locate | None = None
        for frame in capture:
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
                self._note(f"link type {link_type}, which replay does not read", frame.number)
            if offset == NOT_IP or offset + 20 > len(frame.data):
                self._copy(frame)
            else:
                frame.offset = offset
                self._datagram(frame)
        damage = str(capture.damage) if capture.damage else None
        self._captures.append(
            {"file": capture.name, "packets": capture.packets - before, "damage": damage}
        )

    def finish(self) -> Result:
        """The captures are at their end: drop what still waits, and tell everything."""
        self._let_time_pass()
        for decided in self._fragments.flush():
            self._joined(decided)
        self._apply(self._engine.flush(self._now))
        for record in self._records.open():
            record.bytes = self._engine.payload_bytes(connection_key(record.connection))
        self._records.put_all_away()
        totals = self._engine.totals
        self.result.counters = self._counters.to_json(self.policy, totals)
        self.result.show = show.service_policy(self._counters.inspections(self.policy, totals))
        self.result.summary = self._summary()
        return self.result

    # ---- time ----------------------------------------------------------------------------------

    def _advance(self, frame: Frame) -> None:
        """It is the time of this packet, or already later."""
        self._time = frame.time
        if self._start is None:
            self._start = frame.time
            self._records.start = frame.time / SECOND
        now = (frame.time - self._start) / SECOND
        if now >= self._now:
            self._now = now
        else:
            self._note("earlier than the packet before: time stood still", frame.number)

    def _let_time_pass(self) -> None:
        """Wake the engine at every deadline up to now."""
        deadline = self._engine.deadline()
        if deadline is None or deadline > self._now:
            return
        assert self._start is not None
        time = self._time
        for _ in range(MOST_TICKS):
            self._time = self._start + round(deadline * SECOND)
            self._apply(self._engine.tick(deadline))
            before, deadline = deadline, self._engine.deadline()
            if deadline is None or deadline > self._now or deadline <= before:
                break
        self._time = time
        if deadline is not None and deadline <= self._now:
            self._apply(self._engine.tick(self._now))

    # ---- the way of one packet -----------------------------------------------------------------

    def _datagram(self, frame: Frame) -> None:
        """There is room for an IP header behind the link header: whose is the datagram?"""
        offset = frame.offset
        datagram = frame.data[offset:] if offset else frame.data
        version = datagram[0] >> 4
        if version == 4:
            (length,) = _WORD.unpack_from(datagram, 2)
            may_be_fragment = datagram[6] & 0x3F or datagram[7]
        elif version == 6 and len(datagram) >= 40:
            length = _WORD.unpack_from(datagram, 4)[0] + 40
            may_be_fragment = datagram[6] != TCP_PROTOCOL
        else:
            self._copy(frame)
            return
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
            self._copy(frame)
        else:
            self._arrive(frame, datagram, found, length)

    def _joined(self, decided: Decided) -> None:
        """Fragments have become a datagram, or nothing ever will."""
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
            self._arrive(joined, whole, found, len(whole))

    def _copy(self, frame: Frame) -> None:
        """Not the filter's business."""
        self._copied += 1
        if self._out is not None:
            self._out.copy(frame, self._time)

    def _arrive(self, frame: Frame, datagram: bytes, found: tuple[int, int], length: int) -> None:
        """The filter's business: to the engine, and do what it says."""
        self._let_time_pass()
        frame.key = packet_key(datagram, found)
        record = self._records.find(frame.key)
        if record is not None:
            self._belongs(frame, record)
        captured_length = None
        if length > len(datagram) and frame.length > len(frame.data):
            captured_length = frame.length - frame.offset
            self._note("cut short by the capture's snap length", frame.number)
        if ip_header_valid(datagram):
            arrival = Arrival(frame, datagram, self._now, captured_length)
            self._apply(self._engine.arrive(arrival))
        else:  # the kernel would have dropped it before any filter
            self._apply([Drop(frame, DropReason.BAD_CHECKSUM)])
        if not frame.decided:
            self._packets(frame).held += 1

    # ---- what the engine says ------------------------------------------------------------------

    def _apply(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Emit):
                self._observe(action)
                continue
            if isinstance(action, Inject):
                self._inject(action.datagram)
                continue
            frame = action.token
            assert isinstance(frame, Frame)
            frame.decided = True
            if isinstance(action, Accept):
                self._packets(frame).accepted += 1
                if self._out is not None:
                    self._out.copy(frame, self._time)
            elif isinstance(action, Replace):
                self._packets(frame).rewritten += 1
                if self._out is not None:
                    data = enclose(action.datagram, frame)
                    self._out.write(frame.interface, self._time, data, len(data))
            else:
                self._counters.dropped(action.reason)
                if action.reason is DropReason.NO_CONNECTION:
                    frame.record = None  # nobody's, though somebody had these addresses before
                self._packets(frame).dropped += 1

    def _packets(self, frame: Frame) -> PacketCounts:
        return self._nobody if frame.record is None else frame.record.packets

    def _inject(self, datagram: bytes) -> None:
        """A packet of the engine's own, behind the link header of its direction."""
        found = ports(datagram)
        assert found is not None
        key = packet_key(datagram, found)
        record = self._records.find(key)
        if record is None:
            self._nobody.injected += 1
            return
        record.packets.injected += 1
        if self._out is None:
            return
        if key in record.heads:
            interface, head = record.heads[key]
        else:  # nothing has come this way yet
            interface, head = record.heads[reverse_key(key)]
            head = turned(head, interface.link_type)
        data = behind(head, datagram)
        self._out.write(interface, self._time, data, len(data))

    def _observe(self, emitted: Emit) -> None:
        event = emitted.event
        frame = emitted.token if isinstance(emitted.token, Frame) else None
        self._counters.observe(event)
        line = syslog.render(event)
        if line is not None:
            self.result.syslog.append(line)
        if isinstance(event, events.DeniedNoConnection | events.TableFull):
            return
        if isinstance(event, events.ConnectionBuilt):
            record = self._records.build(event.connection, self._now)
            if frame is not None:
                self._belongs(frame, record)
            return
        packet = frame.number if frame else None
        self._records.observe(event, event.connection, packet, self._now)

    def _belongs(self, frame: Frame, record: ConnectionRecord) -> None:
        frame.record = record
        record.last_seen = self._now
        if self._out is not None:
            record.heads[frame.key] = (frame.interface, frame.data[: frame.offset])

    # ---- in all --------------------------------------------------------------------------------

    def _note(self, text: str, packet: int) -> None:
        """Something about packets that somebody who reads the result should know."""
        note = self._notes.setdefault(text, {"note": text, "packets": 0, "first": packet})
        note["packets"] += 1

    def _summary(self) -> dict[str, Any]:
        total = self._records.total
        total.add(self._nobody)
        return {
            "captures": self._captures,
            "began": None if self._start is None else iso(self._start / SECOND),
            "duration": round(self._now, 9),
            "packets": {
                "read": sum(capture["packets"] for capture in self._captures),
                "copied": self._copied,
                **total.to_json(),
            },
            "dropped": self.result.counters["dropped_packets"],
            "fragments": {
                "joined": self._fragments_joined,
                "datagrams": self._datagrams_joined,
                "discarded": self._fragments_discarded,
            },
            "connections": self._counters.built,
            "ports": sorted(self.policy.plans),
            "notes": list(self._notes.values()),
        }
