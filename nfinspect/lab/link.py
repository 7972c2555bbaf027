"""A long and lossy way between the filter and one of its neighbours, made in user space.

The kernel's own device for that, netem, is missing in many a kernel, and it loses by the order of
packets. This one loses by what they carry: a comparison of two runs compares the same losses.

A `Link` lays a way of its own beside the cable of the lab and leads the routes over it; when it is
taken away, the cable is in use again::

    client                                      filter
    wire  ----  link_device, delays, loses  ----  outside-link
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from ipaddress import ip_interface
from typing import TYPE_CHECKING, Any

from pyroute2 import netns

from nfinspect.lab.topology import CABLES, FILTER, LabError, full_name

if TYPE_CHECKING:
    from nfinspect.lab.lab import Lab

WIRE = "wire"
"""The device at the host's end."""

BURST = 10_000
"""Packets that the kernel keeps for the device while that is busy."""

END_TIMEOUT = 10.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Way:
    """One direction of a link."""

    delay: float = 0.010
    """Seconds that every packet takes."""
    rate: float = 0.0
    """Bits a second; 0 is as fast as it goes."""
    queue: int = 1_000_000
    """Bytes that may wait for their turn at that rate; what is more is lost."""
    loss: float = 0.0
    """The share of packets that is lost, of 1."""
    late: float = 0.0
    """The share of packets that comes later than the others, by `lateness`."""
    lateness: float = 0.003
    """Seconds."""
    seed: int = 1
    """Of the chance that decides which; see `link_device.Fate`."""


class Link:
    """The link of one neighbour, in use from the beginning to the end of a ``with`` block."""

    def __init__(self, lab: Lab, neighbour: str, there: Way, back: Way | None = None) -> None:
        """Between *neighbour* (`topology.CLIENT` or `SERVER`) and the filter; *there* leads to the filter.

        Without *back* that is as *there* is. Raises LabError if the device does not start.
        """
        self._lab = lab
        near, far = sorted(CABLES, key=lambda cable: cable[0].namespace != neighbour)
        host, gateway = near
        end = f"{gateway.name}-link"
        ends = ((neighbour, WIRE), (FILTER, end))
        settings: dict[str, Any] = {
            "there": asdict(there),
            "back": asdict(back or there),
            "ends": [
                {"namespace": f"{netns.NETNS_RUN_DIR}/{full_name(lab.prefix, where)}", "name": name}
                for where, name in ends
            ],
        }
        argv = [sys.executable, "-m", "nfinspect.lab.link_device", json.dumps(settings)]
        self._process = lab.popen(FILTER, argv)
        lab.at_close(self._process.kill)
        if self._process.stdout is None or self._process.stdout.readline() != "ready\n":
            raise LabError(f"the link does not start: {self._process.communicate()[1].strip()}")
        for where, name in ends:
            # Without an address of its own nothing speaks there unasked; a burst must fit.
            link = f"link set {name} addrgenmode none txqueuelen {BURST} up"
            lab.run(where, ["ip", *link.split()])
        for address in host.addresses:
            lab.run(FILTER, ["ip", "route", "add", address, "dev", end])
        for source, target in zip(host.addresses[:2], far[0].addresses[:2], strict=True):
            network = str(ip_interface(f"{target}/{64 if ':' in target else 24}").network)
            lab.run(neighbour, ["ip", "route", "add", network, "dev", WIRE, "src", source])

    def stop(self) -> dict[str, Any]:
        """Take the link away; returns `link_device.Device.counts`."""
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
