"""``nfinspect replay CAPTURE…``: what the filter would have done to recorded traffic."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace as with_changes
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from nfinspect.cli.configuration import config_option
from nfinspect.cli.errors import FINDINGS, UsageFailure
from nfinspect.cli.replay_text import print_ended, print_result
from nfinspect.engine import AS_LIVE, RECORDED, Engine, EngineOptions
from nfinspect.monitor import Monitor
from nfinspect.policy import Configuration
from nfinspect.policy.model import ClassPolicy, Match, Policy
from nfinspect.policy.ranges import Ranges
from nfinspect.replay.capture import Capture, NotACaptureError
from nfinspect.replay.checksums import ChecksumUse
from nfinspect.replay.driver import Replay
from nfinspect.replay.findings import KINDS
from nfinspect.replay.order import Source
from nfinspect.replay.output import CaptureWriter
from nfinspect.replay.pipe import Pipe
from nfinspect.replay.records import ConnectionRecord
from nfinspect.replay.redact import Redactor
from nfinspect.replay.selection import End, Selection

DASH = Path("-")
"""Stdin, or stdout."""
LONG = 8 * 1024 * 1024
"""Bytes of captures from which on a progress bar is shown."""

OPTIONS = EngineOptions(RECORDED, transcript=True)
LIVE_RULES = EngineOptions(AS_LIVE, transcript=True)
WATCHING = EngineOptions(with_changes(RECORDED, only_watches=True), transcript=True)

EVERY = 0
"""The number of no connection: all of them."""


class _ReplayCommand(click.Command):
    """A command whose option ``--dialogue`` may be followed by a number."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give a ``--dialogue`` that no number follows its value, or it would take a CAPTURE."""
        words: list[str] = []
        for position, word in enumerate(args):
            words.append(word)
            following = args[position + 1 : position + 2]
            if word == "--dialogue" and not (following and following[0].isdecimal()):
                words.append(str(EVERY))
        return super().parse_args(ctx, words)


