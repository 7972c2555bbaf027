"""What the demo prints, as an SVG picture."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

from rich.console import Console, RenderableType

WIDTH = 110
"""Columns: few lines of a mail are folded, and the picture can be read on a page."""

FONTS = '"Fira Code", "DejaVu Sans Mono", Menlo, Consolas, monospace'
DOWNLOAD = re.compile(r"\s*@font-face \{.*?\}\n", re.DOTALL)
"""A picture in a page may load nothing, and need not."""
BORDER = re.compile(
    r'<text class="(?P<style>[\w-]+)" x="(?P<x>[\d.]+)" y="(?P<y>[\d.]+)" textLength="(?P<width>[\d.]+)"'
    r' clip-path="[^"]+">│</text>'
)
"""A piece of a frame's side. Lines are further apart than characters are high, which leaves gaps."""


def svg(title: str, parts: Iterable[RenderableType]) -> str:
    """Return the parts as one picture of a terminal; the same parts make the same picture."""
    console = Console(
        record=True,
        file=io.StringIO(),
        width=WIDTH,
        highlight=False,
        force_terminal=True,
        color_system="truecolor",
    )
    for part in parts:
        console.print(part)
    text = DOWNLOAD.sub("", console.export_svg(title=title, unique_id="demo"))
    text = text.replace("Fira Code, monospace", FONTS)
    text = BORDER.sub(_side, text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _side(piece: re.Match[str]) -> str:
    x, y, width = (float(piece[name]) for name in ("x", "y", "width"))
    height = width * 2
    return (
        f'<rect class="{piece["style"]}" x="{x + width / 2 - 0.7:.1f}" y="{y - 0.8 * height:.1f}"'
        f' width="1.4" height="{height + 0.4:.1f}"/>'
    )
