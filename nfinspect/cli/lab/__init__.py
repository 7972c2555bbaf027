"""``nfinspect lab``: client, filter and server in network namespaces on this machine.

One module for each command or two; a new one is listed here.
"""

from __future__ import annotations

from typing import Any

import click

from nfinspect.cli.errors import Failure
from nfinspect.cli.lab.demo import demo
from nfinspect.cli.lab.execute import execute
from nfinspect.cli.lab.replay import replay
from nfinspect.cli.lab.status import status
from nfinspect.cli.lab.telnet import telnet
from nfinspect.cli.lab.up import down, up


class _LabGroup(click.Group):
    """Turns a LabError into a Failure."""

    def invoke(self, ctx: click.Context) -> Any:
        from nfinspect.lab.topology import LabError

        try:
            return super().invoke(ctx)
        except LabError as error:
            raise Failure(str(error)) from error


@click.group(cls=_LabGroup)
def lab() -> None:
    """A test lab: client, filter and server in network namespaces.

    No traffic leaves the namespaces, and the machine's own network is not touched. Needs root.
    """


for _command in (up, execute, status, down, telnet, demo, replay):
    lab.add_command(_command)
