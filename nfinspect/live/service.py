"""One worker's parts, put together: queue, engine, counters, lines, control socket.

A service lives as long as its queue is bound: while it exists, packets wait for `FilterService.run`;
`FilterService.close` unbinds. What is left to say is said by `FilterService.finish`.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from time import time
from typing import NamedTuple, Protocol, Self

from nfinspect.actions import Action
from nfinspect.audit import json_lines, syslog
from nfinspect.audit.counters import Counters
from nfinspect.audit.suppression import LinesSuppressed, Suppression
from nfinspect.events import Event
from nfinspect.live import exempt_connections, iptables, misfits, obstacles, survey
from nfinspect.live.closed_file import ClosedFile, KeepingAudit
from nfinspect.live.control import DEFAULT_PATH, Answer, ControlServer
from nfinspect.live.event_file import EventFile
from nfinspect.live.injection import Injector
from nfinspect.live.intercept import Intercept
from nfinspect.live.lines import LineWriter
from nfinspect.live.log_format import LogFormat, message, of_reader, syslog_line
from nfinspect.live.notify import notify
from nfinspect.live.older import OlderConnections, open_connections
from nfinspect.live.overview import block, setting, surroundings
from nfinspect.live.queue import Queue, QueueError
from nfinspect.live.reload import Reload
from nfinspect.live.requests import CLEAR, CLEAR_POLICY, DRY_RUN, RELOAD, cleared
from nfinspect.live.status import Identity, Inspecting, Status
from nfinspect.live.tracking import CountedByKernel
from nfinspect.live.watch import Watch
from nfinspect.live.worker import DecisionAudit, PacketDecider, Worker
from nfinspect.policy import Configuration
from nfinspect.policy.model import Policy
from nfinspect.rules.counting import counts_uninspected
from nfinspect.rules.diversion import Diversion
from nfinspect.rules.interception import intercepts
from nfinspect.tcp.interception import Interceptions
from nfinspect.tcp.kernel_connection import Sighting

LAST_LINES_TIMEOUT = 2.0
"""Seconds for which a stopping filter waits for the reader of its stdout."""

LAST_MESSAGES_TIMEOUT = 1.0
"""The same for stderr."""


class LogRate(NamedTuple):
    """How many lines of one message may be written in how many seconds; 0 lines for any number."""

    number: int
    seconds: int


UNLIMITED = LogRate(0, 1)


class LiveEngine(PacketDecider, Inspecting, Protocol):
    """What a live filter needs from the engine."""

    @property
    def expected(self) -> int:
        """Older connections that count and have not been picked up."""

    def expect(self, keys: Collection[bytes], now: float) -> None:
        """Count these older connections."""

    def keep_expected(self, keys: Collection[bytes], now: float) -> None:
        """Count those no more that are not among these."""

    @property
    def passed(self) -> int:
        """Connections in the table that the kernel passes by itself."""

    def tell(self, sightings: Collection[Sighting], now: float) -> Sequence[Action]:
        """Connection tracking has told something of them."""

    def look(self, sightings: Collection[Sighting], since: float, now: float) -> Sequence[Action]:
        """All that it knows of them."""

    def forgotten(self) -> list[bytes]:
        """Handles of entries that it must forget."""

    @property
    def interceptions(self) -> Interceptions:
        """Whom TCP intercept protects."""

    def restore_closed(self, key: bytes, since: float, now: float) -> bool:
        """Keep a connection closed that an earlier run closed."""

    def closed_connections(self) -> Iterable[tuple[bytes, float]]:
        """Those to be kept closed, and since when."""

    def adopt(self, policy: Policy) -> None:
        """Follow another policy with new connections."""

    def clear_totals(self) -> None:
        """Count inspected packets anew."""

    def clear(self, now: float, address: bytes | None) -> Sequence[Action]:
        """End open connections, all or those of a host."""


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    queue_number: int = 0
    config: Path | None = None
    """The file that the policy came from; None for the default."""
    control: Path = DEFAULT_PATH
    """The control socket."""
    state: Path | None = None
    """The file of the connections that an earlier run closed and that this one closes."""
    fail_open: bool = False
    """Pass packets uninspected while the queue is full."""
    spin: float = 0.0
    """Seconds to look for the next packet without sleeping."""
    log_rate: LogRate = UNLIMITED
    only_watches: bool = False
    """Monitor mode: the engine lets every packet pass."""
    as_json: bool = False
    """Events as JSON lines, not as syslog."""
    json_file: Path | None = None
    """A file to which events are appended as JSON lines besides."""
    log_format: LogFormat | None = None
    """How syslog lines look; None: by whatever reads stdout."""
    diversion: Diversion | None = None
    """The rules that this filter has applied, and that it changes with the policy."""
    reread: Callable[[], Configuration] | None = None
    """Reads the configuration again; None if it is not from a file."""


class FilterService:
    """A bound queue and everything that decides and reports its packets."""

    def __init__(
        self, engine: LiveEngine, configuration: Configuration, options: ServiceOptions
    ) -> None:
        """Let *engine*, which follows *configuration*, decide the packets of the queue.

        Raises QueueError, ControlError or InjectionError with the reason; nothing is left behind.
        """
        self._engine = engine
        self._policy = configuration.policy
        self._options = options
        self._counters = Counters(only_watches=options.only_watches)
        # Stderr may be blocked as well as stdout, perhaps as it is the same pipe.
        self._message_format = options.log_format or of_reader(sys.stderr.fileno())
        self._messages = LineWriter(sys.stderr.fileno(), lambda _: None, "stderr")
        self._lines = LineWriter(sys.stdout.fileno(), self.report)
        self._drained = True
        self._last_words = ""
        self._stack = contextlib.ExitStack()
        self._stack.callback(self._messages.drain, LAST_MESSAGES_TIMEOUT)
        try:
            self._compose(configuration)
        except BaseException:
            self._stack.close()
            raise

    def _compose(self, configuration: Configuration) -> None:
        options, engine, stack = self._options, self._engine, self._stack
        if not obstacles.has_capability(obstacles.CAP_NET_ADMIN):  # checked first
            raise QueueError(obstacles.of_queue(options.queue_number))
        injector = Injector()
        stack.callback(injector.close)
        # The socket before the queue: its error names a filter that is already running.
        server = ControlServer(options.control, self._answer)
        stack.callback(server.close)
        queue = Queue(
            options.queue_number,
            fail_open=options.fail_open,
            spin=options.spin,
            only_watches=options.only_watches,
        )
        stack.callback(queue.close)
        audit: DecisionAudit = self._counters
        services = [injector.forget, server.serve]
        if options.state is not None:
            closed = ClosedFile(options.state, self.report)
            audit = KeepingAudit(self._counters, closed)
            closed.restore(engine.restore_closed)
            closed.keep(engine.closed_connections())
            stack.callback(closed.close)
            stack.callback(lambda: closed.keep(engine.closed_connections()))
            services.append(lambda: closed.maintain(engine.closed_connections))
        if options.json_file is not None:
            rate = Suppression(*options.log_rate, json_lines.kind_of)
            event_file = EventFile(options.json_file, audit, rate, json_line, self.report)
            audit = event_file
            services.append(event_file.maintain)
            stack.callback(event_file.close)
        applied = None if options.only_watches else options.diversion  # a trial changes no rules
        self._reload = Reload(
            options.reread,
            self.adopt,
            applied,
            self.report,
            now=configuration,
            queue=options.queue_number,
        )
        services.append(self._reload.serve)
        number_of = json_lines.kind_of if options.as_json else syslog.number
        suppression = Suppression(options.log_rate.number, options.log_rate.seconds, number_of)
        render, summary = self._renderers()
        self._worker = Worker(
            engine,
            queue,
            audit=audit,
            render=render,
            suppression=suppression,
            summary=summary,
            lines=self._lines,
            inject=injector.inject,
            report=self.report,
            services=services,
            only_watches=options.only_watches,
        )
        config = options.config
        self._status = Status(
            Identity(
                "the appliance's default map" if config is None else str(config),
                str(options.control),
                options.fail_open,
                options.only_watches,
            ),
            configuration,
            engine,
            self._counters,
            self._worker.packets,
            queue,
            self._lines,
            suppression,
        )
        counted = CountedByKernel(
            engine,
            self._worker.act,
            lambda: not options.only_watches and counts_uninspected(self._policy),
            self.report,
        )
        counted.begin()
        services.append(counted.serve)
        stack.callback(counted.close)
        older = OlderConnections(engine, lambda: open_connections(self._status.ports), self.report)
        if self._status.has_limits:
            older.begin()
            services.append(older.serve)
        if not options.only_watches:
            intercept = Intercept(
                engine.interceptions, lambda: intercepts(self._policy), self.report
            )
            intercept.begin()
            services.append(intercept.serve)
            stack.callback(intercept.close)
        self._watch = Watch(survey.take, self._status.state, self.report)
        services.append(self._watch.serve)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def report(self, text: str) -> None:
        """Print a message for the operator on stderr, without waiting for its reader."""
        self._messages.write(message(self._message_format, f"nfinspect: {text}"))
        self._messages.flush()

    def adopt(self, configuration: Configuration) -> None:
        """Let connections that begin from now on follow another configuration."""
        self._policy = configuration.policy
        self._engine.adopt(configuration.policy)
        self._status.adopt(configuration)

    def reload(self) -> None:
        """Read the configuration again; may be called by a signal handler."""
        self._reload.want()

    def _answer(self, words: list[str]) -> Answer | Future[Answer]:
        if words == [RELOAD]:
            return self._reload.ask()
        if words == [RELOAD, DRY_RUN]:
            return self._reload.foresee()
        if words == [CLEAR, *CLEAR_POLICY]:
            self._engine.clear_totals()
            self._counters.clear_service_policy()
            return Answer("counters of show service-policy cleared\n", None)
        if words[:1] == [CLEAR]:
            return self._clear(cleared(words[1:]))
        return self._status.answer(words)

    def _clear(self, address: bytes | None) -> Future[Answer]:
        engine = self._engine
        before, passed = engine.connections, engine.passed
        self._worker.act(lambda now: engine.clear(now, address))
        ended = before - engine.connections, passed - engine.passed
        future: Future[Answer] = Future()
        Thread(target=_clear_exempt, args=(ended, address, future), daemon=True).start()
        return future

    def _renderers(
        self,
    ) -> tuple[Callable[[Event], str | None], Callable[[LinesSuppressed], str]]:
        """What makes a line of an event, and of a sum of suppressed lines."""
        if self._options.as_json:
            return json_line, json_line
        line = syslog_line(self._options.log_format or of_reader(sys.stdout.fileno()))

        def render(event: Event) -> str | None:
            text = syslog.render(event)
            return None if text is None else line(text)

        return render, lambda suppressed: line(syslog.summary(suppressed))

    def begin(self) -> None:
        """Say that packets are filtered from now on, how, and what is not as it should be."""
        number = self._options.queue_number
        self._watch.begin()
        lines = setting(self._status.state()) + surroundings(self._watch.survey)
        ready = f"nfinspect ready, queues {number}-{number}\n"
        self._messages.write(message(self._message_format, (ready + block(lines)).strip("\n")))
        self._watch.tell()
        self._messages.flush()

    def run(self) -> None:
        """Decide packets until `stop`; then what is queued, and drop what is held.

        Raises QueueError if the queue fails.
        """
        notify("READY=1")
        try:
            self._worker.run()
        finally:
            notify("STOPPING=1")
            self._drained = self._lines.drain(LAST_LINES_TIMEOUT)
            if not self._drained:
                self._lines.finish(0)  # from here on the count is final
            if self._lines.lost:
                self.report(f"{self._lines.lost} lines were lost: stdout did not take them")
            self._last_words = self._count_up()

    def stop(self) -> None:
        """Let `run` end; may be called by a signal handler."""
        self._worker.stopping = True

    def close(self) -> None:
        """Unbind the queue and remove the control socket."""
        self._stack.close()

    def finish(self) -> None:
        """Print the counters on stdout, on stderr if that does not take them, and on stderr what it
        means that the rules stay."""
        if self._drained:
            self._lines.write(self._last_words)
        if not (self._drained and self._lines.finish(LAST_LINES_TIMEOUT)):
            self.report("stdout does not take the counters, which follow:\n" + self._last_words)
        stays = misfits.stays(self._watch.survey.families, self._options.queue_number)
        if self._options.only_watches:
            self.report("notice: monitor mode: all packets passed unchanged, none was filtered")
        if stays:
            self.report(f"notice: {stays}")
        self._messages.finish(LAST_MESSAGES_TIMEOUT)

    def _count_up(self) -> str:
        counts, queue = self._status.service_policy(), self._status.queue()
        if self._options.as_json:
            return json.dumps({"counters": counts.data, "queue": queue.data})
        return (counts.text + queue.text).removesuffix("\n")


def _clear_exempt(ended: tuple[int, int], address: bytes | None, future: Future[Answer]) -> None:
    """End those that the kernel passes, too, and answer; in a thread, as conntrack's table may be long.
    *ended* are the connections that the engine has ended, and how many of them the kernel passed."""
    count, passed = ended
    text = f"{count} connection{'s' * (count != 1)} ended\n"
    exempt, trouble = 0, ""
    for family in iptables.families():
        if address is None or len(address) == (4 if family.version == 4 else 16):
            try:
                exempt += exempt_connections.clear(family.version, address)
            except (OSError, ValueError) as error:
                trouble = str(error)
    exempt = max(0, exempt - passed)
    if exempt:
        text += f"{exempt} exempt connection{'s' * (exempt != 1)} ended\n"
    if trouble:
        text += f"exempt connections may be left: {trouble}\n"
    future.set_result(Answer(text, {"connections": count, "exempt": exempt}))


def json_line(event: Event | LinesSuppressed) -> str:
    """Return *event* as one line of JSON, with the current time."""
    return json.dumps(json_lines.to_json(event, time()))
