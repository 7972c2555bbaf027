"""``nfinspect lab replay``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfinspect.cli.configuration import CONFIG_HELP, load
from nfinspect.cli.errors import FINDINGS, Failure, UsageFailure
from nfinspect.cli.lab.options import bridge_option

if TYPE_CHECKING:
    from nfinspect.replay.comparison import Difference
    from nfinspect.replay.playing import PlayOutcome, Setting

MOST_SHOWN = 20
"""Differences shown as text."""
MOST_LINES = 12
"""Lines shown of a difference."""
MOST_ADDRESSES = 10


def _two_names(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[str, str] | None:
    if text is None:
        return None
    client, comma, server = text.partition(",")
    if not (client and comma and server) or "," in server:
        raise click.BadParameter(f"'{text}' is not CLIENT,SERVER: two interfaces, as eth1,eth2")
    return client, server


def _two_macs(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[bytes, bytes] | None:
    if text is None:
        return None
    macs = text.split(",")
    if len(macs) != 2 or not all(
        re.fullmatch(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}", m) for m in macs
    ):
        raise click.BadParameter(f"'{text}' is not MAC,MAC: two addresses, as 02:00:00:00:01:01")
    one, other = (bytes.fromhex(mac.replace(":", "")) for mac in macs)
    return one, other


@click.command(short_help="Play captures through a live filter, and compare it with their replay.")
@click.argument(
    "captures",
    metavar="CAPTURE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@bridge_option
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=CONFIG_HELP,
)
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    metavar="X",
    help="Play with the captures' pauses, X times as fast.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    metavar="PACKETS",
    help="Play so many packets a second.",
)
@click.option("--top-speed", is_flag=True, help="Play as fast as tcpreplay can send.")
@click.option(
    "--find-speed",
    is_flag=True,
    help="Search the highest rate at which no packet is lost, and compare at that.",
)
@click.option(
    "--times",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Play the captures N times, side by side, each between hosts of its own.",
)
@click.option(
    "--captures",
    "keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Save there what passed both sides of the filter, and its events.",
)
@click.option(
    "--interfaces",
    metavar="CLIENT,SERVER",
    callback=_two_names,
    help="Without a lab: play by these two network cards, through a filter on another machine.",
)
@click.option(
    "--gateways",
    metavar="MAC,MAC",
    callback=_two_macs,
    help="With --interfaces, of a filter that routes: its link-layer addresses towards either side.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay(
    captures: tuple[Path, ...],
    bridge: bool,
    config: Path | None,
    speed: float | None,
    rate: float | None,
    top_speed: bool,
    find_speed: bool,
    times: int,
    keep: Path | None,
    interfaces: tuple[str, str] | None,
    gateways: tuple[bytes, bytes] | None,
    as_json: bool,
) -> int:
    """Play captures through a live filter, and compare what it does with 'replay --as-live'.

    A lab is built, and both sides' packets are sent by tcpreplay; what comes out on either side, and
    the events, must be what replay says, byte for byte. Several captures are played one after
    another. Without --speed, --rate or --top-speed, each packet is sent when the one before
    it is decided.

    With --interfaces the filter runs elsewhere, with the same --config and without other traffic; its
    events are not compared.

    The exit status is 0 without a difference, 1 with one or if a capture could not be read to its
    end, 2 for one that cannot be played.
    """
    from nfinspect.lab.lab import orderly_end
    from nfinspect.lab.player import PROGRAMS
    from nfinspect.lab.topology import require_programs, require_root
    from nfinspect.replay.capture import NotACaptureError
    from nfinspect.replay.pace import Pace, PaceKind
    from nfinspect.replay.playable import CannotPlayError
    from nfinspect.replay.playing import Setting
    from nfinspect.replay.through_wires import through_wires

    paces = (
        ("--speed", speed, PaceKind.CAPTURE),
        ("--rate", rate, PaceKind.RATE),
        ("--top-speed", top_speed or None, PaceKind.NOTHING),
        ("--find-speed", find_speed or None, PaceKind.NOTHING),
    )
    given = [each for each in paces if each[1] is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(name for name, *_ in given)} exclude each other.")
    if interfaces is None and gateways is not None:
        raise click.UsageError("--gateways needs --interfaces.")
    if interfaces is not None and bridge is (gateways is not None):
        raise click.UsageError("--interfaces needs either --bridge or --gateways.")
    if interfaces is not None and find_speed:
        raise click.UsageError("--find-speed and --interfaces: losses are counted on the filter.")
    pace = Pace()
    for _, value, kind in given:
        pace = Pace(kind, float(value or 1))
    setting = Setting(load(config, {}).policy, config, bridge, pace, times, keep)
    require_root()
    if interfaces is None:
        require_programs(*PROGRAMS, *(["nft"] if bridge else []))
    try:
        if interfaces is not None:
            with orderly_end():
                outcome = through_wires(captures, setting, interfaces, gateways)
        else:
            outcome = _played(captures, setting, find_speed=find_speed, quiet=as_json)
    except (CannotPlayError, NotACaptureError) as error:
        where = captures[0] if len(captures) == 1 else "captures"
        raise UsageFailure(f"{where}: {error}") from error
    if as_json:
        click.echo(json.dumps(outcome.to_json(), indent=2))
    else:
        _show(outcome, setting)
    return FINDINGS if outcome.differences or outcome.damaged else 0


def _played(
    captures: tuple[Path, ...], setting: Setting, *, find_speed: bool, quiet: bool
) -> PlayOutcome:
    from nfinspect.lab.lab import orderly_end
    from nfinspect.replay import top_speed
    from nfinspect.replay.through_lab import through_lab

    def tell(outcome: PlayOutcome) -> None:
        if not quiet:
            click.echo(f"{_rate(outcome)}: {_losses(outcome)}")

    with orderly_end():
        if not find_speed:
            return through_lab(captures, setting)
        found = top_speed.find(captures, setting, tell)
    if found is None:
        raise Failure("packets were lost at every rate that was tried; is the machine busy?")
    return found


def _show(outcome: PlayOutcome, setting: Setting) -> None:
    for line in _lines(outcome, setting):
        click.echo(line)
    if outcome.made_by_time:
        click.echo(f"\nmade by time alone ({_count(len(outcome.made_by_time), 'difference')}):")
        _show_differences(outcome.made_by_time)
    if outcome.differences:
        click.echo(f"\n{_count(len(outcome.differences), 'difference')} to replay --as-live:")
        _show_differences(outcome.differences)
    else:
        click.echo("\nno difference to replay --as-live")


def _lines(outcome: PlayOutcome, setting: Setting) -> list[str]:
    how = "bridged" if outcome.bridge else "routed"
    lines = [
        f"played    {_count(outcome.packets, 'packet')} ({how}), {_rate(outcome)}",
        f"came out  {outcome.to_server:,} to the server, {outcome.to_client:,} to the client;"
        f" {'events unknown' if outcome.events is None else _count(outcome.events, 'event')}",
    ]
    if outcome.lost or (outcome.events is not None and setting.pace.kind.name != "DECIDED"):
        lines.append(f"queue     {_losses(outcome)}")
    for why, count in outcome.left_out.items():
        lines.append(f"left out  {_count(count, 'packet')}: {why}")
    lines += [f"unusable  {line}" for line in outcome.incomplete]
    replaced = list(outcome.replaced.items())
    for old, new in replaced[:MOST_ADDRESSES]:
        lines.append(f"replaced  {old} by {new}")
    if len(replaced) > MOST_ADDRESSES:
        lines.append(f"          … and {len(replaced) - MOST_ADDRESSES:,} more addresses")
    if outcome.undecided:
        numbers = ", ".join(map(str, outcome.undecided))
        lines.append(f"late      not decided in time, up to packet {numbers}")
    return lines


def _rate(outcome: PlayOutcome) -> str:
    return f"{outcome.packets_per_second:,.0f} packets/s"


def _losses(outcome: PlayOutcome) -> str:
    if not outcome.lost:
        return "no packet lost"
    return (
        f"{_count(outcome.lost, 'packet')} lost"
        f" ({outcome.full:,} as it was full, {outcome.unread:,} as they were not read in time)"
    )


def _show_differences(differences: list[Difference]) -> None:
    for each in differences[:MOST_SHOWN]:
        places = ", ".join(map(str, each.packets[:10])) + ", …" * (len(each.packets) > 10)
        head = " ".join(filter(None, (each.what, places, each.side)))
        click.echo(f"  {head}")
        lines = each.text.splitlines()
        for line in lines[:MOST_LINES]:
            click.echo(f"    {line}")
        if len(lines) > MOST_LINES:
            click.echo(f"    … {len(lines) - MOST_LINES:,} more lines")
    if len(differences) > MOST_SHOWN:
        click.echo(f"  … and {len(differences) - MOST_SHOWN:,} more")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
