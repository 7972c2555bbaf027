"""The state of the running filter: the control socket's answers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from nfinspect import __version__
from nfinspect.audit import connections, show
from nfinspect.audit.connections import Shown, Wanted
from nfinspect.audit.counters import Counters, Totals
from nfinspect.audit.suppression import Suppression
from nfinspect.live import queue_table, route
from nfinspect.live.control import Answer, UnanswerableError
from nfinspect.live.lines import LineWriter
from nfinspect.live.misfits import FilterState
from nfinspect.live.overview import activity, block, setting
from nfinspect.live.queue import Queue
from nfinspect.live.requests import (
    CLEAR,
    CONNECTIONS,
    DETAILS,
    LOCAL_HOSTS,
    QUEUE,
    RELOAD,
    SERVICE_POLICY,
    SET_CONNECTION,
    SHOW,
    STATUS,
    TRANSLATIONS,
    local_host,
    request,
    wanted,
)
from nfinspect.live.survey import namespace
from nfinspect.live.worker import Packets
from nfinspect.policy import Configuration
from nfinspect.policy.model import Inspection
from nfinspect.policy.questions import QuestionError, answer, is_question
from nfinspect.rules.counting import has_limits
from nfinspect.rules.queues import syn_queue
from nfinspect.tcp.interception import Interceptions


class Inspecting(Protocol):
    """What status needs from the engine."""

    @property
    def totals(self) -> Mapping[Inspection, Totals]:
        """The top lines of show service-policy."""

    @property
    def connections(self) -> int:
        """Connections in the table."""

    @property
    def open_connections(self) -> Sequence[Shown]:
        """Those of them that inspection has not closed."""

    @property
    def held(self) -> int:
        """Packets waiting for their verdict."""

    @property
    def interceptions(self) -> Interceptions:
        """Whom TCP intercept protects."""

    @property
    def intercepted(self) -> Mapping[str, int]:
        """What the filter itself has answered on a bridge."""

    @property
    def waits(self) -> tuple[int, int]:
        """Reported waits that still last: for a reply, and for the end of a line."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What `FilterState` says that does not change while the filter runs."""

    policy: str
    """The file it came from."""
    control: str
    fail_open: bool
    only_watches: bool = False


