"""Captures played through a filter on another machine (see `playing`).

Its events stay there, so what is compared is what comes out on either side.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from nfinspect.lab.wires import Wires
from nfinspect.replay import tapped
from nfinspect.replay.playable import LinkAddresses
from nfinspect.replay.playing import Playing, PlayOutcome, Setting


def through_wires(
    captures: Sequence[Path],
    setting: Setting,
    interfaces: tuple[str, str],
    gateways: tuple[bytes, bytes] | None,
) -> PlayOutcome:
    """Play *captures*, one after another, by two *interfaces*: the client's, the server's.

    *gateways*: the link-layer addresses of a filter that routes, towards either. Raises CannotPlayError,
    NotACaptureError, OSError and LabError.
    """
    playing = Playing(captures, setting)
    with (
        tempfile.TemporaryDirectory(prefix="nfinspect-") as directory,
        Wires(*interfaces) as wires,
    ):
        client, server = (bytes.fromhex(mac.replace(":", "")) for mac in wires.macs)
        # A bridge is not addressed: the hosts are each other's neighbours.
        beyond_client, beyond_server = gateways or (server, client)
        file = Path(directory) / "played.pcap"
        playing.write(file, LinkAddresses(client, beyond_client, server, beyond_server))
        played = wires.play(file, playing.turns())
    if setting.keep is not None:
        tapped.keep(setting.keep, played)
    return playing.compare(played, None)
