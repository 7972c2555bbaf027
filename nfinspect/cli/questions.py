"""Questions about a configuration, to the running filter or to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from nfinspect.cli.configuration import read_configuration
from nfinspect.cli.errors import Failure, UsageFailure
from nfinspect.live.control import DEFAULT_PATH, ControlError, UnanswerableError, ask
from nfinspect.policy import ConfigurationError
from nfinspect.policy.questions import QuestionError, Reply, answer

control_option = click.option(
    "--control",
    type=click.Path(path_type=Path, readable=False),
    default=DEFAULT_PATH,
    show_default=True,
    metavar="PATH",
    help="The socket of the running filter.",
)

file_option = click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Ask this configuration instead of the running filter.",
)


def ask_filter(words: Sequence[str], control: Path) -> Reply:
    """Return the answer of the running filter.

    Raises UsageFailure if it does not understand the question, Failure if no filter answers.
    """
    try:
        found = ask(control, list(words))
    except UnanswerableError as error:
        raise UsageFailure(str(error)) from error
    except ControlError as error:
        raise Failure(str(error)) from error
    return Reply(found.text, found.data)


def ask_filter_or_file(
    words: Sequence[str], file: Path | None, devices: Mapping[str, str], control: Path
) -> Reply:
    """Return the answer of the configuration in *file*, or without one of the running filter.

    Raises UsageFailure if the question or the file is wrong, Failure if no filter answers.
    """
    if file is None:
        if devices:
            raise UsageFailure("--interface needs --config: a running filter has its own.")
        return ask_filter(words, control)
    try:
        return answer(read_configuration(file, devices), words)
    except (QuestionError, ConfigurationError) as error:
        raise UsageFailure(str(error)) from error
