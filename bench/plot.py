"""The figures of RESULTS.md as a picture: for each measure, every path's ratio to the reference."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.summary import (
    ACCEPT_ONLY,
    CPU_BULK,
    CPU_SESSIONS,
    FILTER,
    LATENCY,
    PATHS,
    PLAIN,
    PURE_FILTER,
    SESSIONS,
    SPINNING,
    THROUGHPUT,
    Measure,
    Sample,
    Spread,
    figures,
    ratios,
    spread,
)

ROWS = (
    (SESSIONS, "more is better"),
    (THROUGHPUT, "more is better"),
    (LATENCY, "less is better"),
    (CPU_SESSIONS, "less is better"),
    (CPU_BULK, "less is better"),
)
"""What is shown, and how to read it."""
COLOURS = {
    PLAIN: "#999999",
    ACCEPT_ONLY: "#56b4e9",
    FILTER: "#d55e00",
    SPINNING: "#cc79a7",
    PURE_FILTER: "#e69f00",
}

LEFT, WIDTH, RIGHT = 210, 420, 220
"""Pixels: names, bars, figures."""
BAR, GAP, HEAD = 16, 14, 46


def plot(samples: Sequence[Sample], title: str) -> str:
    """An SVG: bars for the median of each path's ratio to accept-only, lines from least to greatest."""
    shown = [
        (measure.name, hint, measure.digits, bars)
        for measure, hint in ROWS
        if (bars := _bars(samples, measure))
    ]
    longest = max((r.greatest for *_, bars in shown for _, r, _ in bars), default=1.0)
    scale = WIDTH / longest
    drawn: list[str] = []
    top = HEAD
    for name, hint, digits, bars in shown:
        drawn += [
            _text(LEFT - 10, top + 12, name, "end"),
            _text(LEFT - 10, top + 27, hint, "end", 9),
        ]
        for path, ratio, figure in bars:
            middle = top + BAR / 2
            drawn.append(
                f'<rect x="{LEFT}" y="{top}" width="{ratio.median * scale:.1f}" height="{BAR - 2}"'
                f' fill="{COLOURS[path]}"/>'
            )
            if ratio.least != ratio.greatest:
                ends = LEFT + ratio.least * scale, LEFT + ratio.greatest * scale
                drawn.append(
                    f'<path d="M{ends[0]:.1f} {middle - 1:.1f}H{ends[1]:.1f}" stroke="#333333"/>'
                )
            label = f"{ratio.median:.2f}  {path}: {figure.median:,.{digits}f}"
            drawn.append(_text(LEFT + ratio.greatest * scale + 6, top + 11, label, "start", 9))
            top += BAR
        top += max(0, 2 - len(bars)) * BAR + GAP
    reference = LEFT + scale
    width = LEFT + WIDTH + RIGHT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top}"'
            f' viewBox="0 0 {width} {top}" font-family="sans-serif">',
            f'<rect width="{width}" height="{top}" fill="#ffffff"/>',
            _text(10, 18, title, "start", 13),
            _text(10, 34, "Ratio to accept-only, and the figure itself", "start", 10),
            f'<path d="M{reference:.1f} {HEAD - 4}V{top - GAP}" stroke="#bbbbbb"/>',
            *drawn,
            "</svg>",
            "",
        ]
    )


def _bars(samples: Sequence[Sample], measure: Measure) -> list[tuple[str, Spread, Spread]]:
    """Of each path that has been measured: its ratio to accept-only, and its figures."""
    found = []
    for path in PATHS:
        ratio = spread(ratios(samples, measure, path, ACCEPT_ONLY))
        figure = spread(figures(samples, measure, path).values())
        if ratio is not None and figure is not None:
            found.append((path, ratio, figure))
    return found


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )
