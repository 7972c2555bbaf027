"""``nfinspect lab up`` and ``lab down``."""

from __future__ import annotations

import contextlib

import click

from nfinspect.cli.errors import Failure
from nfinspect.cli.lab.options import bridge_option, prefix_option


@click.command()
@prefix_option
@bridge_option
@click.option(
    "--offloads/--no-offloads",
    default=True,
    help="Without offloads, no packet exceeds the MTU, and all checksums are filled in.",
)
def up(prefix: str, bridge: bool, offloads: bool) -> None:
    """Build the lab and keep it until `lab down`."""
    from nfinspect.lab import topology

    topology.build(prefix, offloads=offloads, bridge=bridge)
    click.echo("The lab is up:")
    for end in sorted(
        (end for cable in topology.CABLES for end in cable), key=lambda e: e.namespace
    ):
        addresses = end.addresses
        if bridge and end.namespace == topology.FILTER:
            addresses = (f"port of {topology.BRIDGE}",)
        click.echo(f"  {end.namespace:7}{end.name:8}{' '.join(addresses)}")
    click.echo(
        "\nFor example:\n"
        f"  nfinspect lab exec filter -- nfinspect run --apply-rules{' --bridge' * bridge}\n"
        f"  nfinspect lab exec client -- swaks --server {topology.SERVER_ADDRESS} …\n"
        "  nfinspect lab down"
    )


@click.command()
@prefix_option
def down(prefix: str) -> None:
    """End all processes in the lab and remove it."""
    from nfinspect.lab import topology
    from nfinspect.lab.namespaces import NFINSPECT

    topology.require_root()
    if not topology.is_up(prefix):
        raise Failure("the lab is not up")
    with contextlib.suppress(topology.LabError):  # also deletes the file of saved bridge settings
        topology.execute(prefix, topology.FILTER, [*NFINSPECT, "rules", "--remove"])
    topology.remove(prefix)
