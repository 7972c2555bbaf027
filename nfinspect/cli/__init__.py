"""The command ``nfinspect``: a group whose subcommands are loaded when they are called.

``nfinspect --help`` and the start of any command thus never pay for what another one imports.
"""

import errno
import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from nfinspect import __version__
from nfinspect.cli.errors import USAGE, Failure, UsageFailure, end_with, flush_stdout

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a disk, not of nfinspect."""

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

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run the command line and exit: with the status that the command returned, if it did.

        Errors are printed in the form of `errors`.
        """
        kwargs["standalone_mode"] = False
        try:
            status = super().main(*args, **kwargs)
            flush_stdout()
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(USAGE)
        except click.UsageError as error:
            hint = f"\nTry '{error.ctx.command_path} --help'." if error.ctx else ""
            end_with(UsageFailure(error.format_message() + hint))
        except click.ClickException as error:
            end_with(error if isinstance(error, Failure) else Failure(error.format_message()))
        except click.Abort:
            sys.exit(128 + signal.SIGINT)  # as a shell reports it
        except OSError as error:
            if error.filename is not None:
                end_with(Failure(f"{error.filename}: {error.strerror}"))
            if error.errno not in NO_ROOM:
                raise  # nothing that a person has named
            flush_stdout(b"\n")  # is it stdout that takes no more?
            end_with(Failure(f"a file cannot be written: {error.strerror}"))
        sys.exit(status if isinstance(status, int) else 0)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nfinspect", message="%(prog)s %(version)s")
def main() -> None:
    """Inline ESMTP inspection for Linux, as a Cisco PIX or ASA does it."""