def _ends(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[End, ...]:
    found = []
    for value in values:
        try:
            found.append(End.parse(value))
        except ValueError as error:
            message = f"'{value}' is no address, network or [ADDRESS]:PORT"
            raise click.BadParameter(message) from error
    return tuple(found)


def _end_option(name: str, whose: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        f"--{name}",
        f"{name}s",
        multiple=True,
        callback=_ends,
        metavar="ADDRESS",
        help=f"Report only on connections of this {whose}: ADDRESS, ADDRESS/BITS, [ADDRESS]:PORT,"
        " or :PORT. May be repeated.",
    )


@click.command(cls=_ReplayCommand)
@click.argument(
    "captures",
    metavar="CAPTURE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
)
@config_option
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path),
    help="Write what leaves the filter to a capture; with - for stdout, the text goes to stderr.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--dialogue",
    type=click.IntRange(min=0),
    metavar="[N]",
    help="Show the lines of connection N, or of every connection reported on, as its two ends saw"
    " them.",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(KINDS),
    help="Report only on connections with a finding of this kind. May be repeated.",
)
@_end_option("client", "client")
@_end_option("server", "server")
@click.option(
    "--inspect-port",
    "more_ports",
    multiple=True,
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Inspect this port of servers, too. May be repeated.",
)
@click.option(
    "--redact",
    is_flag=True,
    help="Replace mail and IP addresses, names, subjects and mail text by pseudonyms of the same"
    " length, also in the capture that --out writes; keyed anew in each run.",
)
@click.option(
    "--checksums",
    type=click.Choice([use.value for use in ChecksumUse]),
    default=ChecksumUse.AUTO.value,
    help="What a wrong checksum means: auto, damage, unless all of its sender's are wrong; verify,"
    " always damage, except for what checksum offload leaves; ignore, nothing.",
)
@click.option(
    "--monitor",
    is_flag=True,
    help="As 'run --monitor': every packet passes unchanged, and where the filter would have closed"
    " a connection, it goes on uninspected.",
)
@click.option(
    "--as-live",
    is_flag=True,
    help="By the rules for live traffic: nothing is believed of a capture's kind, so nothing goes on"
    " uninspected, and nothing sent early is released; packets larger than 1,500 bytes are cut first.",
)
@click.option(
    "--separate",
    is_flag=True,
    help="Judge each capture by itself, with a report for each; with --json, print an array.",
)
def replay(
    captures: tuple[Path, ...],
    configuration: Configuration,
    out: Path | None,
    as_json: bool,
    dialogue: int | None,
    only: tuple[str, ...],
    clients: tuple[End, ...],
    servers: tuple[End, ...],
    more_ports: tuple[int, ...],
    redact: bool,
    checksums: str,
    separate: bool,
    monitor: bool,
    as_live: bool,
) -> int:
    """Run captures through the filter, and report what it does to them.

    A CAPTURE is a pcap or pcapng file, plain or gzip, or - for stdin. Several captures are replayed
    as one, by the times of their packets. Does not need root.

    The report begins with what was closed and why. From a pipe, as in 'tcpdump -U -w - tcp port 25
    | nfinspect replay -', connections are listed as they end, and Ctrl-C ends the capture.

    The exit status is 0, or 1 if a capture could not be read to its end.
    """
    to_stdout = out == DASH
    if to_stdout and as_json:
        raise click.UsageError("--json and --out - cannot both write to stdout.")
    if to_stdout and sys.stdout.isatty():
        raise click.UsageError("--out -: refusing to write a capture to a terminal.")
    if separate and out is not None:
        raise click.UsageError("--separate and --out: there would be one output for each capture.")
    if dialogue is not None and as_json:
        raise click.UsageError("--dialogue and --json: the dialogue is text.")
    if redact and (clients or servers):
        raise click.UsageError(
            "--redact and --client or --server: the report has pseudonyms; select by --only or"
            " --dialogue N."
        )
    if as_live and monitor:
        raise click.UsageError("--as-live and --monitor: a trial lets every packet pass.")
    redactor = Redactor() if redact else None
    policy = _inspecting(configuration.policy, more_ports)
    selection = Selection(dialogue or None, only, clients, servers)
    for path in captures:
        _refuse_unless_capture(path, out)
    piped = DASH in captures and not os.isatty(0) and not Path("/dev/stdin").is_file()
    groups = [(path,) for path in captures] if separate else [captures]
    status = 0
    for position, group in enumerate(groups):
        with ExitStack() as stack:
            writer = stack.enter_context(_writer(out)) if out is not None else None
            if monitor:
                engine: Engine = Monitor(policy, WATCHING, started=0.0)
            else:
                engine = Engine(policy, LIVE_RULES if as_live else OPTIONS, started=0.0)
            tells = piped and not as_json
            run = Replay(
                policy,
                engine,
                writer,
                ChecksumUse(checksums),
                as_live=as_live,
                only_watches=monitor,
                redactor=redactor,
                pictured=partial(_pictured, dialogue) if dialogue is not None else None,
                ended=partial(_tell_end, selection, to_stdout) if tells else None,
            )
            run.result.selection = selection
            stack.callback(run.result.close)
            _feed(run, group)
            result = run.finish()
            if writer is not None:
                writer.close()
            if as_json:
                if separate:
                    sys.stdout.write(",\n" if position else "[")
                result.write_json(sys.stdout)
            else:
                if position:
                    click.echo()
                print_result(result, stderr=to_stdout, dialogue=dialogue is not None)
            status = max(status, _tell_faults(result.summary))
    if as_json and separate:
        sys.stdout.write("]\n")
    return status


def _inspecting(policy: Policy, more_ports: tuple[int, ...]) -> Policy:
    """*policy*, with connections to further ports inspected as its first inspected port: by another
    class, behind those that there are."""
    plans = [plan for _, plan in sorted(policy.plans.items()) if plan.inspection is not None]
    if not more_ports:
        return policy
    if not plans:
        raise UsageFailure("--inspect-port: the policy inspects no port")
    as_before = plans[0].inspection
    match = Match(Ranges.of((port, port) for port in more_ports))
    return with_changes(
        policy,
        plans=policy.plans | dict.fromkeys(more_ports, plans[0]),
        service_policies=tuple(
            with_changes(
                applied,
                classes=applied.classes
                + tuple(
                    ClassPolicy(each.name, match, as_before)
                    for each in applied.classes
                    if each.inspection is as_before
                )[:1],
            )
            for applied in policy.service_policies
        ),
    )


