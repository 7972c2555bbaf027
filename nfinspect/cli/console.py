"""The console for formatted text."""

from __future__ import annotations

from rich.console import Console

WIDTH = 160
"""Columns if the output is not a terminal."""


def console(*, stderr: bool = False, piped: int = WIDTH) -> Console:
    """Return a console on stdout, or stderr, that prints brackets and colons literally; *piped*:
    columns if it is not a terminal."""
    made = Console(markup=False, highlight=False, emoji=False, stderr=stderr)
    if not made.is_terminal:
        made.width = piped
    return made
