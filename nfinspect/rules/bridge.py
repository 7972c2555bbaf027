"""What keeps mail from crossing a bridge unseen: br_netfilter settings, and a guard in nftables.

br_netfilter shows bridged frames to iptables; kernel settings say how deep it looks into a frame.
What it cannot show even then, for example a frame with two VLAN tags or in MPLS, the guard drops:
an nftables table in the bridge family that runs before br_netfilter. The guard has a list of what
may pass, and drops everything else.

The types are those that the kernel sees after removing at most one VLAN tag (802.1Q or 802.1ad) on
arrival; br_netfilter uses exactly the same.
"""

from __future__ import annotations

from nfinspect.rules.mark import MARK

TABLE = "nfinspect"
"""The nftables table, family bridge; only nfinspect uses it."""

SETTINGS = {
    "bridge-nf-call-iptables": 1,
    "bridge-nf-call-ip6tables": 1,
    "bridge-nf-filter-vlan-tagged": 1,
    "bridge-nf-filter-pppoe-tagged": 1,
}
"""Under net.bridge; for all bridges of a network namespace."""

AS_WITHOUT_THE_MODULE = {
    "bridge-nf-call-iptables": 0,
    "bridge-nf-call-ip6tables": 0,
    "bridge-nf-call-arptables": 0,
}
"""Equivalent to br_netfilter not being loaded; its own defaults are 1."""

TYPES = {
    0x0800: "IPv4: to iptables",
    0x86DD: "IPv6: to ip6tables",
    0x0806: "ARP",
    0x8035: "RARP",
    0x8863: "PPPoE discovery",
    0x8809: "slow protocols, such as LACP",
    0x888E: "802.1X",
    0x88CC: "LLDP",
    0x88F5: "MVRP",
    0x88F6: "MMRP",
    0x88F7: "PTP",
    0x8902: "connectivity fault management",
}

LLC = {
    (16, 0x4242): "spanning tree",
    (16, 0xFEFE): "IS-IS",
    (64, 0xAAAA_0300_000C_010B): "Cisco PVST+",
    (64, 0xAAAA_0300_000C_0104): "Cisco PAgP",
    (64, 0xAAAA_0300_000C_0111): "Cisco UDLD",
    (64, 0xAAAA_0300_000C_2000): "Cisco CDP",
    (64, 0xAAAA_0300_000C_2003): "Cisco VTP",
    (64, 0xAAAA_0300_000C_2004): "Cisco DTP",
}
"""Frames with a length in place of a type (802.3), by number and value of their first bits: SAPs,
and SNAP types. IP can be carried like this too (RFC 1042, RFC 948)."""

PPPOE = {
    0x0021: "IPv4: to iptables",
    0x0057: "IPv6: to ip6tables",
    0xC021: "LCP",
    0x8021: "IPCP",
    0x8057: "IPV6CP",
    0xC023: "PAP",
    0xC223: "CHAP",
    0xC227: "EAP",
    0xC025: "link quality",
}
"""PPP protocols in a PPPoE session. Compression and its negotiation (CCP), encryption, Multilink and
the short form of these numbers are excluded: they would hide the content of the packet."""

_PPPOE_SESSION, _LENGTH = 0x8864, 0x0004  # as the kernel has them in skb->protocol


def guard() -> str:
    """Return the text for ``nft -f`` that creates the table, replacing an existing one."""
    mark = f"meta mark set meta mark or {MARK:#010x}"
    # One rule per value: nft 1.0.6 crashes when listing a set of such values.
    rules = [
        f'ether type {{ 8021q, 8021ad }} {mark} comment "VLAN: the filter cannot inject here"',
        f'meta protocol {_PPPOE_SESSION:#06x} {mark} comment "PPPoE: nor here"',
        *(f'meta protocol {kind:#06x} accept comment "{what}"' for kind, what in TYPES.items()),
        *(
            f"meta protocol {_PPPOE_SESSION:#06x} @nh,48,16 {protocol:#06x} accept"
            f' comment "PPPoE, {what}"'
            for protocol, what in PPPOE.items()
        ),
        *(
            f"meta protocol {_LENGTH:#06x} @nh,0,{bits} {value:#0{bits // 4 + 2}x} accept"
            f' comment "{what}"'
            for (bits, value), what in LLC.items()
        ),
        'counter drop comment "iptables would not see what is in it"',
    ]
    chain = "\n".join(f"\t\t{rule}" for rule in rules)
    return (
        f"{removal()}table bridge {TABLE} {{\n"
        "\tchain forward {\n"
        "\t\ttype filter hook forward priority -210; policy accept;\n"
        f"{chain}\n\t}}\n}}\n"
    )


def removal() -> str:
    """Return the text for ``nft -f`` that removes the table, if it exists."""
    return f"table bridge {TABLE}\ndelete table bridge {TABLE}\n"


def settings() -> str:
    """Return the settings for ``sysctl -p``."""
    return "".join(f"net.bridge.{name} = {value}\n" for name, value in SETTINGS.items())
