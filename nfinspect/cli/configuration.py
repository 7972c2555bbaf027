"""The option ``--config FILE``, which several commands share, and reading that file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nfinspect.cli.errors import UsageFailure
from nfinspect.policy import (
    Configuration,
    ConfigurationError,
    Finding,
    decode,
    default_configuration,
    parse_policy,
)

LARGEST_FILE = 16 * 1024 * 1024
"""Bytes; the configurations of the largest appliances have a few MiB."""


STDIN = Path("-")


def name_of(path: Path) -> str:
    """Return the file's name for messages."""
    return "stdin" if path == STDIN else str(path)


def read_configuration(path: Path) -> Configuration:
    """Return the configuration in the file *path*, or on stdin if that is ``-``.

    Raises ConfigurationError, and OSError if the file cannot be read.
    """
    return parse_policy(read_text(path), name_of(path))


def read_text(path: Path) -> str:
    """Return the text in the file *path*, or on stdin if that is ``-``.

    Raises ConfigurationError, and OSError if the file cannot be read.
    """
    name = name_of(path)
    with click.open_file(str(path), "rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        message = f"the file is larger than {LARGEST_FILE} bytes: not a configuration"
        raise ConfigurationError([Finding(name, 1, 1, message)])
    return decode(data, name)


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option ``--config FILE`` to *command*, as the argument ``configuration``.

    Without it the argument is the default configuration. A faulty file ends the command with a list
    of its errors and status 2; notices go to stderr.
    """
    return click.option(
        "--config",
        "configuration",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        callback=_configuration,
        help="The policy, as an appliance configuration.  [default: the appliance's default map]",
    )(command)


def _configuration(
    context: click.Context, parameter: click.Parameter, path: Path | None
) -> Configuration:
    if path is None:
        return default_configuration()
    try:
        configuration = read_configuration(path)
    except ConfigurationError as error:
        raise UsageFailure(str(error)) from error
    for notice in configuration.notices:
        click.echo(f"nfinspect: notice: {notice}", err=True)
    return configuration
