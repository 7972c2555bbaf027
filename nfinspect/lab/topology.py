"""The three namespaces of the lab: definition, building and removal.

::

    client                    filter                              server
    eth0  192.0.2.10  ------  outside 192.0.2.1
          2001:db8:1::10              2001:db8:1::1
                              inside  198.51.100.1  ------  eth0  198.51.100.25 to .27
                                      2001:db8:2::1               2001:db8:2::25 to ::27

The server has one address for each server program that may run there at the same time. The filter
routes IPv4 and IPv6 between client and server; or it bridges: then its interfaces are ports of a
bridge without addresses, and client and server are neighbours on one link. All addresses are from
the documentation ranges (RFC 5737, RFC 3849). A lab's namespaces are named with a prefix
(``PREFIX-client``), so several labs can coexist. Outside the three namespaces, only ``/run/netns``
and ``/etc/netns`` are touched, where `ip-netns` keeps namespace names and hosts files.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pyroute2 import NetNS, netns

CLIENT, FILTER, SERVER = NAMESPACES = ("client", "filter", "server")

CLIENT_ADDRESS, CLIENT_ADDRESS6 = "192.0.2.10", "2001:db8:1::10"
SERVER_ADDRESS, SERVER_ADDRESS6 = "198.51.100.25", "2001:db8:2::25"
EXIM_ADDRESS, EXIM_ADDRESS6 = "198.51.100.26", "2001:db8:2::26"
SCRIPT_ADDRESS, SCRIPT_ADDRESS6 = "198.51.100.27", "2001:db8:2::27"
CLIENT_NAME, SERVER_NAME = "client.example", "mail.example"

MTU = 1500


@dataclass(frozen=True, slots=True)
class CableEnd:
    """One end of a cable, with its addresses; all networks are /24 and /64."""

    namespace: str
    name: str
    mac: str
    addresses: tuple[str, ...]


OUTSIDE = CableEnd(FILTER, "outside", "02:00:00:00:01:01", ("192.0.2.1", "2001:db8:1::1"))
INSIDE = CableEnd(FILTER, "inside", "02:00:00:00:02:01", ("198.51.100.1", "2001:db8:2::1"))
BRIDGE = "bridge"
"""With a bridging filter, `OUTSIDE` and `INSIDE` are its ports."""
CLIENT_ADDRESSES = (CLIENT_ADDRESS, CLIENT_ADDRESS6)
SERVER_ADDRESSES = (
    SERVER_ADDRESS,
    SERVER_ADDRESS6,
    EXIM_ADDRESS,
    EXIM_ADDRESS6,
    SCRIPT_ADDRESS,
    SCRIPT_ADDRESS6,
)
CABLES = (
    # an end host; the filter's interface towards it, which is also its gateway
    (CableEnd(CLIENT, "eth0", "02:00:00:00:01:10", CLIENT_ADDRESSES), OUTSIDE),
    (CableEnd(SERVER, "eth0", "02:00:00:00:02:25", SERVER_ADDRESSES), INSIDE),
)

END_SYSCTLS = (
    # IPv6 addresses are usable at once, and router advertisements are ignored.
    "net.ipv6.conf.all.disable_ipv6=0",
    "net.ipv6.conf.default.disable_ipv6=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.default.accept_ra=0",
    # One connection's metrics must not influence the next.
    "net.ipv4.tcp_no_metrics_save=1",
)
FILTER_SYSCTLS = (
    *END_SYSCTLS[:4],
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
)

BRIDGE_SYSCTLS = (
    "net.ipv6.conf.all.disable_ipv6=1",
    "net.ipv6.conf.default.disable_ipv6=1",
)
"""No addresses at all, not even link-local ones."""

HOST_FILES = {
    "hosts": f"""\
