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
and ``/etc/netns`` are touched, where `ip-netns` keeps namespace names and hosts files, and the lab's
own directory (`place`).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pyroute2 import NetNS, netns

from nfinspect.lab import place

CLIENT, FILTER, SERVER = NAMESPACES = ("client", "filter", "server")

CLIENT_ADDRESS, CLIENT_ADDRESS6 = "192.0.2.10", "2001:db8:1::10"
SERVER_ADDRESS, SERVER_ADDRESS6 = "198.51.100.25", "2001:db8:2::25"
EXIM_ADDRESS, EXIM_ADDRESS6 = "198.51.100.26", "2001:db8:2::26"
SCRIPT_ADDRESS, SCRIPT_ADDRESS6 = "198.51.100.27", "2001:db8:2::27"
OUTSIDE_ADDRESS = "192.0.2.25"
"""Of the server, as seen from outside, where the filter translates addresses; the filter answers ARP
for it."""
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
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n",
    "resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
}
"""Files that processes in a lab see instead of those in /etc, so that names resolve without a
network; `hosts` is another."""

OFFLOADS = ("tx", "tso", "gso", "gro")
"""Offloads by their ethtool names. They are switched off so that captures show frames as on a wire:
within the MTU, with checksums filled in."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What can differ from lab to lab."""

    offloads: bool = True
    """Without them no packet exceeds the MTU, and all checksums are filled in; with them the filter
    sees packets of up to 64 KiB, as with a modern network card."""
    bridge: bool = False
    """The filter bridges instead of routing."""
    nat: bool = False
    """From outside, the server has `OUTSIDE_ADDRESS`: the filter has that address too, and the client's
    hosts file. Whoever runs the filter has to translate it."""
    ipv6: bool = False
    """The names in the lab have IPv6 addresses, instead of IPv4."""


DEFAULT = Shape()


class LabError(Exception):
    """The lab cannot do what was requested; the message is for the user."""


def hosts(namespace: str, shape: Shape) -> str:
    """The hosts file of a namespace."""
    server = [SERVER_ADDRESS, SERVER_ADDRESS6]
    if shape.nat and namespace == CLIENT:
        server = [OUTSIDE_ADDRESS]
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    for name, addresses in ((CLIENT_NAME, CLIENT_ADDRESSES), (SERVER_NAME, server)):
        lines += [f"{each} {name}" for each in addresses if (":" in each) is shape.ipv6]
    return "\n".join(lines) + "\n"


def full_name(prefix: str, namespace: str) -> str:
    """The `ip-netns` name of a *namespace* of this lab."""
    return f"{prefix}-{namespace}"


def addresses(end: CableEnd, shape: Shape) -> tuple[str, ...]:
    """What *end* has in a lab of this shape; of a bridge's port, what it belongs to."""
    if end.namespace != FILTER:
        return end.addresses
    if shape.bridge:
        return (f"port of {BRIDGE}",)
    return (*end.addresses, OUTSIDE_ADDRESS) if shape.nat and end is OUTSIDE else end.addresses


def is_up(prefix: str) -> bool:
    """Whether any part of the lab exists."""
    return place.directory(prefix).exists() or bool(_names(prefix))


def exists(prefix: str, namespace: str) -> bool:
    """Whether the lab has the *namespace*."""
    return full_name(prefix, namespace) in netns.listnetns()


def _names(prefix: str) -> list[str]:
    return [name for name in NAMESPACES if exists(prefix, name)]


def require_name(prefix: str) -> None:
    """Raise LabError unless *prefix* can be the name of a lab."""
    if not place.NAME.fullmatch(prefix):
        raise LabError(f"'{prefix}' is no name for a lab: letters, digits, _ . and -, at most 60")


def build(prefix: str, shape: Shape = DEFAULT) -> None:
    """Create the namespaces, cables, addresses and routes of the lab *prefix*.

    Until somebody else is recorded, this process keeps it (`place.Record`). Raises LabError if the lab
    already exists, or if it cannot be built; then nothing is left behind.
    """
    require_root()
    require_programs("ip", "sysctl", "ethtool", "mount")
    require_name(prefix)
    keeper = place.Keeper.this_process()
    record = place.Record(keeper, bridge=shape.bridge, nat=shape.nat, ipv6=shape.ipv6)
    if is_up(prefix):
        raise LabError(f"the lab '{prefix}' is {_standing(prefix)}")
    try:
        place.claim(prefix)
    except FileExistsError:  # two at the same time
        raise LabError(f"the lab '{prefix}' is already up") from None
    try:
        place.furnish(prefix, NAMESPACES, record)
        _build(prefix, shape)
    except BaseException as error:
        remove(prefix)
        if isinstance(error, subprocess.CalledProcessError):
            raise LabError(f"the lab could not be built: {error}: {error.stderr}") from error
        if isinstance(error, OSError):
            raise LabError(f"the lab could not be built: {error}") from error
        raise


