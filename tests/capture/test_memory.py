"""Replay's memory grows with the open connections, not with the capture."""

from __future__ import annotations

import gc
import json
import tracemalloc
from pathlib import Path

import pytest

from nfinspect.cli.replay import OPTIONS
from nfinspect.engine import Engine
from nfinspect.replay import spool
from nfinspect.replay.capture import Capture
from nfinspect.replay.driver import Replay
from nfinspect.replay.output import CaptureWriter
from tests.property.test_captures import of_port
from tests.unit.replay.mail import ethernet, session
from tests.unit.replay.stand_in import POLICY, pcap

CONNECTIONS = 400
"""In the smaller capture; one starts each second, so many have been forgotten by the end."""


def long_capture(path: Path, connections: int) -> None:
    one = session()
    header = ethernet(one[0])[:14]
    interval = 1_000_000 // len(one)  # microseconds between packets
    with path.open("wb") as out:
        out.write(pcap([]))
        for number in range(connections):
            packets = [header + of_port(packet, 1024 + number) for packet in one]
            out.write(pcap(packets, start=1_700_000_000 + number, step=interval)[24:])


def peak(path: Path, out: Path) -> tuple[int, int, int]:
    """Peak memory in bytes; connections and packets in the result."""
    # Garbage that waits for its collection must not be taken for growth, nor depend on what earlier
    # tests have left: the heap so far is set aside, and collections are frequent.
    gc.freeze()
    gc.collect()
    thresholds = gc.get_threshold()
    gc.set_threshold(700, 2, 2)
    tracemalloc.start()
    try:
        with path.open("rb", buffering=0) as file, CaptureWriter(out) as writer:
            run = Replay(POLICY, Engine(POLICY, OPTIONS, started=0.0), writer)
            run.feed(Capture(file, path.name))
            result = run.finish()
            text = out.with_suffix(".json")
            with text.open("w") as json_file:
                result.write_json(json_file)
            result.close()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    report = json.loads(text.read_text())
    return most, len(report["connections"]), report["summary"]["packets"]["read"]


def test_capture_four_times_as_long_needs_no_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", 64 * 1024)
    small, large = tmp_path / "small.pcap", tmp_path / "large.pcap"
    long_capture(small, CONNECTIONS)
    long_capture(large, 4 * CONNECTIONS)
    once, connections, packets = peak(small, tmp_path / "small.out")
    fourfold, four_connections, four_packets = peak(large, tmp_path / "large.out")
    assert (four_connections, four_packets) == (4 * connections, 4 * packets)
    assert connections == CONNECTIONS
    assert fourfold < once * 1.05 + 100_000
