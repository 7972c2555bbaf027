"""``nfinspect lab exec``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from nfinspect.cli.errors import Failure
from nfinspect.cli.lab.options import prefix_option


@click.command("exec", context_settings={"allow_interspersed_args": False})
@prefix_option
@click.argument("where", type=click.Choice(["client", "filter", "server"]))
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(prefix: str, where: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in a namespace of the lab, replacing this process.

    Options must come before the namespace. PATH is extended so that this nfinspect is found first.
    """
    from nfinspect.lab import topology

    if command[0] != "--" and command[0].startswith("-"):
        raise click.UsageError("options must come before client|filter|server.")
    topology.require_root()
    topology.require_programs("ip")
    if not topology.is_up(prefix):
        named = "" if prefix == "nfinspect" else f" --prefix {prefix}"
        raise Failure(f"the lab '{prefix}' is not up; start it with: nfinspect lab up{named}")
    if command[0] == "--":  # customary before a command, as with sudo
        command = command[1:]
    argv = topology.command(prefix, where, command)
    beside_python = str(Path(sys.executable).parent)
    os.environ["PATH"] = f"{beside_python}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.execvp(argv[0], argv)
