"""The three namespaces of the lab: what stands where, built and removed.

::

    client                    filter                              server
    eth0  192.0.2.10  ------  outside 192.0.2.1
          2001:db8:1::10              2001:db8:1::1
                              inside  198.51.100.1  ------  eth0  198.51.100.25 to .27
                                      2001:db8:2::1               2001:db8:2::25 to ::27

The server has an address for each of the servers that may run there at the same time. The filter
routes between the two, in both families; or it bridges, its interfaces are ports of a bridge without
any address, and client and server are neighbours on one link. All addresses are of the documentation
ranges (RFC 5737, RFC 3849). A lab is named by a prefix, which its namespaces carry (``PREFIX-client``):
several labs stand side by side. Nothing outside the three namespaces is touched but ``/run/netns``
and ``/etc/netns``, where `ip-netns` keeps the name of a namespace and its hosts file.
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
class Interface:
    """One end of a cable, with its addresses; all networks are /24 and /64."""

    namespace: str
    name: str
    mac: str
    addresses: tuple[str, ...]


OUTSIDE = Interface(FILTER, "outside", "02:00:00:00:01:01", ("192.0.2.1", "2001:db8:1::1"))
INSIDE = Interface(FILTER, "inside", "02:00:00:00:02:01", ("198.51.100.1", "2001:db8:2::1"))
BRIDGE = "bridge"
"""Of which `OUTSIDE` and `INSIDE` are the ports, where the filter bridges."""
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
    # an end host, the filter's interface towards it: also the host's gateway
    (Interface(CLIENT, "eth0", "02:00:00:00:01:10", CLIENT_ADDRESSES), OUTSIDE),
    (Interface(SERVER, "eth0", "02:00:00:00:02:25", SERVER_ADDRESSES), INSIDE),
)

END_SYSCTLS = (
    # Addresses are usable at once, and no router of the machine's own speaks.
    "net.ipv6.conf.all.disable_ipv6=0",
    "net.ipv6.conf.default.disable_ipv6=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.default.accept_ra=0",
    # What one connection met must not shape the next.
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
"""No address at all: not even one that the kernel gives itself."""

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
"""What processes in a lab see instead of the machine's /etc: no name needs a network to resolve."""

OFFLOADS = ("tx", "tso", "gso", "gro")
"""Switched off where a capture is to show what a wire would: frames within the MTU, whose checksums
are filled in. In ethtool's words."""


class LabError(Exception):
    """The lab cannot do what was asked; the message is for the person who asked."""


def full_name(prefix: str, namespace: str) -> str:
    """The name `ip-netns` knows the *namespace* of this lab by."""
    return f"{prefix}-{namespace}"


def is_up(prefix: str) -> bool:
    """Whether any namespace of the lab exists."""
    return any(full_name(prefix, name) in netns.listnetns() for name in NAMESPACES)


def build(prefix: str, *, offloads: bool = True, bridge: bool = False) -> None:
    """Make the namespaces, cables, addresses and routes of the lab *prefix*.

    Without *offloads* every packet is a frame of its own with its checksum filled in; with them the
    filter sees what it sees on a modern network card, packets of up to 64 KiB. With *bridge* the
    filter bridges instead of routing. Raises LabError if such a lab stands already, or if namespaces
    cannot be made; nothing is left behind then.
    """
    require_root()
    require_programs("ip", "sysctl", "ethtool")
    if is_up(prefix):
        raise LabError(f"a lab '{prefix}' is up already")
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
    # pyroute2 forks for each namespace and ends the child by SIGTERM. A handler of ours would run
    # in the child too, as would a Ctrl-C, and take down there what the parent has just built.
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _connect(
    prefix: str, sides: dict[str, NetNS], host: Interface, gateway: Interface, bridge: bool
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


def _set_up(side: NetNS, end: Interface) -> None:
    side.link("set", index=_index(side, "lo"), state="up")
    index = _index(side, end.name)
    side.link("set", index=index, address=end.mac, mtu=MTU, state="up")
    for address in end.addresses:
        side.addr("add", index=index, address=address, prefixlen=64 if ":" in address else 24)


def _wait_until_up(side: NetNS, end: Interface) -> None:
    # The kernel reports a carrier, and sends the first packet, up to a second after both ends are up.
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
    """End every process in the lab *prefix* and remove its namespaces; what is not there is fine."""
    standing = [name for name in NAMESPACES if full_name(prefix, name) in netns.listnetns()]
    end_processes(prefix, standing)
    for name in standing:
        netns.remove(full_name(prefix, name))
    for name in NAMESPACES:
        shutil.rmtree(_etc(prefix, name), ignore_errors=True)


def end_processes(prefix: str, namespaces: Sequence[str]) -> None:
    """End the processes that run in *namespaces* of the lab: politely, after 2 s for good."""
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
                continue  # ended meanwhile
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
    """Run a short administrative command in a namespace and return what it printed.

    Raises LabError with the command's own words if it fails.
    """
    done = subprocess.run(
        command(prefix, namespace, argv), capture_output=True, text=True, timeout=30
    )
    if done.returncode != 0:
        raise LabError(f"in {namespace}: {argv[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def require_root() -> None:
    """Raise LabError unless namespaces can be made."""
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces, which only root may: run it with sudo")


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
    """Raise LabError that names the Debian packages of *programs* that are not installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        packages = " ".join(sorted({PACKAGES[program] for program in missing}))
        raise LabError(
            f"missing: {', '.join(missing)}; run script/setup, or: apt-get install {packages}"
        )


def _etc(prefix: str, namespace: str) -> Path:
    return Path("/etc/netns") / full_name(prefix, namespace)