def _standing(prefix: str) -> str:
    if place.is_left_behind(prefix):
        return (
            "there in parts, left by a command that was killed: nfinspect lab down --prefix "
            + prefix
        )
    return "already up"


def _build(prefix: str, shape: Shape) -> None:
    with ExitStack() as stack:
        sides: dict[str, NetNS] = {}
        with _signals_held():
            for name in NAMESPACES:
                netns.create(full_name(prefix, name))
                sides[name] = stack.enter_context(NetNS(full_name(prefix, name)))
        for name in NAMESPACES:
            etc = _etc(prefix, name)
            etc.mkdir(parents=True, exist_ok=True)
            for file, text in {**HOST_FILES, "hosts": hosts(name, shape)}.items():
                (etc / file).write_text(text)
            filter_sysctls = BRIDGE_SYSCTLS if shape.bridge else FILTER_SYSCTLS
            sysctls = filter_sysctls if name == FILTER else END_SYSCTLS
            execute(prefix, name, ["sysctl", "-qw", *sysctls])
        if shape.bridge:
            sides[FILTER].link("add", ifname=BRIDGE, kind="bridge", state="up")
        for host, gateway in CABLES:
            _connect(prefix, sides, host, gateway, shape.bridge)
        if shape.nat:
            index = _index(sides[FILTER], OUTSIDE.name)
            sides[FILTER].addr("add", index=index, address=OUTSIDE_ADDRESS, prefixlen=32)
    if not shape.offloads:
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
    """End all processes in the lab *prefix* and remove everything of it, as far as it exists; also
    what a command has left that was killed at any moment.

    Raises LabError if something resists.
    """
    with ExitStack() as stack:
        held = []
        for name in _names(prefix):
            path = Path(netns.NETNS_RUN_DIR) / full_name(prefix, name)
            # While it is open its number is not given to another namespace.
            held.append(os.fstat(stack.enter_context(path.open("rb")).fileno()))
        namespaces = {(status.st_dev, status.st_ino) for status in held}
        _end_processes(namespaces)  # first: without a name they could not be found again
        for name in _names(prefix):
            netns.remove(full_name(prefix, name))
        _end_processes(namespaces)  # those that have entered in the meantime
    for name in NAMESPACES:
        shutil.rmtree(_etc(prefix, name), ignore_errors=True)
    with suppress(OSError):
        _etc(prefix, CLIENT).parent.rmdir()  # if it is empty
    place.remove(prefix)
    if is_up(prefix):
        raise LabError(f"the lab '{prefix}' cannot be removed; look into {place.directory(prefix)}")


def _end_processes(namespaces: set[tuple[int, int]]) -> None:
    """End the processes in *namespaces*: with SIGTERM, after 2 s with SIGKILL."""
    for ending, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0)):
        deadline = time.monotonic() + patience
        told: set[int] = set()
        while pids := set(_processes_in(namespaces)):
            for pid in pids - told:  # there are new ones, too
                _kill(pid, ending)
            told |= pids
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        else:
            return


def processes(prefix: str, namespace: str) -> list[int]:
    """The processes in a namespace of the lab; none if there is no such namespace."""
    try:
        status = (Path(netns.NETNS_RUN_DIR) / full_name(prefix, namespace)).stat()
    except FileNotFoundError:
        return []
    return sorted(_processes_in({(status.st_dev, status.st_ino)}))


def _processes_in(namespaces: Iterable[tuple[int, int]]) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                status = (entry / "ns/net").stat()
                running = "Z" not in (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue  # the process has ended
            if running and (status.st_dev, status.st_ino) in namespaces:
                found.append(int(entry.name))
    return found


def _kill(pid: int, ending: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, ending)


def command(prefix: str, namespace: str, argv: Sequence[str | Path]) -> list[str]:
    """The command line that runs *argv* in a namespace of the lab, with the lab's hosts file and a
    /run of its own (`place`)."""
    enter = ["ip", "netns", "exec", full_name(prefix, namespace), "sh", "-c", _OWN_RUN]
    run, files = place.private_run(prefix, namespace), place.directory(prefix)
    return [*map(str, [*enter, run, files, files.relative_to("/run")]), *map(str, argv)]


_OWN_RUN = 'mount --bind "$1" "$0/$2" && mount --rbind "$0" /run && shift 2 && exec "$@"'
"""A shell script: `ip netns exec` has made a mount namespace, which ends with the process. The lab's
directory stays where it is."""


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
    "mount": "mount",
    "ethtool": "ethtool",
    "tcpdump": "tcpdump",
    "tshark": "tshark",
    "swaks": "swaks",
    "postfix": "postfix",
    "iptables": "iptables",
    "nft": "nftables",
    "openssl": "openssl",
    "nmap": "nmap",
    "tcpprep": "tcpreplay",
    "tcpreplay": "tcpreplay",
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
