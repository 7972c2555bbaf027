"""A long, lossy path between the filter and one of its neighbours, simulated in user space.

The kernel's own device for this, netem, is missing in many kernels, and drops packets by their
order. This one drops packets by what they carry, so that two runs suffer the same losses.

A `Link` adds a path next to the lab's cable and routes traffic over it; when it is removed, the
cable is used again::

    client                                      filter
    wire  ----  link_device, delays, loses  ----  outside-link
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyroute2 import netns

from nfinspect.lab.topology import CABLES, FILTER, LabError, full_name

if TYPE_CHECKING:
    from nfinspect.lab.lab import Lab

WIRE = "wire"
"""The interface at the host's end."""

BURST = 10_000
"""Packets that the kernel queues while the device is busy."""

END_TIMEOUT = 10.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Impairments:
    """The properties of one direction of a link."""

    delay: float = 0.010
    """Seconds that every packet takes."""
    rate: float = 0.0
    """Bits per second; 0 is unlimited."""
    queue: int = 1_000_000
    """Bytes that may wait at that rate; further packets are lost."""
    loss: float = 0.0
    """The fraction of packets that are lost."""
    late: float = 0.0
    """The fraction of packets that are delayed by `lateness`, and so reordered."""
    lateness: float = 0.003
    """Seconds."""
    seed: int = 1
    """Determines which packets are affected; see `link_device.Fate`."""


class Link:
    """The link to one neighbour, in use until ``stop``."""

    def __init__(
        self, lab: Lab, neighbour: str, there: Impairments, back: Impairments | None = None
    ) -> None:
        """Connect *neighbour* (`topology.CLIENT` or `SERVER`) and the filter.

        *there* is the direction to the filter, *back* the other one, by default with the same
        properties. Raises LabError if the device does not start.
        """
        self._lab = lab
        near, far = sorted(CABLES, key=lambda cable: cable[0].namespace != neighbour)
        host, gateway = near
        end = f"{gateway.name}-link"
        ends = ((neighbour, WIRE), (FILTER, end))
        with ExitStack() as opened:
            # A namespace has a /run of its own, without their names.
            namespaces = [
                opened.enter_context(
                    Path(netns.NETNS_RUN_DIR, full_name(lab.prefix, where)).open("rb")
                ).fileno()
                for where, _ in ends
            ]
            settings: dict[str, Any] = {
                "there": asdict(there),
                "back": asdict(back or there),
                "ends": [
                    {"namespace": f"/proc/self/fd/{number}", "name": name}
                    for number, (_, name) in zip(namespaces, ends, strict=True)
                ],
            }
            argv = [sys.executable, "-m", "nfinspect.lab.link_device", json.dumps(settings)]
            self._process = lab.popen(FILTER, argv, pass_fds=namespaces)
        lab.at_close(self._process.kill)
        if self._process.stdout is None or self._process.stdout.readline() != "ready\n":
            raise LabError(f"the link does not start: {self._process.communicate()[1].strip()}")
        for where, name in ends:
            # No link-local address, so that the kernel sends nothing by itself; room for a burst.
            link = f"link set {name} addrgenmode none txqueuelen {BURST} up"
            lab.run(where, ["ip", *link.split()])
        for address in host.addresses:
            lab.run(FILTER, ["ip", "route", "add", address, "dev", end])
        for source, target in zip(host.addresses[:2], far[0].addresses[:2], strict=True):
            network = str(ip_interface(f"{target}/{64 if ':' in target else 24}").network)
            lab.run(neighbour, ["ip", "route", "add", network, "dev", WIRE, "src", source])

    def stop(self) -> dict[str, Any]:
        """Remove the link; returns `link_device.Device.counts`."""
        self._process.terminate()
        try:
            out, errors = self._process.communicate(timeout=END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise LabError("the link does not end") from None
        if self._process.returncode != 0:
            raise LabError(f"the link failed: {errors.strip()}")
        counts: dict[str, Any] = json.loads(out)
        return counts
