"""Where laid-out text for people goes: a console as wide as its terminal."""

from __future__ import annotations

from rich.console import Console

WIDTH = 160
"""Columns where the output is no terminal and so has no width of its own."""


def console(*, stderr: bool = False) -> Console:
    """Return stdout, or stderr, on which text in brackets or colons is printed as it is."""
    made = Console(markup=False, highlight=False, emoji=False, stderr=stderr)
    if not made.is_terminal:
        made.width = WIDTH
    return made
