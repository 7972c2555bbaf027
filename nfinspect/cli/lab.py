"""``nfinspect lab``: client, filter and server in network namespaces of this machine."""

from __future__ import annotations

import os
from typing import Any

import click

from nfinspect.cli.errors import Failure


class _LabGroup(click.Group):
    """Turns what the lab cannot do into a command's failure."""

    def invoke(self, ctx: click.Context) -> Any:
        from nfinspect.lab.topology import LabError

        try:
            return super().invoke(ctx)
        except LabError as error:
            raise Failure(str(error)) from error


@click.group(cls=_LabGroup)
def lab() -> None:
    """Client, filter and server in network namespaces, routed, for trying things out.

    Nothing leaves the namespaces and nothing of the machine's own network is touched. Needs root.
    """


@lab.command()
@click.option(
    "--offloads/--no-offloads",
    default=True,
    help="Without them every packet is a frame within the MTU, with its checksum filled in.",
)
def up(offloads: bool) -> None:
    """Build the lab, and leave it standing until `lab down`."""
    from nfinspect.lab import topology

    topology.build(topology.DEFAULT_PREFIX, offloads=offloads)
    click.echo("The lab is up:")
    for end in sorted(
        (end for cable in topology.CABLES for end in cable), key=lambda e: e.namespace
    ):
        click.echo(f"  {end.namespace:7}{end.name:8}{' '.join(end.addresses)}")
    click.echo(
        "\nFor example:\n"
        "  nfinspect lab exec filter -- nfinspect run --apply-rules\n"
        f"  nfinspect lab exec client -- swaks --server {topology.SERVER_ADDRESS} …\n"
        "  nfinspect lab down"
    )


@lab.command()
def down() -> None:
    """End every process in the lab, and remove it."""
    from nfinspect.lab import topology

    topology.require_root()
    if not topology.is_up(topology.DEFAULT_PREFIX):
        raise Failure("the lab is not up")
    topology.remove(topology.DEFAULT_PREFIX)


@lab.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("where", type=click.Choice(["client", "filter", "server"]))
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(where: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in a namespace of the lab, in place of this process."""
    from nfinspect.lab import topology

    topology.require_root()
    topology.require_programs("ip")
    if not topology.is_up(topology.DEFAULT_PREFIX):
        raise Failure("the lab is not up: nfinspect lab up")
    argv = topology.command(topology.DEFAULT_PREFIX, where, command)
    os.execvp(argv[0], argv)
