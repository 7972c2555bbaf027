"""The command ``nfinspect``: a group whose subcommands are imported only when they are called.

So ``nfinspect --help`` and every command start without the imports of the other commands.
"""

import errno
import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from nfinspect import FORM, __version__
from nfinspect.cli.errors import USAGE, Failure, UsageFailure, end_with, flush_stdout

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of the disk, not of nfinspect."""

COMMANDS = {
    # name: (its click command, what it does)
    "run": ("nfinspect.cli.run:run", "Filter live traffic from NFQUEUE, in the foreground."),
    "replay": ("nfinspect.cli.replay:replay", "Run captures through the filter, without root."),
    "rules": ("nfinspect.cli.rules:rules", "Print, apply or remove the iptables rules."),
    "status": ("nfinspect.cli.status:status", "Tell whether mail reaches the filter, and why not."),
    "reload": ("nfinspect.cli.reload:reload", "Let the filter read its configuration again."),
    "clear": ("nfinspect.cli.clear:clear", "End open connections of the running filter."),
    "show": ("nfinspect.cli.show:show", "Show the counters and state of the running filter."),
    "packet-tracer": (
        "nfinspect.cli.packet_tracer:packet_tracer",
        "Show what happens to one connection, and why.",
    ),
    "check": ("nfinspect.cli.check:check", "Check a configuration file."),
    "lab": ("nfinspect.cli.lab:lab", "A test lab: client, filter and server in namespaces."),
}
"""Every subcommand, in the order of the help."""


class LazyGroup(click.Group):
    """A click group that imports the module of a subcommand only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command *cmd_name*; None if it does not exist. Raises Failure if a
        library is missing."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        try:
            command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("nfinspect"):
                raise
            missing = f"the Python module {error.name} is missing; run script/setup"
            raise Failure(missing) from error
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from `COMMANDS` without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run the command line and exit, with the status that the command returned if it did.

        Errors are printed as `errors` says.
        """
        kwargs["standalone_mode"] = False
        if FORM.unexpected:
            click.echo(f"nfinspect: {FORM}; script/setup compiles it again", err=True)
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
                raise  # not about a file that the user has named
            flush_stdout(b"\n")  # if stdout is what failed, this reports it
            end_with(Failure(f"cannot write a file: {error.strerror}"))
        sys.exit(status if isinstance(status, int) else 0)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nfinspect", message=f"%(prog)s %(version)s ({FORM})")
def main() -> None:
    """Inline ESMTP inspection for Linux, as a Cisco PIX or ASA does it."""
