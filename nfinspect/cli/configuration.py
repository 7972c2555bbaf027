"""The option ``--config FILE``, which several commands share, and reading that file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
    default_text,
    parse_policy,
)
from nfinspect.policy.configuration import DEFAULT_FILE
from nfinspect.policy.model import Policy

LARGEST_FILE = 16 * 1024 * 1024
"""Bytes; the configurations of the largest appliances have a few MiB."""


STDIN = Path("-")


def name_of(path: Path) -> str:
    """Return the file's name for messages."""
    return "stdin" if path == STDIN else str(path)


def read_configuration(path: Path, devices: Mapping[str, str] | None = None) -> Configuration:
    """Return the configuration in the file *path*, or on stdin if that is ``-``; *devices* are Linux
    interfaces by the appliance's name.

    Raises ConfigurationError, and OSError if the file cannot be read.
    """
    return parse_policy(read_text(path), name_of(path), devices)


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


CONFIG_HELP = "The policy, as an appliance configuration.  [default: the appliance's default map]"


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options ``--config FILE`` and ``--interface`` to *command*, both together as the
    argument ``configuration``.

    Without a file the argument is the default configuration. A faulty file ends the command as
    `load` says.
    """
    command = interface_option(is_eager=True, expose_value=False)(command)
    return click.option(
        "--config",
        "configuration",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        callback=_configuration,
        help=CONFIG_HELP,
    )(command)


def config_file_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a command that may read the file again: its arguments ``config``, the path, and
    ``devices``."""
    command = interface_option()(command)
    return click.option(
        "--config",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=CONFIG_HELP,
    )(command)


_DEVICES = "nfinspect.devices"
"""Where a command's context keeps what ``--interface`` says."""


def interface_option(**settings: Any) -> Callable[..., Any]:
    """Return the option ``--interface NAME=DEVICE``, as the argument ``devices``."""
    return click.option(
        "--interface",
        "devices",
        multiple=True,
        metavar="NAME=DEVICE",
        callback=_devices,
        help="The Linux interface that is the appliance's interface NAME, as outside=eth0.",
        **settings,
    )


def _devices(
    context: click.Context, parameter: click.Parameter, pairs: tuple[str, ...]
) -> dict[str, str]:
    devices: dict[str, str] = context.meta.setdefault(_DEVICES, {})
    for pair in pairs:
        name, equals, device = pair.partition("=")
        if not (name and equals and device):
            raise click.BadParameter(f"'{pair}' is not NAME=DEVICE, as outside=eth0.")
        devices[name] = device
    return devices


def missing_interfaces(policy: Policy, present: Iterable[str]) -> str:
    """Return what to tell an operator about named interfaces that are not *present*; empty if
    nothing."""
    there = set(present)
    missing = [interface for interface in policy.interfaces if interface.device not in there]
    if not missing:
        return ""
    names = ", ".join(f"{i.name} ({i.device})" for i in missing)
    return f"there is no Linux interface for {names}: --interface NAME=DEVICE says which it is"


def _configuration(
    context: click.Context, parameter: click.Parameter, path: Path | None
) -> Configuration:
    return load(path, context.meta[_DEVICES])


def load(path: Path | None, devices: Mapping[str, str]) -> Configuration:
    """Return the configuration in the file *path*, the default one without a file; *devices* are
    Linux interfaces by the appliance's name.

    A faulty file ends the command with a list of its errors and status 2; notices go to stderr.
    """
    if path is None and not devices:
        return default_configuration()
    try:
        configuration = (
            parse_policy(default_text(), DEFAULT_FILE, devices)
            if path is None
            else read_configuration(path, devices)
        )
    except ConfigurationError as error:
        raise UsageFailure(str(error)) from error
    for notice in configuration.notices:
        click.echo(f"nfinspect: notice: {notice}", err=True)
    return configuration


def read_again(path: Path, devices: Mapping[str, str]) -> Configuration:
    """Return the configuration that a running command gets from its file now.

    Raises ConfigurationError, and OSError if the file cannot be read, or not twice.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no regular file, and cannot be read again")
    return read_configuration(path, devices)
