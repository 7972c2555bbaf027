"""The worker's loop: actions become verdicts, and every packet gets one whatever fails."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from nfinspect import events
from nfinspect.actions import Accept, Action, Drop, DropReason, Emit, Inject, Replace
from nfinspect.arrival import Arrival
from nfinspect.audit.suppression import Suppression
from nfinspect.events import Direction, Endpoint
from nfinspect.live import worker as worker_module
from nfinspect.live.worker import Worker


class Packet:
    """A queued packet that records its verdicts."""

    def __init__(self, *, broken: bool = False) -> None:
        self.verdicts: list[str] = []
        self._broken = broken

    def set_payload(self, payload: bytes) -> None:
        self.verdicts.append(f"payload {payload.decode()}")

    def accept(self) -> None:
        if self._broken:
            raise RuntimeError("Verdict already given for this packet")
        self.verdicts.append("accept")

    def drop(self) -> None:
        self.verdicts.append("drop")


class Engine:
    """Decides each packet with a function of the test."""

    def __init__(self, decide: Callable[[Arrival], Sequence[Action]]) -> None:
        self.arrive = decide
        self.ticks: list[float] = []
        self.due: float | None = None
        self.left: list[Action] = []
        self.ticked: list[Action] = []

    def tick(self, now: float) -> Sequence[Action]:
        self.ticks.append(now)
        self.due = None
        return self.ticked

    def deadline(self) -> float | None:
        return self.due

    def flush(self, now: float) -> Sequence[Action]:
        return self.left


class Lines:
    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, line: str) -> None:
        self.written.append(line)

    def flush(self) -> None:
        pass


class Audit:
    def __init__(self) -> None:
        self.events: list[events.Event] = []
        self.drops: list[DropReason] = []

    def observe(self, event: events.Event) -> None:
        self.events.append(event)

    def dropped(self, reason: DropReason) -> None:
        self.drops.append(reason)


class Harness:
    """A worker whose surroundings record what it does."""

    def __init__(self, decide: Callable[[Arrival], Sequence[Action]], **changes: Any) -> None:
        self.engine = Engine(decide)
        self.lines, self.audit = Lines(), Audit()
        self.injected: list[Inject] = []
        self.reports: list[str] = []
        arguments: dict[str, Any] = {
            "audit": self.audit,
            "render": lambda event: f"a line of {type(event).__name__}",
            "suppression": Suppression(0, 1.0, lambda event: "m"),
            "summary": str,
            "lines": self.lines,
            "inject": lambda action: not self.injected.append(action),
            "report": self.reports.append,
        }
        self.queue = Queue(self)
        self.worker = Worker(self.engine, self.queue, **(arguments | changes))
        self.packets = self.worker.packets

    def handle(self, packet: Packet, *, gso: bool = False) -> list[str]:
        self.worker.handle(Arrival(packet, b"datagram", 1.0, gso=gso))
        return packet.verdicts


END = Endpoint("outside", bytes(4), 1)
EVENT = events.TableFull(END, END)
DENIED = events.DeniedNoConnection(END, END, 4)


def test_accept_passes_the_packet_unchanged() -> None:
    harness = Harness(lambda arrival: [Accept(arrival.token)])
    assert harness.handle(Packet()) == ["accept"]
    assert (harness.packets.seen, harness.packets.accepted) == (1, 1)


def test_replace_passes_the_new_bytes() -> None:
    harness = Harness(lambda arrival: [Replace(arrival.token, b"other")])
    assert harness.handle(Packet()) == ["payload other", "accept"]
    assert (harness.packets.seen, harness.packets.rewritten) == (1, 1)


def test_drop_drops_the_packet_and_counts_the_reason() -> None:
    harness = Harness(lambda arrival: [Drop(arrival.token, DropReason.AWAITS_REPLY)])
    assert harness.handle(Packet()) == ["drop"]
    assert harness.packets.dropped == 1
    assert harness.audit.drops == [DropReason.AWAITS_REPLY]


def test_event_is_counted_and_written() -> None:
    harness = Harness(lambda arrival: [Emit(EVENT), Accept(arrival.token)])
    assert harness.handle(Packet()) == ["accept"]
    assert harness.audit.events == [EVENT]
    assert harness.lines.written == ["a line of TableFull"]


def test_event_without_a_line_is_only_counted() -> None:
    harness = Harness(lambda arrival: [Emit(EVENT)], render=lambda event: None)
    harness.handle(Packet())
    assert (harness.audit.events, harness.lines.written) == ([EVENT], [])


def test_suppressed_lines_are_counted_and_summed_up_at_the_end() -> None:
    suppression = Suppression(2, 10.0, lambda event: type(event).__name__)
    harness = Harness(
        lambda arrival: [Emit(DENIED)],
        suppression=suppression,
        summary=lambda suppressed: f"{suppressed.message} {suppressed.count}",
    )
    for _ in range(5):
        harness.handle(Packet())
    assert len(harness.audit.events) == 5
    assert harness.lines.written == ["a line of DeniedNoConnection"] * 2
    harness.worker.stopping = True
    harness.queue.drained = []
    harness.worker.run()
    assert harness.lines.written[2:] == ["DeniedNoConnection 3"]


@pytest.mark.parametrize(("sent", "count"), [(True, 1), (False, 0)])
def test_injection_is_counted_as_injected_or_not_injected(sent: bool, count: int) -> None:
    action = Inject(b"datagram", Direction.REPLY, "eth0")
    harness = Harness(lambda arrival: [action], inject=lambda action: sent)
    harness.handle(Packet())
    assert (harness.packets.injected, harness.packets.not_injected) == (count, 1 - count)


def test_injection_does_not_overtake_verdicts_of_the_same_run() -> None:
    unsent: list[int] = []

    def inject(action: Inject) -> bool:
        unsent.append(harness.queue.unsent)
        return True

    action = Inject(b"datagram", Direction.REQUEST, "eth0")
    harness = Harness(lambda arrival: [Accept(arrival.token), action], inject=inject)
    for _ in range(2):
        harness.handle(Packet())
    assert unsent == [0, 0]


def test_gso_packet_is_counted() -> None:
    harness = Harness(lambda arrival: [Accept(arrival.token)])
    harness.handle(Packet(), gso=True)
    harness.handle(Packet())
    assert (harness.packets.seen, harness.packets.gso) == (2, 1)


def test_held_packets_get_their_verdicts_in_the_order_of_the_actions() -> None:
    held: list[Any] = []
    order: list[str] = []

    class Named(Packet):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def accept(self) -> None:
            order.append(self.name)

    def decide(arrival: Arrival) -> list[Action]:
        held.insert(0, arrival.token)
        return [Accept(each) for each in held] if len(held) == 3 else []

    harness = Harness(decide)
    for name in ("first", "second", "third"):
        harness.handle(Named(name))
    assert order == ["third", "second", "first"]


def fail(arrival: Arrival) -> list[Action]:
    raise ZeroDivisionError("a bug")


def test_exception_in_the_engine_drops_the_packet_and_reports_a_traceback() -> None:
    harness = Harness(fail)
    assert harness.handle(Packet()) == ["drop"]
    assert harness.audit.drops == [DropReason.FILTER_ERROR]
    assert harness.packets.failures == 1
    assert len(harness.reports) == 1
    assert "ZeroDivisionError: a bug" in harness.reports[0]


def test_repeated_exceptions_are_reported_once_per_period(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(worker_module, "monotonic", lambda: clock[0])
    harness = Harness(fail)
    for _ in range(100):
        harness.handle(Packet())
    assert (harness.packets.failures, len(harness.reports)) == (100, 1)
    clock[0] += worker_module.REPORT_PERIOD
    harness.handle(Packet())
    assert len(harness.reports) == 2
    assert "internal error 101:" in harness.reports[1]


def test_verdict_that_fails_does_not_prevent_the_next_one() -> None:
    broken, sound = Packet(broken=True), Packet()
    harness = Harness(lambda arrival: [Accept(broken), Accept(sound)])
    harness.worker.handle(Arrival(sound, b"", 1.0))
    assert sound.verdicts == ["accept"]
    assert harness.packets.failures == 1


def test_event_that_cannot_be_rendered_does_not_prevent_the_verdict() -> None:
    def render(event: events.Event) -> str:
        raise UnicodeError

    harness = Harness(lambda arrival: [Emit(EVENT), Accept(arrival.token)], render=render)
    assert harness.handle(Packet()) == ["accept"]


class Queue:
    """Delivers rounds of packets; the last round stops the worker."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self.rounds: list[list[Packet]] = []
        self.drained = [Packet()]
        self.forgotten = 0
        self.unsent = 0

    def receive(self, handle: Callable[[Arrival], None], until: float) -> None:
        for packet in self.rounds.pop(0):
            handle(Arrival(packet, b"datagram", 1.0))
        self.send_verdicts()
        if not self.rounds:
            self._harness.worker.stopping = True

    def drain(self, handle: Callable[[Arrival], None], until: float) -> None:
        for packet in self.drained:
            handle(Arrival(packet, b"datagram", 1.0))
        self.send_verdicts()

    def accept(self, token: Packet) -> None:
        self.unsent += 1
        token.accept()

    def replace(self, token: Packet, datagram: bytes) -> None:
        token.set_payload(datagram)
        self.accept(token)

    def drop(self, token: Packet) -> None:
        self.unsent += 1
        token.drop()

    def send_verdicts(self) -> None:
        self.unsent = 0

    def forget_interface_names(self) -> None:
        self.forgotten += 1


