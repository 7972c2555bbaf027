"""How a command ends: the exit status, and one format for all errors.

Status 0: done. 1: findings, a failed check, or a failure. 2: wrong usage, including a faulty
configuration. A command returns its status, or raises `Failure` or `UsageFailure`; click's own
errors are printed in the same format.
"""

import errno
import os
import sys
from typing import IO, Any, NoReturn, TextIO

import click

FINDINGS = 1
"""Status of a command that found something, or that failed."""

USAGE = 2
"""Status of a command that was used wrongly or got a faulty configuration."""


class Failure(click.ClickException):
    """Ends the command with ``nfinspect: error: MESSAGE`` on stderr and status 1."""

    exit_code = FINDINGS

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the error to *file*, by default stderr."""
        click.echo(f"nfinspect: error: {self.format_message()}", file=file, err=True)


class UsageFailure(Failure):
    """Like `Failure`, with status 2: the command line or the configuration is at fault.

    The message of a configuration error begins with ``FILE:LINE:COLUMN:``.
    """

    exit_code = USAGE


def end_with(failure: Failure) -> NoReturn:
    """Print *failure* and exit with its status."""
    try:
        failure.show()
    except OSError:  # stderr is unusable; the status still says it
        _discard(sys.stderr)
    sys.exit(failure.exit_code)


def flush_stdout(more: bytes = b"") -> None:
    """Flush stdout and write *more*; if that fails, end with an error message and status 1.

    If the reader has gone away, as ``head`` does when it has enough, no message is printed.
    """
    if sys.stdout is None:  # it was closed before nfinspect started
        return
    try:
        sys.stdout.flush()
        if more:
            os.write(sys.stdout.fileno(), more)
    except OSError as error:
        _discard(sys.stdout)
        if error.errno == errno.EPIPE:
            sys.exit(FINDINGS)
        end_with(Failure(f"stdout: {error.strerror}"))


def _discard(stream: TextIO) -> None:
    """Redirect *stream* to /dev/null: otherwise Python flushes it again at exit, complains, and
    changes the status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
