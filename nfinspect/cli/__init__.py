"""The command ``nfinspect``: a group whose subcommands are loaded when they are called.

``nfinspect --help`` and the start of any command thus never pay for what another one imports.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from nfinspect import __version__
from nfinspect.cli.errors import USAGE, Failure

COMMANDS = {
    # name: (where its click command stands, what it does)
    "run": ("nfinspect.cli.run:run", "Filter live traffic from NFQUEUE, in the foreground."),
    "replay": ("nfinspect.cli.replay:replay", "Send captures through the filter, without root."),
    "rules": ("nfinspect.cli.rules:rules", "Print, apply or remove the iptables rules."),
    "show": ("nfinspect.cli.show:show", "Show counters and state of the running filter."),
    "check": ("nfinspect.cli.check:check", "Check a configuration file."),
    "lab": ("nfinspect.cli.lab:lab", "Client, filter and server in network namespaces."),
}
"""Every subcommand, in the order of the help."""


class LazyGroup(click.Group):
    """A click group that imports the module of a subcommand only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command *cmd_name*, or return None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from `COMMANDS`, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **extra: Any,
    ) -> None:
        """Run the command line and exit; errors are printed in the form of `errors`."""
        extra.pop("standalone_mode", None)
        try:
            status = super().main(args, prog_name, standalone_mode=False, **extra)
        except click.UsageError as error:
            _show_usage_error(error)
            sys.exit(USAGE)
        except click.Abort:
            sys.exit(130)  # as a shell reports SIGINT
        except click.ClickException as error:
            failure = error if isinstance(error, Failure) else Failure(error.format_message())
            failure.show()
            sys.exit(failure.exit_code)
        sys.exit(status if isinstance(status, int) else 0)


def _show_usage_error(error: click.UsageError) -> None:
    click.echo(f"nfinspect: error: {error.format_message()}", err=True)
    if error.ctx is not None:
        click.echo(f"Try '{error.ctx.command_path} --help'.", err=True)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nfinspect", message="%(prog)s %(version)s")
def main() -> None:
    """Inline ESMTP inspection for Linux, as a Cisco PIX or ASA does it."""