class Status:
    """Answers from the current state of the filter's parts."""

    def __init__(
        self,
        identity: Identity,
        configuration: Configuration,
        engine: Inspecting,
        counters: Counters,
        packets: Packets,
        queue: Queue,
        lines: LineWriter,
        suppression: Suppression,
    ) -> None:
        self._identity = identity
        self._configuration = configuration
        self._policy = configuration.policy
        self._namespace = namespace()
        self._started = monotonic()
        self._engine = engine
        self._counters = counters
        self._packets = packets
        self._queue = queue
        self._lines = lines
        self._suppression = suppression
        self._answers: dict[tuple[str, ...], Callable[[], Answer]] = {
            SERVICE_POLICY: self.service_policy,
            QUEUE: self.queue,
            SET_CONNECTION: lambda: self.set_connection(detailed=False),
            DETAILS: lambda: self.set_connection(detailed=True),
            TRANSLATIONS: self.translations,
        }

    def answer(self, words: list[str]) -> Answer:
        """Answer ``show WORDS``, ``status``, or a question about the configuration.

        Raises UnanswerableError for anything else.
        """
        if words == [STATUS]:
            state = self.state()
            return Answer(block(setting(state) + activity(state)), dataclasses.asdict(state))
        if is_question(words):
            try:
                found = answer(
                    self._configuration,
                    words,
                    in_use=self._engine.connections,
                    find=route.way,
                )
            except QuestionError as error:
                raise UnanswerableError(str(error)) from error
            return Answer(found.text, found.data)
        if words[:1] == [SHOW]:
            asked = request(words[1:])
            if asked[:1] == CONNECTIONS:
                return self.connections(wanted(asked[1:]))
            if asked[:1] == LOCAL_HOSTS:
                return self.local_hosts(local_host(asked[1:]))
            return self._answers[asked]()
        raise UnanswerableError(
            f"unknown command '{' '.join(words)}'; there are {SHOW}, {STATUS}, {RELOAD} and {CLEAR}"
        )

    def adopt(self, configuration: Configuration) -> None:
        """Show what belongs to another configuration from now on."""
        self._policy = configuration.policy
        self._configuration = configuration

    @property
    def ports(self) -> Collection[int]:
        """The servers' ports that the filter handles."""
        return self._policy.plans.keys()

    @property
    def has_limits(self) -> bool:
        """Whether anything is counted."""
        return has_limits(self._policy)

    def state(self) -> FilterState:
        """``status``: what the filter knows of itself."""
        policy, queue, now = self._policy, self._queue, monotonic()
        row, syns = queue_table.of_filter(queue.number)
        received = self._packets.seen + queue.unreadable
        return FilterState(
            version=__version__,
            process=os.getpid(),
            namespace=self._namespace,
            running=now - self._started,
            policy=self._identity.policy,
            inspections=[
                f"inspect esmtp {each.map.name}, class {each.class_map}"
                for each in policy.inspections
            ],
            ports={
                str(port): plan.inspection.map.name if plan.inspection else None
                for port, plan in sorted(policy.plans.items())
            },
            control=self._identity.control,
            queue=queue.number,
            fail_open=self._identity.fail_open,
            only_watches=self._identity.only_watches,
            received=received,
            latest=now - queue.now if received else None,
            waiting=(row.waiting if row else 0) + (syns.waiting if syns else 0),
            syns_lost=syns.lost if syns else 0,
            held=self._engine.held,
            connections=self._counters.in_use,
            uninspected=dict(self._counters.tallies["uninspected"]),
        )

    def service_policy(self) -> Answer:
        """``show service-policy inspect esmtp``."""
        totals = self._engine.totals
        text = show.service_policy(
            self._counters.inspections(self._policy, totals),
            only_watches=self._identity.only_watches,
        )
        return Answer(text, self._counters.to_json(self._policy, totals))

    def connections(self, asked: Wanted) -> Answer:
        """``show conn``."""
        counters, found = self._counters, self._engine.open_connections
        return Answer(
            *connections.connections(found, asked, monotonic(), counters.in_use, counters.most_used)
        )

    def local_hosts(self, address: bytes | None) -> Answer:
        """``show local-host``."""
        found, targets = self._engine.open_connections, self._engine.interceptions.targets()
        return Answer(*connections.local_hosts(found, address, monotonic(), targets))

    def translations(self) -> Answer:
        """``show xlate``."""
        return Answer(*connections.translations(self._policy))

    def set_connection(self, *, detailed: bool) -> Answer:
        """``show service-policy set connection``."""
        found, refused = self._engine.open_connections, self._counters.refused
        return Answer(
            *connections.set_connection(
                self._policy,
                found,
                refused,
                interceptions=self._engine.interceptions,
                detailed=detailed,
            )
        )

    def queue(self) -> Answer:
        """``show queue``."""
        state = self._queue_state()
        data = dataclasses.asdict(state)
        if state.only_watches:
            data["would_drop"] = data.pop("dropped")
        return Answer(show.queue(state), data)

    def _queue_state(self) -> show.QueueState:
        packets, queue = self._packets, self._queue
        row, syns = queue_table.of_filter(queue.number)
        tallies = self._counters.tallies
        replies_awaited, unended_lines = self._engine.waits
        dropped = {r.value: n for r, n in self._counters.dropped_packets.items()}
        verdicts = {
            "accepted": packets.accepted,
            "rewritten": packets.rewritten,
            "dropped": packets.dropped + queue.unreadable,
            "injected": packets.injected,
        }
        if self._identity.only_watches:
            verdicts["would rewrite"] = packets.would_rewrite
            verdicts["would drop"] = packets.would_drop
        # These should not happen, and are shown only if they did.
        if queue.unreadable:
            dropped["unreadable"] = queue.unreadable
        if packets.not_injected:
            verdicts["not injected"] = packets.not_injected
        if queue.refused_verdicts:
            verdicts["refused by the kernel"] = queue.refused_verdicts
        if packets.failures:
            verdicts["internal errors"] = packets.failures
        return show.QueueState(
            number=queue.number,
            only_watches=self._identity.only_watches,
            waiting=row.waiting if row else 0,
            held=self._engine.held,
            uninspected=dict(self._counters.tallies["uninspected"]),
            copy_range=row.copy_range if row else 0,
            replies_awaited=tallies["replies_awaited"][""],
            replies_awaited_now=replies_awaited,
            unended_lines=tallies["unended_lines"][""],
            unended_lines_now=unended_lines,
            kernel_dropped=row.queue_dropped if row else 0,
            user_dropped=row.user_dropped if row else 0,
            enobufs=queue.overflows,
            syn_queue=syn_queue(queue.number),
            syns_waiting=syns.waiting if syns else 0,
            syns_received=queue.syns,
            syns_lost=syns.lost if syns else 0,
            received=packets.seen + queue.unreadable,
            gso=packets.gso,
            waiting_lines=self._lines.waiting,
            lost_lines=self._lines.lost,
            suppressed_lines=self._suppression.suppressed,
            intercepted=self._engine.intercepted,
            verdicts=verdicts,
            dropped=dropped,
        )
