"""The picture of the results."""

from __future__ import annotations

from xml.etree import ElementTree

from bench.loads import LOADS
from bench.plot import COLOURS, ROWS, WIDTH, plot
from bench.summary import ACCEPT_ONLY, FILTER, PATHS, PURE_FILTER, Sample

SVG = "{http://www.w3.org/2000/svg}"


def samples(*paths: str, seconds: float = 2.0) -> list[Sample]:
    made = []
    for number in (1, 2):
        for load in LOADS:
            rest = (load.name, load.sessions, load.octets)
            made.append(Sample(ACCEPT_ONLY, number, *rest, 1.0, 0.5))
            made += [Sample(path, number, *rest, seconds * number, 1.0) for path in paths]
    return made


def bars(text: str) -> list[tuple[str, float]]:
    """Colour and width of each."""
    found = [
        (e.get("fill", ""), float(e.get("width", "")))
        for e in ElementTree.fromstring(text)
        if e.tag == f"{SVG}rect"
    ]
    return found[1:]  # the first is the ground


def test_each_path_has_a_bar_for_each_measure_it_has_figures_for() -> None:
    drawn = bars(plot(samples(FILTER), "title"))
    assert [colour for colour, _ in drawn] == [COLOURS[ACCEPT_ONLY], COLOURS[FILTER]] * len(ROWS)


def test_compiled_and_pure_filter_are_both_shown() -> None:
    text = plot(samples(FILTER, PURE_FILTER), "title")
    assert {COLOURS[FILTER], COLOURS[PURE_FILTER]} <= {colour for colour, _ in bars(text)}
    assert f"{PURE_FILTER}: " in text


def test_bars_are_as_long_as_the_ratios_and_the_greatest_fits() -> None:
    drawn = bars(plot(samples(FILTER, seconds=2.0), "title"))
    reference, sessions = drawn[0][1], drawn[1][1]
    assert sessions < reference
    # In rounds of 2 and 4 s: a ratio of 4 to the reference is the greatest, 3 the median.
    assert max(width for _, width in drawn) == 3 * reference
    assert 4 * reference == WIDTH


def test_title_is_text_and_no_markup() -> None:
    root = ElementTree.fromstring(plot(samples(FILTER), "less < more & <b>"))
    assert "less < more & <b>" in [element.text for element in root]


def test_every_path_has_a_colour_of_its_own() -> None:
    assert len({COLOURS[path] for path in PATHS}) == len(PATHS)