def _pictured(dialogue: int, number: int) -> bool:
    return dialogue in (EVERY, number)


def _tell_end(selection: Selection, stderr: bool, record: ConnectionRecord) -> None:
    """Report a connection of a capture that is still being made."""
    ended = record.facts()
    if selection.admits(ended):
        print_ended(ended, stderr=stderr)


def _feed(run: Replay, captures: tuple[Path, ...]) -> None:
    """Replay captures together. Pipes can be read only once, so with one among several captures
    they are replayed in the given order."""
    with _progress(captures) as advance:
        packets = 0
        if len(captures) > 1 and all(path != DASH and path.is_file() for path in captures):
            sources = []
            for path in captures:
                source, packets = _surveyed(path, packets)
                sources.append(source)
            run.feed_merged(sources, partial(_advance, advance, sources))
            return
        done = 0
        for path in captures:
            with _opened(path, packets) as capture:
                run.feed(capture, partial(_advance_one, advance, done, capture))
                packets = capture.packets
            done += path.stat().st_size if path.is_file() else 0


Advance = Callable[[int, int], None]
"""To be called with the bytes and packets read so far."""


def _advance_one(advance: Advance, done: int, capture: Capture) -> None:
    advance(done + (capture.position or 0), capture.packets)


def _advance(advance: Advance, sources: list[Source]) -> None:
    captures = [source.capture for source in sources if source.capture is not None]
    packets = sum(capture.packets - capture.before for capture in captures)
    advance(sum(source.position for source in sources), packets)


def _surveyed(path: Path, packets_before: int) -> tuple[Source, int]:
    """A capture and the number of its last packet. All packets are counted, as those of the next
    capture are numbered from there."""
    first = 0
    with _opened(path, packets_before) as capture:
        for frame in capture:
            first = first or frame.time
        packets = capture.packets
    return Source(first, path.stat().st_size, partial(_opened, path, packets_before)), packets


def _writer(out: Path) -> CaptureWriter:
    if out == DASH:
        return CaptureWriter(Path("stdout"), open(1, "wb", closefd=False))
    return CaptureWriter(out)


@contextmanager
def _opened(path: Path, packets_before: int) -> Iterator[Capture]:
    """Open a capture. Raises UsageFailure if it is not one."""
    with ExitStack() as stack:
        if path == DASH:
            try:
                file = stack.enter_context(open(0, "rb", buffering=0, closefd=False))
            except OSError as error:
                raise UsageFailure(f"stdin: {error.strerror}") from error
            awaited = stack.enter_context(_interruptible(Pipe(0)))
        else:
            file, awaited = stack.enter_context(path.open("rb", buffering=0)), None
        try:
            yield Capture(file, "stdin" if path == DASH else str(path), packets_before, awaited)
        except NotACaptureError as error:
            raise UsageFailure(f"{path}: {error}") from error


@contextmanager
def _interruptible(pipe: Pipe) -> Iterator[Pipe]:
    """Let the first SIGINT end the capture, so that its report is printed; the second one ends the
    command."""

    def stop(_signal: int, _frame: object) -> None:
        pipe.stop()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield pipe
    finally:
        signal.signal(signal.SIGINT, before)


def _refuse_unless_capture(path: Path, out: Path | None) -> None:
    """Check a file before any work is done."""
    if path == DASH or not path.is_file():
        return  # a pipe can be read only once
    if out is not None and out.exists() and out.samefile(path):
        raise UsageFailure(f"{out}: --out must not be one of the captures to read")
    with _opened(path, 0):
        pass


@contextmanager
def _progress(captures: tuple[Path, ...]) -> Iterator[Advance]:
    """A progress bar for long captures, if stderr is a terminal."""
    size = sum(path.stat().st_size if path.is_file() else 0 for path in captures)
    if size < LONG or not sys.stderr.isatty():
        yield lambda completed, packets: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[packets]:,} packets"),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("replay", total=size, packets=0)

        def advance(completed: int, packets: int) -> None:
            progress.update(task, completed=completed, packets=packets)

        yield advance


def _tell_faults(summary: dict[str, Any]) -> int:
    faults = [capture["damage"] for capture in summary["captures"] if capture["damage"]]
    for fault in faults:
        click.echo(f"nfinspect: error: {fault}", err=True)
    return FINDINGS if faults else 0
