"""What `nfinspect replay` says of captures that were made in the lab, whose causes are known: the text
alone must lead to the cause, and where nothing is wrong it must name nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from scapy.layers.inet import TCP
from scapy.utils import PcapReader

from tests.capture.recorded import replayed
from tests.end_to_end.lab_bench import Bench
from tests.end_to_end.lab_captures import (
    CAPTURES,
    CLEAN,
    CLOSED,
    HELD,
    MASKED,
    NOTED,
    NOTHING,
    UNINSPECTED,
    WOULD_CLOSE,
    LabCapture,
)

HEADINGS = (CLOSED, WOULD_CLOSE, MASKED, HELD, UNINSPECTED, NOTED)
WRONG = [capture for capture in CAPTURES if capture.cause != CLEAN]
RIGHT = [capture for capture in CAPTURES if capture.cause == CLEAN]


@pytest.fixture(scope="module")
def bench_with() -> Iterator[Callable[[bool], Bench]]:
    """The bench with offloads, or the one without; each is set up when first needed."""
    benches: dict[bool, Bench] = {}
    with ExitStack() as stack:

        def get(offloads: bool) -> Bench:
            if offloads not in benches:
                benches[offloads] = stack.enter_context(Bench(offloads=offloads))
            return benches[offloads]

        yield get


def report(capture: LabCapture, bench: Bench, directory: Path) -> tuple[str, str, Path]:
    """The text of a replay, what it begins with, and the capture."""
    file = directory / f"{capture.name}.pcap"
    capture.record(bench, file)
    config = []
    if capture.config is not None:
        (directory / "map.cfg").write_text(capture.config)
        config = ["--config", directory / "map.cfg"]
    text = replayed(file, *config)
    after = "\nwhat happened\n" if "\nwhat happened\n" in text else "\nconnections\n"
    return text, text[: text.index(after)], file


def packet_with(line: bytes, file: Path, count: int) -> int:
    """The number of the *count*-th packet in which a line begins like this."""
    found = []
    with PcapReader(str(file)) as packets:
        for number, packet in enumerate(packets, 1):
            payload = bytes(packet[TCP].payload) if TCP in packet else b""
            if payload.startswith(line) or b"\n" + line in payload:
                found.append(number)
    return found[count - 1]


def headings(lead: str) -> list[str]:
    return [each for each in HEADINGS if f"\n{each}" in lead]


@pytest.mark.parametrize("capture", WRONG, ids=lambda capture: capture.name)
def test_text_names_the_cause(
    capture: LabCapture, bench_with: Callable[[bool], Bench], tmp_path: Path
) -> None:
    text, lead, file = report(capture, bench_with(capture.offloads), tmp_path)
    place = 0
    for said in capture.lead:  # in this order
        assert said in lead[place:], f"missing: {said}\n{lead}"
        place += lead[place:].index(said)
    for said in capture.says:
        assert said in text
    if capture.lead:
        assert headings(lead)[0] == capture.lead[0], lead
    if capture.at:
        assert f"packet {packet_with(capture.at, file, capture.count)}\n" in lead, lead
    assert (NOTHING in lead) is (headings(lead) in ([], [NOTED]))


@pytest.mark.parametrize("capture", RIGHT, ids=lambda capture: capture.name)
def test_nothing_is_named_where_nothing_is_wrong(
    capture: LabCapture, bench_with: Callable[[bool], Bench], tmp_path: Path
) -> None:
    _, lead, _ = report(capture, bench_with(capture.offloads), tmp_path)
    assert headings(lead) == list(capture.lead[:1]), lead
    if not capture.lead:
        assert NOTHING in lead


def test_enough_causes_are_covered() -> None:
    assert len({capture.cause for capture in WRONG}) >= 30
    assert len(RIGHT) >= 10
