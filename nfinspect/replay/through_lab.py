"""Captures played through the live filter of a lab (see `playing`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nfinspect.lab.lab import Lab
from nfinspect.lab.player import Played, Player
from nfinspect.lab.topology import CABLES
from nfinspect.replay import tapped
from nfinspect.replay.playable import LinkAddresses
from nfinspect.replay.playing import Playing, PlayOutcome, Setting
from nfinspect.replay.tape import comparable

EVENTS = "events.json"


def through_lab(captures: Sequence[Path], setting: Setting) -> PlayOutcome:
    """Play *captures*, one after another, through a live filter.

    Raises CannotPlayError, NotACaptureError, OSError and LabError.
    """
    playing = Playing(captures, setting)
    return playing.compare(*_play(playing, setting))


def _play(playing: Playing, setting: Setting) -> tuple[Played, list[dict[str, Any]]]:
    """What came out of the filter, and its events."""
    with Lab(offloads=False, bridge=setting.bridge) as lab:
        clients, servers = playing.source.ends
        player = Player(lab, clients=clients, servers=servers)
        file, events = lab.directory / "played.pcap", lab.directory / EVENTS
        playing.write(file, _link(bridge=setting.bridge))
        config = setting.filter_config or setting.config
        running = lab.filter(config, arguments=["--log-rate", "0", "--json-file", str(events)])
        played = player.play(file, playing.turns(), running)
        running.stop(held=len(playing.source.packets))
        live = [comparable(json.loads(line)) for line in events.read_text().splitlines()]
        if setting.keep is not None:
            tapped.keep(setting.keep, played)
            (setting.keep / EVENTS).write_bytes(events.read_bytes())
    return played, live


def _link(*, bridge: bool) -> LinkAddresses:
    """A bridge is not addressed: the hosts are each other's neighbours."""
    (client, outside), (server, inside) = CABLES
    ends = (client, server, server, client) if bridge else (client, outside, server, inside)
    return LinkAddresses(*(bytes.fromhex(end.mac.replace(":", "")) for end in ends))
