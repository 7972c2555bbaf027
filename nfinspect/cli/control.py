"""The option for the socket of the running filter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nfinspect.live.control import DEFAULT_PATH


def control_option(text: str = "The socket of the running filter.") -> Callable[..., Any]:
    """``--control``, as ``control``; *text* is its help."""
    return click.option(
        "--control",
        type=click.Path(path_type=Path, readable=False),
        default=DEFAULT_PATH,
        show_default=True,
        metavar="PATH",
        help=text,
    )
