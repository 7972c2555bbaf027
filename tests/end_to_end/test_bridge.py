"""The filter on a bridge without an address: mail is inspected, also in a VLAN or a PPPoE session;
what cannot be inspected does not pass; removing the rules restores everything.
"""

from __future__ import annotations

import json
import shutil
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfinspect.lab import place
from nfinspect.lab.case import run_case
from nfinspect.lab.cases import named
from nfinspect.lab.dialogue import ClientConnection, RecordingServer
from nfinspect.lab.filter import RunningFilter
from nfinspect.lab.lab import Lab
from nfinspect.lab.namespaces import NFINSPECT
from nfinspect.lab.stage import MailStage
from nfinspect.lab.topology import CLIENT, FILTER, SERVER
from nfinspect.packet.checksum import ipv4_header_checksum, tcp_checksum
from nfinspect.rules.bridge import guard
from tests.end_to_end import encapsulation as frames
from tests.end_to_end.encapsulation import Cable, Encapsulation
from tests.end_to_end.ends import (
    BODY,
    ENVELOPE,
    IPV4,
    IPV6,
    Family,
    Watch,
    drop_one,
    exchange_with_gaps,
    queue,
    rules,
)

FAMILIES = pytest.mark.parametrize("family", [IPV4, IPV6], ids=["IPv4", "IPv6"])


@pytest.fixture(scope="module")
def bridge_lab() -> Iterator[Lab]:
    with Lab(offloads=False, bridge=True) as lab:
        yield lab


@pytest.fixture(scope="module")
def running(bridge_lab: Lab) -> Iterator[RunningFilter]:
    filter_ = bridge_lab.filter()
    yield filter_
    filter_.stop()


@pytest.fixture(scope="module")
def stage(bridge_lab: Lab) -> MailStage:
    return MailStage(bridge_lab)


# ---- mail --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["ordinary", "postfix-ipv6", "starttls-wanted"])
def test_case_has_the_same_outcome_on_a_bridge_as_routed(
    stage: MailStage, running: RunningFilter, case: str, tmp_path: Path
) -> None:
    outcome = run_case(named(case), stage, running, tmp_path)
    assert outcome.as_expected, outcome


def test_filter_has_no_address(bridge_lab: Lab, running: RunningFilter) -> None:
    interfaces = json.loads(bridge_lab.run(FILTER, ["ip", "-json", "address"]).stdout)
    assert [each["ifname"] for each in interfaces if each["addr_info"]] == ["lo"]


@FAMILIES
def test_gap_is_reported_to_the_sender_on_either_side_of_a_bridge(
    bridge_lab: Lab, running: RunningFilter, family: Family
) -> None:
    lab = bridge_lab
    injected = queue(lab)["verdicts"]["injected"]
    port = "-m physdev --physdev-in"
    drops = [drop_one(f"{port} {interface}") for interface in ("outside", "inside")]
    with rules(lab, family, *drops), Watch(lab) as watch:
        exchange_with_gaps(lab, family, family.server)
        watch.assert_one_connection()
    verdicts = queue(lab)["verdicts"]
    assert verdicts["injected"] > injected
    assert "not injected" not in verdicts