127.0.0.1 localhost
::1 localhost
{CLIENT_ADDRESS} {CLIENT_NAME}
{CLIENT_ADDRESS6} {CLIENT_NAME}
{SERVER_ADDRESS} {SERVER_NAME}
{SERVER_ADDRESS6} {SERVER_NAME}
""",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n",
    "resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
}
"""Files that processes in a lab see instead of those in /etc, so that names resolve without a
network."""

OFFLOADS = ("tx", "tso", "gso", "gro")
"""Offloads by their ethtool names. They are switched off so that captures show frames as on a wire:
within the MTU, with checksums filled in."""


class LabError(Exception):
    """The lab cannot do what was requested; the message is for the user."""


def full_name(prefix: str, namespace: str) -> str:
    """The `ip-netns` name of a *namespace* of this lab."""
    return f"{prefix}-{namespace}"


def is_up(prefix: str) -> bool:
    """Whether any namespace of the lab exists."""
    return any(full_name(prefix, name) in netns.listnetns() for name in NAMESPACES)


def build(prefix: str, *, offloads: bool = True, bridge: bool = False) -> None:
    """Create the namespaces, cables, addresses and routes of the lab *prefix*.

    Without *offloads* no packet exceeds the MTU, and all checksums are filled in; with them the
    filter sees packets of up to 64 KiB, as with a modern network card. With *bridge* the filter
    bridges instead of routing. Raises LabError if the lab already exists, or if it cannot be built;
    then nothing is left behind.
    """
    require_root()
    require_programs("ip", "sysctl", "ethtool")
    if is_up(prefix):
        raise LabError(f"the lab '{prefix}' is already up")
    try:
        _build(prefix, offloads, bridge)
    except BaseException as error:
        remove(prefix)
        if isinstance(error, OSError | subprocess.CalledProcessError):
            raise LabError(f"the lab could not be built: {error}") from error
        raise


def _build(prefix: str, offloads: bool, bridge: bool) -> None:
    with ExitStack() as stack:
        sides: dict[str, NetNS] = {}
        with _signals_held():
            for name in NAMESPACES:
                netns.create(full_name(prefix, name))
                sides[name] = stack.enter_context(NetNS(full_name(prefix, name)))
        for name in NAMESPACES:
            etc = _etc(prefix, name)
            etc.mkdir(parents=True, exist_ok=True)
            for file, text in HOST_FILES.items():
                (etc / file).write_text(text)
            filter_sysctls = BRIDGE_SYSCTLS if bridge else FILTER_SYSCTLS
            sysctls = filter_sysctls if name == FILTER else END_SYSCTLS
            execute(prefix, name, ["sysctl", "-qw", *sysctls])
        if bridge:
            sides[FILTER].link("add", ifname=BRIDGE, kind="bridge", state="up")
        for host, gateway in CABLES:
            _connect(prefix, sides, host, gateway, bridge)
    if not offloads:
        switches = [word for offload in OFFLOADS for word in (offload, "off")]
        for end in (end for cable in CABLES for end in cable):
            execute(prefix, end.namespace, ["ethtool", "-K", end.name, *switches])


@contextmanager
def _signals_held() -> Iterator[None]:
    # pyroute2 forks for each namespace and ends the child with SIGTERM. Our handlers would run in
    # the child too (Ctrl-C as well), and take down what the parent has just built.
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _connect(
    prefix: str, sides: dict[str, NetNS], host: CableEnd, gateway: CableEnd, bridge: bool
) -> None:
    port = replace(gateway, addresses=()) if bridge else gateway
    ends = [(sides[end.namespace], end) for end in (host, port)]
    (host_side, _), (filter_side, _) = ends
    peer = {"ifname": gateway.name, "net_ns_fd": full_name(prefix, gateway.namespace)}
    host_side.link("add", ifname=host.name, kind="veth", peer=peer)
    for side, end in ends:
        _set_up(side, end)
    for address in gateway.addresses:
        everything = "::/0" if ":" in address else "0.0.0.0/0"
        if bridge:
            host_side.route("add", dst=everything, oif=_index(host_side, host.name))
        else:
            host_side.route("add", dst=everything, gateway=address)
    if bridge:
        index, master = (_index(filter_side, name) for name in (port.name, BRIDGE))
        filter_side.link("set", index=index, master=master)
    for side, end in ends:
        _wait_until_up(side, end)


def _set_up(side: NetNS, end: CableEnd) -> None:
    side.link("set", index=_index(side, "lo"), state="up")
    index = _index(side, end.name)
    side.link("set", index=index, address=end.mac, mtu=MTU, state="up")
    for address in end.addresses:
        side.addr("add", index=index, address=address, prefixlen=64 if ":" in address else 24)


def _wait_until_up(side: NetNS, end: CableEnd) -> None:
    # It takes up to a second after both ends are up until the kernel reports a carrier and sends.
    deadline = time.monotonic() + 5
    index = _index(side, end.name)
    while side.get_links(index)[0].get_attr("IFLA_OPERSTATE") != "UP":
        if time.monotonic() > deadline:
            raise LabError(f"{end.name} of {end.namespace} does not come up")
        time.sleep(0.01)


def _index(side: NetNS, name: str) -> int:
    found: list[int] = side.link_lookup(ifname=name)
    return found[0]


def remove(prefix: str) -> None:
    """End all processes in the lab *prefix* and remove its namespaces, as far as they exist."""
    standing = [name for name in NAMESPACES if full_name(prefix, name) in netns.listnetns()]
    end_processes(prefix, standing)
    for name in standing:
        netns.remove(full_name(prefix, name))
    for name in NAMESPACES:
        shutil.rmtree(_etc(prefix, name), ignore_errors=True)


def end_processes(prefix: str, namespaces: Sequence[str]) -> None:
    """End the processes in *namespaces* of the lab: with SIGTERM, after 2 s with SIGKILL."""
    for ending, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0)):
        deadline = time.monotonic() + patience
        pids = _processes(prefix, namespaces)
        for pid in pids:
            _kill(pid, ending)
        while pids and time.monotonic() < deadline:
            time.sleep(0.02)
            pids = _processes(prefix, namespaces)
        if not pids:
            return


def _processes(prefix: str, namespaces: Sequence[str]) -> list[int]:
    inodes = set()
    for name in namespaces:
        status = (Path(netns.NETNS_RUN_DIR) / full_name(prefix, name)).stat()
        inodes.add((status.st_dev, status.st_ino))
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                status = (entry / "ns/net").stat()
                running = "Z" not in (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue  # the process has ended
            if running and (status.st_dev, status.st_ino) in inodes:
                found.append(int(entry.name))
    return found


def _kill(pid: int, ending: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, ending)


def command(prefix: str, namespace: str, argv: Sequence[str | Path]) -> list[str]:
    """The command line that runs *argv* in a namespace of the lab, with the lab's hosts file."""
    return ["ip", "netns", "exec", full_name(prefix, namespace), *map(str, argv)]


