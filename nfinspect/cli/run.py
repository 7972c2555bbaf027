"""``nfinspect run``: the live filter, in the foreground."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import click

from nfinspect.cli.configuration import config_file_option, load, missing_interfaces, read_again
from nfinspect.cli.errors import Failure
from nfinspect.cli.queues import queue_options
from nfinspect.cli.rules import put_in_place
from nfinspect.live.closed_file import default_path
from nfinspect.live.control import DEFAULT_PATH, ControlError
from nfinspect.live.injection import InjectionError
from nfinspect.live.log_format import LogFormat
from nfinspect.live.queue import MAX_LENGTH, QueueError
from nfinspect.live.service import UNLIMITED, FilterService, LiveEngine, LogRate, ServiceOptions
from nfinspect.policy import Configuration
from nfinspect.rules.diversion import Diversion
from nfinspect.rules.of_policy import diversion_of, diverted_ports
from nfinspect.tcp.limits import Limits

MOST_CONNECTIONS = 10_000_000
SPIN = 30e-6
"""Seconds that `--spin` looks for the next packet. With one CPU the sender could not run
meanwhile."""


def _log_rate(context: click.Context, parameter: click.Parameter, value: str) -> LogRate:
    if value == "0":
        return UNLIMITED
    found = re.fullmatch(r"([1-9]\d{0,8})/([1-9]\d{0,8})", value, re.ASCII)
    if not found:
        raise click.BadParameter(
            f"'{value}' is neither NUMBER/SECONDS, both from 1, nor 0 for no limit"
        )
    return LogRate(int(found[1]), int(found[2]))


@click.command()
@config_file_option
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
    "--connections",
    type=click.IntRange(1, MOST_CONNECTIONS),
    default=Limits().connections,
    show_default=True,
    metavar="NUMBER",
    help="Connections at a time, open or kept closed; beyond it new ones are refused. Each may take 2 KB"
    " of memory, and more while its packets are held.",
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
@click.option(
    "--log-format",
    type=click.Choice(["auto", *(each.value for each in LogFormat)]),
    default="auto",
    show_default=True,
    help="Syslog lines plain, with the time, or with the <PRIORITY> that journald reads; auto: by"
    " whatever reads stdout (time for a terminal or a file, plain for a pipe).",
)
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines, not as syslog.")
@click.option(
    "--json-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Append events as JSON lines to FILE, whatever stdout gets.",
)
@click.option(
    "--monitor",
    is_flag=True,
    help="Only watch: log and count what the filter would do, and let every packet pass unchanged.",
)
def run(
    config: Path | None,
    devices: dict[str, str],
    queues: int,
    queue_num: int,
    control: Path,
    state: Path | None,
    apply_rules: bool,
    bridge: bool,
    fail_open: bool,
    spin: bool,
    connections: int,
    log_rate: LogRate,
    log_format: str,
    as_json: bool,
    json_file: Path | None,
    monitor: bool,
) -> None:
    """Filter the packets that the iptables rules divert, until SIGINT or SIGTERM.

    SIGHUP, like 'nfinspect reload', reads --config again, for new connections.

    Syslog lines go to stdout, followed by the counters at the end; all other messages go to stderr.
    The rules stay in place: while no filter runs, they let nothing pass (see 'nfinspect rules').
    """
    if bridge and not apply_rules:
        raise click.UsageError("--bridge needs --apply-rules.")
    if as_json and log_format != "auto":
        raise click.UsageError("--log-format is about syslog lines, which --json replaces.")
    from nfinspect.engine import Engine, EngineOptions
    from nfinspect.monitor import WATCHED, Monitor

    configuration = load(config, devices)
    policy = configuration.policy
    if missing := missing_interfaces(policy, (device for _, device in socket.if_nameindex())):
        click.echo(f"nfinspect: notice: {missing}", err=True)
    diversion = None
    if apply_rules and monitor:  # which translates and exempts nothing either
        diversion = Diversion(diverted_ports(policy), queue_num, queues, fail_open=True)
    elif apply_rules:
        diversion = diversion_of(policy, queue_num, queues, bridged=bridge)
    limits = Limits(connections=connections, held_packets_total=MAX_LENGTH // 4)
    if monitor:
        engine: Engine = Monitor(policy, EngineOptions(WATCHED, limits=limits), started=monotonic())
    else:
        engine = Engine(
            policy, EngineOptions(limits=limits, kernel_passes=True), started=monotonic()
        )
    options = ServiceOptions(
        queue_num,
        config,
        control,
        None if monitor else state or default_path(queue_num),  # it closes nothing
        fail_open=fail_open or monitor,
        spin=SPIN if spin and os.cpu_count() != 1 else 0.0,
        log_rate=log_rate,
        only_watches=monitor,
        as_json=as_json,
        json_file=json_file,
        log_format=None if log_format == "auto" else LogFormat(log_format),
        diversion=diversion,
        reread=None if config is None else lambda: read_again(config, devices),
    )
    filter_packets(
        engine,
        configuration,
        options,
        before_ready=lambda: put_in_place(diversion, bridge=bridge) if diversion else None,
    )


def filter_packets(
    engine: LiveEngine,
    configuration: Configuration,
    options: ServiceOptions,
    *,
    before_ready: Callable[[], None] = lambda: None,
) -> None:
    """Let *engine* decide the packets of the queue until a stop signal; then print the counters.

    *before_ready* is called once the queue is being read, so that rules it applies delay no packet.
    Raises Failure.
    """
    for each in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):  # they would kill it
        signal.signal(each, signal.SIG_IGN)
    try:
        with FilterService(engine, configuration, options) as service:
            for each in (signal.SIGINT, signal.SIGTERM):
                signal.signal(each, lambda *_: service.stop())
            signal.signal(signal.SIGHUP, lambda *_: service.reload())
            before_ready()
            service.begin()
            service.run()
    except (QueueError, ControlError, InjectionError) as error:
        raise Failure(str(error)) from error
    service.finish()
