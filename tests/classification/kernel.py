"""Runs in the filter's namespace: applies the rules of a configuration, as a user would, and says which SYNs
have reached the queue. One JSON request a line on stdin, one answer a line on stdout."""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from typing import Any

from click.testing import CliRunner

from nfinspect.arrival import Arrival
from nfinspect.cli.rules import rules
from nfinspect.live.queue import Queue

NETLINK_NETFILTER = 12
IPCTNL_MSG_CT_DELETE = 1 << 8 | 2
NLM_F_REQUEST_ACK = 1 | 4


def flush_connections() -> None:
    """Let the kernel forget all connections, and with them their marks."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        header = struct.pack("=IHHII", 20, IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST_ACK, 1, 0)
        netlink.send(header + bytes(4))
        error = struct.unpack_from("=i", netlink.recv(4096), 16)[0]
        if error:
            raise OSError(-error, "cannot flush connection tracking")


def apply(options: list[str]) -> dict[str, Any]:
    """Put the rules in place of those before."""
    # Not added to what is there: what is left of the policy before would hide a fault.
    CliRunner().invoke(rules, ["--remove"])
    result = CliRunner().invoke(rules, [*options, "--apply"])
    flush_connections()
    return {"status": result.exit_code, "output": result.output}


def read(queue: Queue) -> list[dict[str, Any]]:
    """Return the SYNs that wait in the queue, and let everything pass."""
    found: list[dict[str, Any]] = []

    def take(arrival: Arrival) -> None:
        queue.accept(arrival.token)
        datagram = arrival.datagram
        tcp = datagram[20:] if datagram[0] >> 4 == 4 else datagram[40:]
        if len(tcp) >= 20 and tcp[13] == 2:  # SYN alone
            number = int.from_bytes(tcp[4:8], "big")
            found.append(
                {"number": number, "ingress": arrival.ingress, "egress": arrival.egress}
                | {"datagram": datagram.hex()}
            )

    queue.receive(take, time.monotonic() + 5)
    return found


def main() -> None:
    queue = Queue(0)
    for line in sys.stdin:
        request = json.loads(line)
        answer = apply(request["apply"]) if "apply" in request else {"queued": read(queue)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