def execute(prefix: str, namespace: str, argv: Sequence[str | Path]) -> str:
    """Run a short administrative command in a namespace and return its output.

    Raises LabError with its error message if it fails.
    """
    done = subprocess.run(
        command(prefix, namespace, argv), capture_output=True, text=True, timeout=30
    )
    if done.returncode != 0:
        raise LabError(f"in {namespace}: {argv[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def require_root() -> None:
    """Raise LabError unless this process may create namespaces."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root to create network namespaces: run it with sudo")


PACKAGES = {
    "ip": "iproute2",
    "sysctl": "procps",
    "ethtool": "ethtool",
    "tcpdump": "tcpdump",
    "tshark": "tshark",
    "swaks": "swaks",
    "postfix": "postfix",
    "iptables": "iptables",
    "nft": "nftables",
    "openssl": "openssl",
    "nmap": "nmap",
}
"""The Debian package of each program the lab may need."""


def require_programs(*programs: str) -> None:
    """Raise LabError if *programs* are missing, naming their Debian packages."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        packages = " ".join(sorted({PACKAGES[program] for program in missing}))
        raise LabError(
            f"missing: {', '.join(missing)}; run script/setup, or: apt-get install {packages}"
        )


def _etc(prefix: str, namespace: str) -> Path:
    return Path("/etc/netns") / full_name(prefix, namespace)
