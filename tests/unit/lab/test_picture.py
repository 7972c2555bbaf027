"""How the outcome of a case is displayed."""

from io import StringIO
from xml.etree import ElementTree

from rich.console import Console

from nfinspect.lab.case import Outcome
from nfinspect.lab.cases import named
from nfinspect.lab.comparison import DROPPED, MASKED, PASSED, LinePair
from nfinspect.lab.conversation import REPLY, REQUEST
from nfinspect.lab.drawing import svg
from nfinspect.lab.picture import picture


def shown(outcome: Outcome) -> str:
    out = StringIO()
    Console(file=out, width=140).print(picture(named("ordinary"), outcome))
    return out.getvalue()


def test_repeats_of_a_reply_are_shown_separately_from_it() -> None:
    text = shown(
        Outcome(rows=[[LinePair(REPLY, b"250 ok", b"250 ok", PASSED, tries=6, arrivals=1)]])
    )
    assert "passed; 5 repeats" in text
    assert "×" not in text


def test_legend_of_segment_boundaries_appears_only_if_there_is_one() -> None:
    cut = LinePair(REQUEST, b"HELO", b"XXXX", MASKED, cuts=(1, 2))
    whole = LinePair(REQUEST, b"HELO", b"HELO", PASSED)
    assert "│ segment boundary" in shown(Outcome(rows=[[cut]]))
    assert "segment" not in shown(Outcome(rows=[[whole]]))


def test_drops_are_shown_with_their_reasons_and_counters_with_names() -> None:
    packets = {DROPPED: 11, "dropped inspection": 1, "dropped closed-connection": 10}
    text = shown(Outcome(packets=packets, counters={"packet": 13, "mask-banner": 1}))
    assert "packets: dropped 11 (inspection 1, closed-connection 10)" in text
    assert "packets with payload +13; mask-banner +1" in text


def test_svg_is_well_formed_loads_nothing_and_is_the_same_each_time() -> None:
    rows = [
        [
            LinePair(REQUEST, b"EXPN <&>", b"XXXX XXX", MASKED),
            LinePair(REPLY, b"250", b"250", PASSED),
        ]
    ]
    images = {
        svg("nfinspect lab demo", [picture(named("ordinary"), Outcome(rows=rows))])
        for _ in range(2)
    }
    (image,) = images
    texts = "".join(ElementTree.fromstring(image).itertext()).replace("\xa0", " ")
    assert "EXPN" in texts
    assert "<&>" in texts
    assert "XXXX" in texts
    assert "nfinspect lab demo" in texts
    assert "url(http" not in image
    assert "@font-face" not in image
    assert "│" not in image  # the frame's sides are lines without gaps