def test_stop_decides_queued_packets_and_flushes_held_ones() -> None:
    harness = Harness(lambda arrival: [Accept(arrival.token)])
    held = Packet()
    harness.engine.left = [Drop(held, DropReason.FLUSHED)]
    queue = harness.queue
    queue.rounds = [[Packet()]]
    harness.worker.run()
    assert queue.unsent == 0
    assert queue.drained[0].verdicts == ["accept"]
    assert held.verdicts == ["drop"]
    assert harness.audit.drops == [DropReason.FLUSHED]


def test_engine_is_ticked_when_due_and_not_before() -> None:
    harness = Harness(lambda arrival: [Accept(arrival.token)])
    harness.engine.due = 1e18
    harness.queue.rounds = [[], []]
    harness.worker.run()
    assert harness.engine.ticks == []
    harness.worker.stopping = False
    harness.engine.due = 0.0
    harness.queue.rounds = [[], []]
    harness.worker.run()
    assert len(harness.engine.ticks) == 1


def test_services_are_called_in_every_round() -> None:
    calls: list[int] = []
    harness = Harness(lambda arrival: [Accept(arrival.token)], services=[lambda: calls.append(1)])
    harness.queue.rounds = [[], [], []]
    harness.worker.run()
    assert len(calls) == 3
    assert harness.queue.forgotten == 1


def test_service_that_fails_is_reported_and_stops_neither_the_others_nor_the_filter() -> None:
    calls: list[int] = []
    harness = Harness(
        lambda arrival: [Accept(arrival.token)], services=[lambda: 1 // 0, lambda: calls.append(1)]
    )
    harness.queue.rounds = [[], [], []]
    harness.worker.run()
    assert len(calls) == 3
    assert harness.packets.failures == 3
    (report,) = harness.reports
    assert "ZeroDivisionError" in report


def test_verdicts_of_a_tick_are_sent_before_the_queue_is_read_again() -> None:
    harness = Harness(lambda arrival: [Accept(arrival.token)])
    held = Packet()
    harness.engine.due = 0.0
    harness.engine.ticked = [Drop(held, DropReason.CLOSED_CONNECTION)]
    unsent: list[int] = []
    receive = harness.queue.receive

    def watch(handle: Callable[[Arrival], None], until: float) -> None:
        unsent.append(harness.queue.unsent)
        receive(handle, until)

    harness.queue.receive = watch  # type: ignore[method-assign]
    harness.queue.rounds = [[], []]
    harness.worker.run()
    assert held.verdicts == ["drop"]
    assert unsent == [0, 0]
