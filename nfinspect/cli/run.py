"""``nfinspect run``: the live filter, in the foreground."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic, time
from typing import NamedTuple, Protocol

import click

from nfinspect.audit import json_lines, syslog
from nfinspect.audit.counters import Counters
from nfinspect.audit.suppression import LinesSuppressed, Suppression
from nfinspect.cli.configuration import config_option, missing_interfaces
from nfinspect.cli.errors import Failure
from nfinspect.cli.queues import queue_options
from nfinspect.cli.rules import diversion_of, put_in_place
from nfinspect.events import Event
from nfinspect.live import obstacles
from nfinspect.live.closed_file import ClosedFile, KeepingAudit, default_path
from nfinspect.live.control import DEFAULT_PATH, ControlError, ControlServer
from nfinspect.live.injection import InjectionError, Injector
from nfinspect.live.lines import LineWriter
from nfinspect.live.notify import notify
from nfinspect.live.queue import MAX_LENGTH, Queue, QueueError
from nfinspect.live.status import Inspecting, Status
from nfinspect.live.worker import Audit, Filter, Worker
from nfinspect.policy import Configuration
from nfinspect.policy.model import Policy
from nfinspect.tcp.limits import Limits

LAST_LINES_TIMEOUT = 2.0
"""Seconds for which a stopping filter waits for the reader of its stdout."""

LAST_MESSAGES_TIMEOUT = 1.0
"""The same for stderr."""


SPIN = 30e-6
"""Seconds that `--spin` looks for the next packet. With one CPU the sender could not run
meanwhile."""


class LogRate(NamedTuple):
    """How many lines of one message may be written in how many seconds; 0 lines for any number."""

    number: int
    seconds: int


UNLIMITED = LogRate(0, 1)


def _log_rate(context: click.Context, parameter: click.Parameter, value: str) -> LogRate:
    if value == "0":
        return UNLIMITED
    found = re.fullmatch(r"([1-9]\d{0,8})/([1-9]\d{0,8})", value, re.ASCII)
    if not found:
        raise click.BadParameter(
            f"'{value}' is neither NUMBER/SECONDS, both from 1, nor 0 for no limit"
        )
    return LogRate(int(found[1]), int(found[2]))


class LiveEngine(Filter, Inspecting, Protocol):
    """What a live filter needs from the engine."""

    def restore_closed(self, key: bytes, since: float, now: float) -> bool:
        """Keep a connection closed that an earlier run closed."""

    def closed_connections(self) -> Iterable[tuple[bytes, float]]:
        """Those to be kept closed, and since when."""


@click.command()
@config_option
@queue_options
@click.option(
    "--control",
    type=click.Path(path_type=Path, readable=False),
    default=DEFAULT_PATH,
    show_default=True,
    metavar="PATH",
    help="The socket on which this filter answers 'nfinspect show'.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Where connections that inspection closed are kept across restarts.  [default: a file in"
    " /run/nfinspect for this network namespace and queue]",
)
@click.option(
    "--apply-rules",
    is_flag=True,
    help="First apply the iptables rules, like 'nfinspect rules --apply'. They stay afterwards.",
)
@click.option("--bridge", is_flag=True, help="With --apply-rules: include the rules for a bridge.")
@click.option(
    "--fail-open",
    is_flag=True,
    help="While the queue is full, let packets pass uninspected instead of dropping them.",
)
@click.option(
    "--spin",
    is_flag=True,
    help="Look for the next packet for 30 µs before sleeping: faster for single sessions, at the"
    " price of CPU time.",
)
@click.option(
    "--log-rate",
    default="1000/10",
    callback=_log_rate,
    show_default=True,
    metavar="NUMBER/SECONDS",
    help="Write at most so many lines in so many seconds, of each message that one packet can"
    " provoke; sum up the others. 0: no limit.",
)
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines, not as syslog.")
def run(
    configuration: Configuration,
    queues: int,
    queue_num: int,
    control: Path,
    state: Path | None,
    apply_rules: bool,
    bridge: bool,
    fail_open: bool,
    spin: bool,
    log_rate: LogRate,
    as_json: bool,
) -> None:
    """Filter the packets that the iptables rules divert, until SIGINT or SIGTERM.

    Syslog lines go to stdout, followed by the counters at the end; all other messages go to stderr.
    The rules stay in place: while no filter runs, they let nothing pass (see 'nfinspect rules').
    """
    if bridge and not apply_rules:
        raise click.UsageError("--bridge needs --apply-rules.")
    from nfinspect.engine import Engine, EngineOptions

    policy = configuration.policy
    devices = (device for _, device in socket.if_nameindex())
    if missing := missing_interfaces(policy, devices):
        click.echo(f"nfinspect: notice: {missing}", err=True)
    diversion = diversion_of(policy, queue_num, queues) if apply_rules else None
    limits = Limits(held_packets_total=MAX_LENGTH // 4)
    engine = Engine(policy, EngineOptions(limits=limits), started=monotonic())
    filter_packets(
        engine,
        policy,
        queue_num,
        control=control,
        state=state or default_path(queue_num),
        fail_open=fail_open,
        spin=SPIN if spin and os.cpu_count() != 1 else 0.0,
        log_rate=log_rate,
        as_json=as_json,
        configuration=configuration,
        before_ready=lambda: put_in_place(diversion, bridge=bridge) if diversion else None,
    )


def filter_packets(
    engine: LiveEngine,
    policy: Policy,
    queue_number: int,
    *,
    control: Path,
    state: Path | None = None,
    fail_open: bool = False,
    spin: float = 0.0,
    log_rate: LogRate = UNLIMITED,
    as_json: bool = False,
    configuration: Configuration | None = None,
    before_ready: Callable[[], None] = lambda: None,
) -> None:
    """Let *engine* decide the packets of the queue until a stop signal; then print the counters.

    *configuration* is what questions about it are answered from, *state* the file of the connections that an earlier run closed and that this one closes.
    *before_ready* is called once the queue is being read, so that rules it applies delay no packet.
    Raises Failure.
    """
    counters = Counters()
    number_of = json_lines.kind_of if as_json else syslog.number
    suppression = Suppression(log_rate.number, log_rate.seconds, number_of)
    # Stderr may be blocked as well, perhaps as it is the same pipe.
    messages = LineWriter(sys.stderr.fileno(), lambda _: None, "stderr")

    def report(text: str) -> None:
        messages.write(f"nfinspect: {text}")
        messages.flush()

    lines = LineWriter(sys.stdout.fileno(), report)
    with contextlib.ExitStack() as stack:
        stack.callback(messages.drain, LAST_MESSAGES_TIMEOUT)
        try:
            if not obstacles.has_capability(obstacles.CAP_NET_ADMIN):  # checked first
                raise QueueError(obstacles.of_queue(queue_number))
            injector = Injector()
            stack.callback(injector.close)
            # The socket before the queue: its error names a filter that is already running.
            status: Status
            server = ControlServer(control, lambda words: status.answer(words))
            stack.callback(server.close)
            queue = Queue(queue_number, fail_open=fail_open, spin=spin)
            stack.callback(queue.close)
            audit: Audit = counters
            services = [injector.forget, server.serve]
            if state is not None:
                closed = ClosedFile(state, report)
                audit = KeepingAudit(counters, closed)
                closed.restore(engine.restore_closed)
                closed.keep(engine.closed_connections())
                stack.callback(closed.close)
                stack.callback(lambda: closed.keep(engine.closed_connections()))
                services.append(lambda: closed.maintain(engine.closed_connections))
            worker = Worker(
                engine,
                queue,
                audit=audit,
                render=json_line if as_json else syslog.render,
                suppression=suppression,
                summary=json_line if as_json else syslog.summary,
                lines=lines,
                inject=injector.inject,
                report=report,
                services=services,
            )
            status = Status(
                policy,
                engine,
                counters,
                worker.packets,
                queue,
                lines,
                suppression,
                configuration,
            )
        except (QueueError, ControlError, InjectionError) as error:
            raise Failure(str(error)) from error

        def stop(_signal: int, _frame: object) -> None:
            worker.stopping = True

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, stop)
        before_ready()
        click.echo(f"nfinspect ready, queues {queue_number}-{queue_number}", err=True)
        notify("READY=1")
        try:
            worker.run()
        except QueueError as error:
            raise Failure(str(error)) from error
        finally:
            notify("STOPPING=1")
            drained = lines.drain(LAST_LINES_TIMEOUT)
            if not drained:
                lines.finish(0)  # from here on the count is final
            if lines.lost:
                report(f"{lines.lost} lines were lost: stdout did not take them")
            answers = status.service_policy(), status.queue()
    if as_json:
        counts, queue_state = (answer.data for answer in answers)
        last_words = json.dumps({"counters": counts, "queue": queue_state})
    else:
        last_words = "".join(answer.text for answer in answers).removesuffix("\n")
    if drained:
        lines.write(last_words)
    if not (drained and lines.finish(LAST_LINES_TIMEOUT)):
        report("stdout does not take the counters, which follow:\n" + last_words)
    messages.finish(LAST_MESSAGES_TIMEOUT)


def json_line(event: Event | LinesSuppressed) -> str:
    """Return *event* as one line of JSON, with the current time."""
    return json.dumps(json_lines.to_json(event, time()))
