"""The options that the commands of ``nfinspect lab`` share."""

from __future__ import annotations

import click

prefix_option = click.option(
    "--prefix",
    default="nfinspect",
    show_default=True,
    metavar="NAME",
    help="Prefix of the namespaces' names (NAME-client and so on), for more than one lab.",
)

bridge_option = click.option(
    "--bridge", is_flag=True, help="Make the filter a bridge without addresses, not a router."
)
