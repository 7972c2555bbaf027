"""``nfinspect run``: the live filter, in the foreground."""

from __future__ import annotations

import contextlib
import json
import os
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
"""Seconds for which a stopping filter waits for the reader of its stdout."""


SPIN = 30e-6
"""Seconds that `--spin` looks for the next packet. With one CPU the sender could not run
meanwhile."""


class LiveEngine(Filter, Inspecting, Protocol):
    """What a live filter needs from the engine."""


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
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines, not as syslog.")
def run(
    configuration: Configuration,
    queues: int,
    queue_num: int,
    control: Path,
    apply_rules: bool,
    bridge: bool,
    fail_open: bool,
    spin: bool,
    as_json: bool,
) -> None:
    """Filter the packets that the iptables rules divert, until SIGINT or SIGTERM.

    Syslog lines go to stdout, followed by the counters at the end; all other messages go to stderr.
    The rules stay in place: while no filter runs, they let nothing pass (see 'nfinspect rules').
    """
    if bridge and not apply_rules:
        raise click.UsageError("--bridge needs --apply-rules.")
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
        spin=SPIN if spin and os.cpu_count() != 1 else 0.0,
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
    spin: float = 0.0,
    as_json: bool = False,
    before_ready: Callable[[], None] = lambda: None,
) -> None:
    """Let *engine* decide the packets of the queue until a stop signal; then print the counters.

    *before_ready* is called once the queue is being read, so that rules it applies delay no packet.
    Raises Failure.
    """
    counters = Counters()
    lines = LineWriter(sys.stdout.fileno(), report)
    with contextlib.ExitStack() as stack:
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
            worker = Worker(
                engine,
                queue,
                audit=counters,
                render=json_line if as_json else syslog.render,
                lines=lines,
                inject=injector.inject,
                report=report,
                services=[injector.forget, server.serve],
            )
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
            worker.run()
        except QueueError as error:
            raise Failure(str(error)) from error
        finally:
            notify("STOPPING=1")
            answers = status.service_policy(), status.queue()
    if not lines.finish(LAST_LINES_TIMEOUT):
        report(f"stdout is blocked: at least {lines.lost} lines are lost")
    elif as_json:
        counts, queue_state = (answer.data for answer in answers)
        click.echo(json.dumps({"counters": counts, "queue": queue_state}))
    else:
        for answer in answers:
            click.echo(answer.text, nl=False)


def report(text: str) -> None:
    """Print a message for the operator."""
    with contextlib.suppress(OSError):  # stderr is closed
        click.echo(f"nfinspect: {text}", err=True)


def json_line(event: Event) -> str:
    """Return *event* as one line of JSON, with the current time."""
    return json.dumps(json_lines.to_json(event, time()))
