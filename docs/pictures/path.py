"""Draws path.svg, the path of a packet, for docs/architecture.md: ``python docs/pictures/path.py``."""

from __future__ import annotations

import html
from pathlib import Path

WIDTH = 880
LEFT, RIGHT = 40, 840  # of the engine
# Columns: what it is, where in the code, what happens there, outcomes.
NAME, PLACE, TEXT, END = 72, 212, 340, 820
LINE = 22

STEPS = (
    # what, where, what may happen there: words, and outcomes
    ("parse", "packet/", [("malformed, truncated, wrong checksum", "drop")]),
    ("find", "tcp/table", [("no connection yet: flow/opening asks tcp/admission", "drop")]),
    ("if closed", "flow/ending", [("only replies that are owed still pass", "accept drop")]),
    ("if SYN or RST", "flow/opening", [("what tcp/handshake makes of it", "accept drop")]),
)
ESTABLISHED = (
    ("1 belief", "tcp/", [("the receiver would ignore it: nothing is learnt", "accept drop")]),
    ("2 acknowledged", "tcp/memory", [("what the receiver has is let go", "")]),
    (
        "3 order",
        "flow/gap",
        [
            ("beyond a gap: it is held, and the sender is told", "inject"),
            ("decided before: as it passed then, from tcp/memory", "replace"),
        ],
    ),
    (
        "4 inspection",
        "flow/in_order",
        [
            ("esmtp/ reads new bytes, once; a violation: flow/ending", "drop"),
            ("a reply is awaited: cut, and flow/waiting notes it", "replace"),
        ],
    ),
    ("5 verdict", "packet/edit", [("without what the normalizer removes", "accept replace")]),
    ("6 release", "flow/in_order", [("held segments whose turn has come: again 4", "")]),
)
COLOURS = {"accept": "#1a7f37", "replace": "#9a6700", "drop": "#cf222e", "inject": "#0969da"}

STYLE = """\
text { font: 14px "DejaVu Sans", Verdana, Arial, sans-serif; fill: #1f2328 }
.place { font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 13px; fill: #57606a }
.strong { font-weight: bold }
.outcome { font-size: 12px; font-weight: bold; fill: #ffffff }
.box { fill: #ffffff; stroke: #8c959f }
.engine { fill: #eef4fb; stroke: #54708f }
.inner { fill: #ffffff; stroke: #b6c2cf }
.way { stroke: #54708f; stroke-width: 2; fill: none; marker-end: url(#tip) }"""


class Drawing:
    """Lines of SVG, and how far down they have come."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def text(self, x: float, y: float, words: str, style: str = "", anchor: str = "start") -> None:
        of = f' class="{style}"' if style else ""
        at = f' text-anchor="{anchor}"' if anchor != "start" else ""
        self.lines.append(f'<text x="{x}" y="{y}"{of}{at}>{html.escape(words, quote=False)}</text>')

    def box(self, x: float, y: float, width: float, height: float, style: str) -> None:
        self.lines.append(
            f'<rect class="{style}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'
        )

    def way(self, path: str) -> None:
        self.lines.append(f'<path class="way" d="{path}"/>')

    def outcomes(self, y: float, words: str) -> None:
        """Coloured words, flush right."""
        right = END
        for word in reversed(words.split()):
            width = 22 + 7 * len(word)
            right -= width
            self.lines.append(
                f'<rect x="{right}" y="{y - 14}" width="{width}" height="18" rx="9"'
                f' fill="{COLOURS[word]}"/>'
            )
            self.text(right + width / 2, y - 0.5, word, "outcome", "middle")
            right -= 6

    def steps(self, y: float, steps: tuple[tuple[str, str, list[tuple[str, str]]], ...]) -> float:
        """Draw *steps* below each other from *y*; return where they end."""
        for number, (name, place, cases) in enumerate(steps):
            height = LINE * len(cases) + 13
            self.box(NAME - 14, y, RIGHT - NAME, height, "inner")
            self.text(NAME, y + 21, name, "strong")
            self.text(PLACE, y + 21, place, "place")
            for row, (words, outcomes) in enumerate(cases):
                self.text(TEXT, y + 21 + LINE * row, words)
                self.outcomes(y + 21 + LINE * row, outcomes)
            y += height
            if number < len(steps) - 1:
                self.way(f"M {NAME + 30} {y} v 9")
                y += 12
        return y


def draw() -> str:
    """Return the picture as SVG."""
    drawing = Drawing()
    for number, source in enumerate(
        ("live queue, SYNs aside", "capture replay", "tests", "benchmarks")
    ):
        x = LEFT + number * 204
        drawing.box(x, 20, 188, 34, "box")
        drawing.text(x + 94, 42, source, anchor="middle")
    drawing.way("M 240 58 v 46")
    drawing.text(228, 86, "arrive, tick, flush", "place", "end")
    drawing.way("M 560 106 v -46")
    drawing.text(572, 86, "actions, in order", "place")
    top = 110
    body = Drawing()
    body.text(NAME - 14, top + 25, "engine.py", "strong")
    body.text(PLACE, top + 25, "one packet, one passage (flow/passage)")
    y = body.steps(top + 38, STEPS)
    body.way(f"M {NAME + 30} {y} v 31")
    body.text(NAME + 46, y + 23, "else", "strong")
    body.text(PLACE, y + 23, "flow/established", "place")
    y = body.steps(y + 35, ESTABLISHED)
    bottom = y + 16
    drawing.box(LEFT, top, RIGHT - LEFT, bottom - top, "engine")
    drawing.lines += body.lines
    drawing.way(f"M 440 {bottom + 2} v 40")
    drawing.text(452, bottom + 27, "events (emit)", "place")
    drawing.box(LEFT, bottom + 46, RIGHT - LEFT, 34, "box")
    drawing.text(440, bottom + 68, "audit/: syslog, JSON, counters, show", anchor="middle")
    height = bottom + 100
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
            ' aria-label="The path of a packet through the engine">',
            f"<style>\n{STYLE}\n</style>",
            '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="4" refY="4" orient="auto"'
            ' markerUnits="userSpaceOnUse"><path d="M 0 0 L 8 4 L 0 8 z" fill="#54708f"/></marker></defs>',
            f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#f6f8fa"/>',
            *drawing.lines,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(draw())
