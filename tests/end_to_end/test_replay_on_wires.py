"""script/replay-on-wires: captures played by two interfaces through a filter elsewhere.

Here the sender is the client's namespace, to which the server's interface has moved, and the filter is that
of a lab.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from nfinspect import cli
from nfinspect.lab.lab import Lab
from nfinspect.lab.player import CLIENT_SIDE, SERVER_SIDE, Player
from nfinspect.lab.topology import CABLES, CLIENT
from nfinspect.policy import default_policy
from nfinspect.replay.playing import Playing, Setting
from tests.capture.recorded import conversation
from tests.end_to_end.test_lab_replay import MASKED, PCAPS, STRICT, written
from tests.property.test_captures import fragmented

ROOT = Path(__file__).parents[2]
RECORDED = [
    PCAPS / f"{name}.outside.pcap" for name in ("lost-packets", "postfix-ipv6", "unasked-354")
]

Played = tuple[int, dict, str]


class Boxes:
    """A sender and a filter."""

    def __init__(self, *, bridge: bool) -> None:
        self.lab = Lab(offloads=False, bridge=bridge)
        self._way = ["--bridge"]
        if not bridge:
            self._way = ["--gateways", ",".join(port.mac for _, port in CABLES)]

    def play(self, captures: Sequence[Path], config: Path | None = None) -> Played:
        """Play *captures* through a filter with *config*; the status, the report and the errors."""
        source = Playing(captures, Setting(default_policy(), bridge=self.lab.bridge)).source
        clients, servers = source.ends
        Player(self.lab, clients=clients, servers=servers)
        running = self.lab.filter(config)
        words = [ROOT / "script/replay-on-wires", CLIENT_SIDE, SERVER_SIDE, *self._way, "--json"]
        done = self.lab.run(CLIENT, [*words, *captures], check=False, timeout=300)
        running.end()
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr


@pytest.fixture(params=[False, True], ids=["routed", "bridged"])
def boxes(request: pytest.FixtureRequest) -> Iterator[Boxes]:
    found = Boxes(bridge=request.param)
    with found.lab:
        yield found


def test_captures_come_out_as_in_replay_and_the_cards_come_back(
    boxes: Boxes, tmp_path: Path
) -> None:
    fragments = written(tmp_path, fragmented(conversation(MASKED, port=30_000)))
    status, report, errors = boxes.play([*RECORDED, *fragments])
    assert errors == ""
    assert (report["differences"], report["undecided"]) == ([], [])
    assert status == 0
    assert report["packets"] > 100
    assert report["came_out"]["to_server"] > 40
    assert report["events"] is None
    links = boxes.lab.run(CLIENT, ["ip", "-br", "link"]).stdout
    assert {line.split("@")[0].split()[0] for line in links.splitlines()} >= {
        CLIENT_SIDE,
        SERVER_SIDE,
    }


def test_filter_with_another_configuration_is_found_out(boxes: Boxes, tmp_path: Path) -> None:
    config = tmp_path / "strict.cfg"
    config.write_text(f"class-map inspection_default\n match default-inspection-traffic\n{STRICT}")
    capture = PCAPS / "ordinary.outside.pcap"
    status, report, _ = boxes.play([capture], config)
    assert status == 1
    assert {each["side"] for each in report["differences"]} >= {"to the server"}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--interfaces", "eth1", "--bridge"), "'eth1' is not CLIENT,SERVER"),
        (("--interfaces", "eth1,eth2"), "--interfaces needs either --bridge or --gateways"),
        (("--gateways", "02:00:00:00:01:01"), "is not MAC,MAC"),
        (
            ("--gateways", "02:00:00:00:01:01,02:00:00:00:02:01"),
            "--gateways needs --interfaces",
        ),
        (("--interfaces", "a,b", "--bridge", "--find-speed"), "losses are counted on the filter"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], error: str) -> None:
    capture = str(PCAPS / "ordinary.outside.pcap")
    done = CliRunner().invoke(cli.main, ["lab", "replay", capture, *words], prog_name="nfinspect")
    assert done.exit_code == 2
    assert error in " ".join(done.stderr.split())


def test_cards_that_are_missing_or_in_use() -> None:
    capture = str(PCAPS / "ordinary.outside.pcap")
    with Lab() as lab:
        for names, error in (
            ("eth7,eth8", "there is no interface eth7"),
            ("eth0,eth0", "eth0 cannot be both sides"),
            ("eth0,eth9", "eth0 has an address (192.0.2.10, 2001:db8:1::10)"),
        ):
            words = ["lab", "replay", capture, "--interfaces", names, "--bridge"]
            nfinspect = [ROOT / ".venv/bin/nfinspect", *words]
            done = lab.run(CLIENT, nfinspect, check=False)
            assert done.returncode == 1
            assert error in done.stderr
