"""``nfinspect lab up`` and ``lab down``."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfinspect.cli.configuration import load, read_text
from nfinspect.cli.errors import Failure
from nfinspect.cli.lab.options import bridge_option, prefix_option

if TYPE_CHECKING:
    from nfinspect.lab.standing import FilterPolicy
    from nfinspect.lab.topology import Shape


@click.command(short_help="Build the lab, with Postfix and the filter running in it.")
@prefix_option
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The policy of the filter, instead of the default one.",
)
@bridge_option
@click.option(
    "--nat",
    is_flag=True,
    help="From outside the server is 192.0.2.25: the filter translates, by a 'static' line that is"
    " added unless --config has one.",
)
@click.option("--ipv6", is_flag=True, help="Names in the lab have IPv6 addresses, instead of IPv4.")
@click.option("--bare", is_flag=True, help="Only the namespaces: start neither Postfix nor filter.")
@click.option(
    "--offloads/--no-offloads",
    default=True,
    help="Without offloads, no packet exceeds the MTU, and all checksums are filled in.",
)
def up(
    prefix: str,
    config: Path | None,
    bridge: bool,
    nat: bool,
    ipv6: bool,
    bare: bool,
    offloads: bool,
) -> None:
    """Build the lab, and keep it until `lab down`: Postfix runs on the server, and the filter with its
    rules before it."""
    if bare and config is not None:
        raise click.UsageError("--bare starts no filter, so there is nothing that --config is for.")
    if nat and (bridge or ipv6):
        raise click.UsageError(
            f"--nat cannot be used with {'--bridge' if bridge else '--ipv6'}: it is a router that"
            " translates, and IPv4."
        )
    from nfinspect.lab import standing
    from nfinspect.lab.condition import describe
    from nfinspect.lab.topology import Shape

    shape = Shape(offloads, bridge, nat, ipv6)
    standing.up(prefix, shape, None if bare else _policy(config, nat))
    click.echo(f"The lab is up: {describe(prefix)}")
    _tell(prefix, shape, bare)


def _policy(config: Path | None, nat: bool) -> FilterPolicy:
    from nfinspect.lab.standing import STATIC, FilterPolicy
    from nfinspect.lab.topology import OUTSIDE_ADDRESS
    from nfinspect.policy import default_text

    translations = load(config, {}).policy.translations  # a faulty file ends the command
    mapped = int(IPv4Address(OUTSIDE_ADDRESS))
    if not nat or any((each.version, each.mapped) == (4, mapped) for each in translations):
        return FilterPolicy(config)
    text = default_text() if config is None else read_text(config)
    return FilterPolicy(text=f"{text.rstrip()}\n{STATIC}\n")


def _tell(prefix: str, shape: Shape, bare: bool) -> None:
    """Print the addresses, and what to do now."""
    from nfinspect.lab import topology
    from nfinspect.lab.standing import Files
    from nfinspect.lab.topology import FILTER, SERVER

    ends = sorted((end for cable in topology.CABLES for end in cable), key=lambda e: e.namespace)
    for end in ends:
        addresses = " ".join(topology.addresses(end, shape))
        click.echo(f"  {end.namespace:7}{end.name:8}{addresses}")
    name = "" if prefix == "nfinspect" else f" --prefix {prefix}"
    run = f"  nfinspect lab exec{name}"
    mail = f"swaks --server {topology.SERVER_NAME} --to box@inside.example"
    click.echo("\nFor example:")
    if bare:
        click.echo(f"{run} {FILTER} nfinspect run --apply-rules{' --bridge' * shape.bridge}")
        click.echo(f"{run} {SERVER} …")
    else:
        click.echo(f"{run} client {mail}")
        click.echo(f"  cat {Files(prefix).mail}/*")
        click.echo(f"  cat {Files(prefix).syslog}")
        click.echo(f"{run} {FILTER} nfinspect show service-policy inspect esmtp")
        click.echo(f"  nfinspect lab status{name}")
    click.echo(f"  nfinspect lab down{name}")


@click.command()
@prefix_option
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="All labs that `lab up` began, and what killed commands have left.",
)
def down(prefix: str, everything: bool) -> None:
    """End all processes in the lab and remove it.

    It may also be the lab of a `lab demo`, or what a killed command has left of a lab. `lab status`
    lists all. --all leaves alone what a running command uses.
    """
    from nfinspect.lab import place, topology

    topology.require_root()
    topology.require_name(prefix)
    if everything:
        for each in place.names():
            if not place.is_kept(each):
                topology.remove(each)
        return
    if not topology.is_up(prefix):
        raise Failure(f"the lab '{prefix}' is not up")
    topology.remove(prefix)
