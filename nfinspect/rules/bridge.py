"""What keeps mail from passing a bridge unseen: settings of br_netfilter, and a guard in nftables.

br_netfilter shows bridged frames to iptables; how deep it looks into a frame is said by settings of
the kernel. What it cannot show even so, a frame with two VLAN tags or in MPLS for example, does not
pass the guard: a table of nftables in the family bridge, before br_netfilter has its turn. The guard
knows what passes, and drops what it does not know.

A type here is that of the innermost header that the kernel has taken off on arrival, at most one
VLAN tag (802.1Q or 802.1ad): exactly what br_netfilter goes by, too.
"""

from __future__ import annotations

from nfinspect.rules.mark import MARK

TABLE = "nfinspect"
"""Of nftables, family bridge; it is ours alone."""

SETTINGS = {
    "bridge-nf-call-iptables": 1,
    "bridge-nf-call-ip6tables": 1,
    "bridge-nf-filter-vlan-tagged": 1,
    "bridge-nf-filter-pppoe-tagged": 1,
}
"""Under net.bridge, of one network namespace, for all its bridges."""

AS_WITHOUT_THE_MODULE = {
    "bridge-nf-call-iptables": 0,
    "bridge-nf-call-ip6tables": 0,
    "bridge-nf-call-arptables": 0,
}
"""While br_netfilter is not loaded, no bridge calls anything; loaded, it does by default."""

TYPES = {
    0x0800: "IPv4: to iptables",
    0x86DD: "IPv6: to ip6tables",
    0x0806: "ARP",
    0x8035: "RARP",
    0x8863: "PPPoE discovery",
    0x8809: "slow protocols, as LACP",
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
"""Frames with a length in place of a type (802.3), by so many first bits: SAPs, and SNAP types. IP
too can be carried so (RFC 1042, RFC 948)."""

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
the short form of these numbers are not among them: they would hide what is in the packet."""

_PPPOE_SESSION, _LENGTH = 0x8864, 0x0004  # as the kernel has them in skb->protocol


def guard() -> str:
    """Return the text for ``nft -f`` that puts the table in place, instead of one that is there."""
    mark = f"meta mark set meta mark or {MARK:#010x}"
    # One rule a value: nft 1.0.6 crashes when it is to list a set of such values.
    rules = [
        f'ether type {{ 8021q, 8021ad }} {mark} comment "cannot be answered by the filter itself"',
        f'meta protocol {_PPPOE_SESSION:#06x} {mark} comment "nor can this"',
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
        'counter drop comment "no iptables rule would see what is in it"',
    ]
    chain = "\n".join(f"\t\t{rule}" for rule in rules)
    return (
        f"{removal()}table bridge {TABLE} {{\n"
        "\tchain forward {\n"
        "\t\ttype filter hook forward priority -210; policy accept;\n"
        f"{chain}\n\t}}\n}}\n"
    )


def removal() -> str:
    """Return the text for ``nft -f`` that removes the table, if it is there."""
    return f"table bridge {TABLE}\ndelete table bridge {TABLE}\n"


def settings() -> str:
    """Return the settings as ``sysctl -p`` reads them."""
    return "".join(f"net.bridge.{name} = {value}\n" for name, value in SETTINGS.items())
