"""Where text for people goes that is laid out: stdout, as wide as it is."""

from __future__ import annotations

from rich.console import Console

WIDTH = 160
"""Columns where the output is no terminal, and so has no width; COLUMNS is the terminal's."""


def console() -> Console:
    """Return stdout, on which nothing in brackets or colons means anything."""
    made = Console(markup=False, highlight=False, emoji=False)
    if not made.is_terminal:
        made.width = WIDTH
    return made
