"""``nfinspect packet-tracer``: what happens to one connection, and why."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nfinspect.cli.configuration import interface_option
from nfinspect.cli.questions import ask_filter_or_file, control_option, file_option


@click.command(name="packet-tracer")
@click.argument(
    "words",
    nargs=-1,
    required=True,
    metavar="input INTERFACE tcp SOURCE PORT DESTINATION PORT [detailed]",
)
@file_option
@interface_option()
@control_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def packet_tracer(
    words: tuple[str, ...],
    file: Path | None,
    devices: dict[str, str],
    control: Path,
    as_json: bool,
) -> None:
    """Follow the SYN of a connection through the configuration, as the appliance's command does.

    With --config the file answers, and otherwise the running filter. Addresses are those that the SYN
    has as it arrives, ahead of any translation. No packet is sent.
    """
    reply = ask_filter_or_file(["packet-tracer", *words], file, devices, control)
    click.echo(f"{json.dumps(reply.data)}\n" if as_json else reply.text, nl=False)
