"""``nfinspect run``: the live filter, in the foreground."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, time
from typing import Protocol

import click

from nfinspect.audit import json_lines, syslog
from nfinspect.audit.counters import Counters
from nfinspect.cli.configuration import config_option
from nfinspect.cli.errors import Failure
from nfinspect.cli.queues import queue_options
from nfinspect.cli.rules import diverted_ports, put_in_place
from nfinspect.events import Event
from nfinspect.live import obstacles
from nfinspect.live.control import DEFAULT_PATH, ControlError, ControlServer
from nfinspect.live.injection import InjectionError, Injector
from nfinspect.live.lines import LineWriter
from nfinspect.live.notify import notify
from nfinspect.live.queue import MAX_LENGTH, Queue, QueueError
from nfinspect.live.status import Inspecting, Status
from nfinspect.live.worker import Filter, Worker
from nfinspect.policy import Configuration
from nfinspect.policy.model import Policy
from nfinspect.rules.diversion import Diversion

LAST_LINES_TIMEOUT = 2.0
"""Seconds that a stopping filter waits for the reader of its stdout."""


class LiveEngine(Filter, Inspecting, Protocol):
    """What a live filter needs of the engine."""


@click.command()
@config_option
@queue_options
@click.option(
    "--control",
    type=click.Path(path_type=Path, readable=False),
    default=DEFAULT_PATH,
    show_default=True,
    metavar="PATH",
    help="The socket on which 'nfinspect show' asks this filter.",
)
@click.option(
    "--apply-rules",
    is_flag=True,
    help="Put the iptables rules in place first, as 'nfinspect rules --apply' does. They stay.",
)
@click.option("--bridge", is_flag=True, help="With --apply-rules: those for a filter that bridges.")
@click.option(
    "--fail-open",
    is_flag=True,
    help="Let packets pass uninspected when the queue is full. Without it they are dropped.",
)
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines, not syslog.")
def run(
    configuration: Configuration,
    queues: int,
    queue_num: int,
    control: Path,
    apply_rules: bool,
    bridge: bool,
    fail_open: bool,
    as_json: bool,
) -> None:
    """Filter what the iptables rules divert, until SIGINT or SIGTERM.

    Syslog lines go to stdout, and at the end the counters; everything else goes to stderr. The
    rules stay: while no filter runs, they let nothing pass (see 'nfinspect rules').
    """
    if bridge and not apply_rules:
        raise click.UsageError("--bridge is for --apply-rules; 'nfinspect rules' has it too.")
    from nfinspect.engine import Engine, EngineOptions
    from nfinspect.tcp.limits import Limits

    policy = configuration.policy
    diversion = Diversion(diverted_ports(policy), queue_num, queues) if apply_rules else None
    limits = Limits(held_packets_total=MAX_LENGTH // 4)
    engine = Engine(policy, EngineOptions(limits=limits), started=monotonic())
    filter_packets(
        engine,
        policy,
        queue_num,
        control=control,
        fail_open=fail_open,
        as_json=as_json,
        before_ready=lambda: put_in_place(diversion, bridge=bridge) if diversion else None,
    )


def filter_packets(
    engine: LiveEngine,
    policy: Policy,
    queue_number: int,
    *,
    control: Path,
    fail_open: bool = False,
    as_json: bool = False,
    before_ready: Callable[[], None] = lambda: None,
) -> None:
    """Let *engine* decide what comes to the queue, until a signal says stop; then print the counts.

    *before_ready* is called when packets are taken already, so that rules it applies hold nothing
    up. Raises Failure.
    """
    counters = Counters()
    lines = LineWriter(sys.stdout.fileno(), report)
    with contextlib.ExitStack() as stack:
        try:
            if not obstacles.has_capability(obstacles.CAP_NET_ADMIN):  # which is wanted for most
                raise QueueError(obstacles.of_queue(queue_number))
            injector = Injector()
            stack.callback(injector.close)
            services: list[Callable[[], None]] = [injector.forget]
            worker = Worker(
                engine,
                audit=counters,
                render=json_line if as_json else syslog.render,
                lines=lines,
                inject=injector.inject,
                report=report,
                services=services,
            )
            # The socket first: it tells who runs already.
            status: Status
            server = ControlServer(control, lambda words: status.answer(words))
            stack.callback(server.close)
            services.append(server.serve)
            queue = Queue(queue_number, worker.handle, fail_open=fail_open)
            stack.callback(queue.close)
            status = Status(policy, engine, counters, worker.packets, queue)
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
            worker.run(queue)
        except QueueError as error:
            raise Failure(str(error)) from error
        finally:
            notify("STOPPING=1")
            answers = status.service_policy(), status.queue()
    if not lines.finish(LAST_LINES_TIMEOUT):
        report(f"stdout takes no more: lines are lost, {lines.lost} at least")
    elif as_json:
        counts, queue_state = (answer.data for answer in answers)
        click.echo(json.dumps({"counters": counts, "queue": queue_state}))
    else:
        for answer in answers:
            click.echo(answer.text, nl=False)


def report(text: str) -> None:
    """Tell the person who runs the filter."""
    with contextlib.suppress(OSError):  # who closed stderr does not want to know
        click.echo(f"nfinspect: {text}", err=True)


def json_line(event: Event) -> str:
    """Return *event*, which happens now, as one line of JSON."""
    return json.dumps(json_lines.to_json(event, time()))