SEND_IN_FRAGMENTS = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
header = bytes.fromhex("c0000019 00000001 00000000 50100000 00000000")
raw.sendto(header + bytes(4000), (sys.argv[1], 0))
"""


@FAMILIES
def test_fragments_reach_the_filter_as_one_packet(
    bridge_lab: Lab, running: RunningFilter, family: Family
) -> None:
    before = queue(bridge_lab)["received"]
    bridge_lab.run(CLIENT, [sys.executable, "-c", SEND_IN_FRAGMENTS, family.server])
    deadline = time.monotonic() + 5
    while (received := queue(bridge_lab)["received"]) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert received == before + 1


# ---- encapsulation -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encapsulation",
    [frames.VLAN, frames.SERVICE_VLAN, frames.PPPOE, frames.VLAN_PPPOE],
    ids=["802.1Q", "802.1ad", "PPPoE", "PPPoE in a VLAN"],
)
@pytest.mark.parametrize(
    "address", [frames.INNER_SERVER, frames.INNER_SERVER6], ids=["IPv4", "IPv6"]
)
def test_mail_in_an_encapsulation_that_can_be_inspected_is_inspected(
    bridge_lab: Lab, running: RunningFilter, encapsulation: Encapsulation, address: str
) -> None:
    with (
        frames.link(bridge_lab, encapsulation),
        RecordingServer(bridge_lab, address) as server,
        ClientConnection.open(bridge_lab, address) as client,
    ):
        assert client.reply().startswith("220 ***")
        assert client.command("HELO client.example").startswith("250 ")
        assert client.command("STARTTLS").startswith("500 ")
        assert client.command("QUIT").startswith("221 ")
        (recording,) = server.wait()
    assert recording.received == b"HELO client.example\r\nXXXXXXXX\r\nQUIT\r\n"


@pytest.mark.parametrize(
    "encapsulation",
    [frames.QINQ, frames.QINQ_AD, frames.OLD_QINQ, frames.PPPOE_SHORT, frames.MPLS, frames.SNAP],
    ids=["QinQ", "QinQ with 802.1ad", "QinQ with 0x9100", "PPPoE, compressed", "MPLS", "SNAP"],
)
def test_mail_in_an_encapsulation_that_cannot_be_inspected_does_not_pass(
    bridge_lab: Lab, running: RunningFilter, encapsulation: Encapsulation
) -> None:
    with (
        frames.link(bridge_lab, encapsulation),
        RecordingServer(bridge_lab, frames.INNER_SERVER),
        bridge_lab.socket(CLIENT) as client,
    ):
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.connect((frames.INNER_SERVER, 25))


def test_gap_in_a_vlan_is_left_to_the_senders_timers(
    bridge_lab: Lab, running: RunningFilter
) -> None:
    """The filter injects nothing, as it would leave untagged; the mail arrives nevertheless."""
    before = queue(bridge_lab)["verdicts"]
    body = BODY[: 300 * 69]  # lines
    untagged = Cable(bridge_lab, CLIENT)
    with (
        frames.link(bridge_lab, frames.VLAN),
        RecordingServer(bridge_lab, frames.INNER_SERVER) as server,
        ClientConnection.open(bridge_lab, frames.INNER_SERVER) as client,
        rules(bridge_lab, IPV4, drop_one("-m physdev --physdev-in outside", 3)),
    ):
        assert client.reply().startswith("220 ***")
        for line in ENVELOPE:
            assert client.command(line).startswith("250")
        assert client.command("DATA").startswith("354")
        client.send(body)
        assert client.command(".").startswith("250")
        assert client.command("QUIT").startswith("221")
        (recording,) = server.wait()
    assert b"DATA\r\n" + body + b".\r\n" in recording.received
    after = queue(bridge_lab)["verdicts"]
    assert after["injected"] == before["injected"]
    assert after["not injected"] > before.get("not injected", 0)
    ipv4 = [frame for frame in untagged.received() if frame[12:14] == b"\x08\x00"]
    untagged.close()
    assert ipv4 == []


# ---- the guard, applied and removed ------------------------------------------------------------


def syn(family: Family) -> bytes:
    """A SYN to port 25 of the server."""
    six = ":" in family.server
    version = socket.AF_INET6 if six else socket.AF_INET
    addresses = b"".join(socket.inet_pton(version, a) for a in (family.client, family.server))
    header = struct.pack("!HHLLBBHHH", 40_000, 25, 1, 0, 0x50, 2, 1000, 0, 0)
    checksum = tcp_checksum(addresses, header).to_bytes(2, "big")
    header = header[:16] + checksum + header[18:]
    if six:
        return struct.pack("!LHBB", 6 << 28, 20, 6, 64) + addresses + header
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + addresses
    return ip[:10] + ipv4_header_checksum(ip).to_bytes(2, "big") + ip[12:] + header


def framed(*kinds: Encapsulation) -> list[bytes]:
    return [kind.wrap(syn(family)) for kind in kinds for family in (IPV4, IPV6)]


PASSING = [
    bytes.fromhex(start) + bytes(60)
    for start in (
        "8863 1109 0000 0004",  # PPPoE discovery
        "8864 1100 0001 000a c021 0901 0008",  # PPPoE: LCP
        "8864 1100 0001 000a 8021 0101 0008",  # IPCP
        "8100 0005 8864 1100 0001 000a c021",  # the same, in a VLAN
        "88cc 0207",
        "88f7 0002",
        "0026 424203",  # spanning tree
        "8100 0005 0032 aaaa03 00000c 010b",  # Cisco PVST+ in a VLAN
        "0100 fefe03",  # IS-IS
    )
]
INSPECTED = framed(
    frames.PLAIN,
    frames.VLAN,
    frames.PRIORITY,
    frames.SERVICE_VLAN,
    frames.PPPOE,
    frames.VLAN_PPPOE,
)
DROPPED = [
    *framed(
        frames.QINQ,
        frames.QINQ_AD,
        frames.OLD_QINQ,
        frames.PPPOE_SHORT,
        frames.MPLS,
        frames.SNAP,
        frames.SAP,
    ),
    *(
        bytes.fromhex(start) + bytes(60)
        for start in (
            "8864 1100 0001 000a 80fd 0101 0008",  # PPPoE: compression is negotiated
            "8864 1100 0001 000a 00fd",  # compressed
            "8864 1100 0001 000a 002d",  # Van Jacobson's compression
            "8864 1100 0001 000a 003d",  # Multilink
            "88e5 2000",  # MACsec
            "1234 5678",
        )
    ),
]


def send_all(lab: Lab, expected: int) -> list[bytes]:
    """Send all frames from the client; return those that reach the server, without addresses."""
    sender, receiver = Cable(lab, CLIENT), Cable(lab, SERVER)
    addresses = frames.SERVER_MAC + frames.CLIENT_MAC
    sent = [addresses + frame for frame in (*PASSING, *INSPECTED, *DROPPED)]
    for frame in sent:
        sender.send(frame)
    arrived: list[bytes] = []
    deadline, silence = time.monotonic() + 5, 0
    while (len(arrived) < expected or silence < 3) and time.monotonic() < deadline:
        time.sleep(0.05)
        more = [frame[12:] for frame in receiver.received() if frame in sent]
        arrived += more
        silence = 0 if more else silence + 1
    for cable in (sender, receiver):
        cable.close()
    return arrived


def settings(lab: Lab) -> list[str]:
    return lab.run(FILTER, ["sysctl", "net.bridge"]).stdout.splitlines()


def saved(lab: Lab) -> set[Path]:
    return set(place.private_run(lab.prefix, FILTER).glob("nfinspect-bridge-*"))


def test_guard_drops_what_cannot_be_inspected_and_its_removal_restores_everything() -> None:
    """No filter is running, so the frames that would be diverted to it do not pass either."""
    with Lab(offloads=False, bridge=True) as lab:

        def nfinspect_rules(*arguments: str) -> str:
            done = lab.run(FILTER, [*NFINSPECT, "rules", *arguments])
            return done.stdout + done.stderr

        everything = [*PASSING, *INSPECTED, *DROPPED]
        odd = ("call-iptables=0", "filter-vlan-tagged=0", "filter-pppoe-tagged=1")
        lab.run(FILTER, ["sysctl", "-qw", *(f"net.bridge.bridge-nf-{each}" for each in odd)])
        before, others = settings(lab), saved(lab)
        assert send_all(lab, len(everything)) == everything

        assert nfinspect_rules("--bridge", "--apply") == ""
        assert send_all(lab, len(PASSING)) == PASSING
        ruleset = lab.run(FILTER, ["nft", "list", "ruleset"]).stdout
        assert f"counter packets {len(DROPPED)} " in ruleset
        assert len(saved(lab) - others) == 1

        for arguments in (("--bridge", "--apply"), ("--apply",)):
            assert nfinspect_rules(*arguments) == ""
            assert send_all(lab, len(PASSING)) == PASSING
        assert settings(lab) != before

        assert nfinspect_rules("--bridge", "--remove") == ""
        assert settings(lab) == before
        assert saved(lab) == others
        assert lab.run(FILTER, ["nft", "list", "tables", "bridge"]).stdout == ""
        assert send_all(lab, len(everything)) == everything
        assert "there are no rules to remove" in nfinspect_rules("--bridge", "--remove")


def test_removal_restores_settings_although_the_guard_has_been_flushed() -> None:
    with Lab(bridge=True) as lab:
        before = settings(lab)
        lab.run(FILTER, [*NFINSPECT, "rules", "--bridge", "--apply"])
        lab.run(FILTER, ["nft", "flush", "ruleset"])
        lab.run(FILTER, [*NFINSPECT, "rules", "--remove"])
        assert settings(lab) == before


def test_without_nft_nothing_is_changed(tmp_path: Path) -> None:
    for family in ("iptables", "ip6tables"):
        for program in (family, f"{family}-save", f"{family}-restore"):
            found = shutil.which(program)
            assert found
            (tmp_path / program).symlink_to(found)
    with Lab(bridge=True) as lab:
        before, others = settings(lab), saved(lab)
        done = lab.run(
            FILTER,
            ["env", f"PATH={tmp_path}", *NFINSPECT, "rules", "--bridge", "--apply"],
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert "nft is not installed (apt-get install nftables)" in done.stderr
        assert (settings(lab), saved(lab)) == (before, others)


def test_guard_that_the_kernel_refuses_leaves_settings_as_they_were() -> None:
    """It refuses because CAP_NET_ADMIN is missing."""
    with Lab(bridge=True) as lab:
        before, others = settings(lab), saved(lab)
        done = lab.run(
            FILTER,
            ["setpriv", "--bounding-set=-net_admin", *NFINSPECT, "rules", "--bridge", "--apply"],
            check=False,
        )
        assert done.returncode == 1
        assert "cannot apply the rules" in done.stderr
        assert (settings(lab), saved(lab)) == (before, others)


def test_printed_guard_is_accepted_by_nft(bridge_lab: Lab) -> None:
    printed = bridge_lab.run(FILTER, [*NFINSPECT, "rules", "--bridge"]).stdout
    assert guard() in printed
    bridge_lab.run(FILTER, ["nft", "--check", "--file", "-"], input=guard())
