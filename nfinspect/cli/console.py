"""The console for formatted text."""

from __future__ import annotations

from rich.console import Console

WIDTH = 160
"""Columns if the output is not a terminal."""


def console(*, stderr: bool = False) -> Console:
    """Return a console on stdout, or stderr, that prints brackets and colons literally."""
    made = Console(markup=False, highlight=False, emoji=False, stderr=stderr)
    if not made.is_terminal:
        made.width = WIDTH
    return made
