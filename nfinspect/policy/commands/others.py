"""Commands that are not about this filter, so that they are not taken for typos.

A command whose lines are indented below it needs no mention of its mode: indentation shows what is
skipped. The modes matter for text without indentation. There, what a mode may hold is whatever
cannot begin a command outside of it, and the words that `Skipped` lists because they can.
"""

from __future__ import annotations

from nfinspect.policy.grammar import GLOBAL, Family, Skipped

_LINES = """
    aaa access-rule activation-key admin-context age app-agent apply arp arp-inspection asa asdm asp
    auth-prompt auto-update backup banner bfd boot building ca call-home checkheaps
    checksum cisco client-update clear clock cluster command-alias compression config-register configure
    console control-plane copy coredump crashinfo crypto csd cts cxsc cryptochecksum community-list as-path ddns debug default
    device-sensor dhcp-client dhcpd dhcprelay disable disk0 distance dns dns-guard domain-name dynamic-filter
    dynamic-map enable encrypted-password environment eou established ethertype failover features
    file filter fips firewall flash floodguard flow-export flow-offload format forward-reference
    fragment ftp ftp-map fwsm gdb generate groupname gtp h225-map hardware hostname hpm http hw-module
    icmp icmp6 igmp image immediate ip ipaudit ips ipsec ipv6 isakmp jumbo-frame kerberos key l2tp lacp
    ldap link linkpath lldp log-adjacency-changes logging logout login logo mac-address
    mac-address-table mac-learn mac-list management-access management-interface management-only
    map master-password media-type memory mfib mgcp-map migration mode module-boot monitor-interface
    mount mroute mtu multicast multicast-routing nac names-lookup nat-assigned-to-public-ip netmask ntp
    object-group-search outbound pager passive-interface passwd password password-policy pdm perfmon
    pim ping pki policy-list polltime pop3s port-forward prefix-list priority-queue privilege probe
    profile prompt quit quota radius-common-pw radius-server resource rest-api restrict route routerid
    rip rpc rtr same-security-traffic scp sctp-map sdi secure security security-group-tag serial server
    service service-interface service-module session-limit setup shun sip-map smart-tunnel smtp-server
    snmp snmp-server sntp software-version ssh ssl ssl-certificate ssp sso-server statistics
    strong-encryption-disable sunrpc-server sw-module switch syslog system tacacs-server tcp telnet
    terminal tftp-server threat-detection timezone track traceroute traffic-forward trust tunnel-group-map
    tunnel-group-preference uauth undebug upgrade url-block url-cache url-server user-alert
    user-identity user-message user-statistics version virtual vpdn vpn vpn-addr-assign vpn-sessiondb
    vpnclient vpngroup vpnsetup wccp web-agent web-applications who write xlate zone zonelabs-integrity
    interface-policy authentication-certificate cluster-interface cluster-member-limit icmp-object
    pfsync platform power-supply power snort sysinfo tls-trustpoint umbrella-global webvpn-cache
    telemetry dp-tcp-proxy ip-client reload port-channel redundant-interface
    allocate-interface config-url cluster-mode ctl-provider dap no-names serial-number hardware-bypass
    [ok] flowcontrol license-server license policy-route sla-monitor monitor event-log ra-vpn
"""
"""First words of commands without a mode, as far as is known here."""

_CONSOLE = "show sh result info warning error --more--"
"""First words of what a terminal session holds besides: commands typed, and answers."""

_ATTRIBUTES = frozenset(
    "banner webvpn filter dns-server default-domain http-proxy isakmp ssh service-type url-list key"
    " url-entry file-access file-entry file-browsing mapi anyconnect svc port-forward vlan".split()
)

_MODES: dict[str, Skipped] = {
    first: Skipped(frozenset(words.split()))
    for first, words in {
        "route-map": "",
        "router": "distance route timers redistribute",
        "aaa-server": "timeout key",
        "dns server-group": "timeout domain-name",
        "dns-group": "",
        "dns-group-map": "",
        "sla monitor": "timeout",
        "time-range": "",
        "ldap attribute-map": "",
        "dynamic-access-policy-record": "webvpn user-message priority",
        "event manager": "",
        "failover group": "polltime mac mac-address interface-policy",
        "context": "allocate-interface config-url",
        "cluster group": "enable key cluster-interface priority",
        "vpn load-balancing": "nat cluster priority encryption",
        "tls-proxy": "server",
        "phone-proxy": "cipc service-settings",
        "media-termination": "address",
        "uc-ime": "",
        "scansafe": "server license",
        "smtps": "enable port server",
        "pop3s": "enable port server",
        "imap4s": "enable port server",
        "mdm-proxy": "port",
        "nac-policy": "",
        "nve": "",
        "zone": "",
        "snmp-map": "",
        "ftp-map": "",
        "http-map": "",
        "gtp-map": "timeout",
        "mgcp-map": "",
        "sip-map": "",
        "h225-map": "",
        "call-home": "profile",
        "license smart": "",
        "bfd-template": "",
        "webvpn": "enable port http-proxy anyconnect svc cache smart-tunnel url-list csd dtls"
        " http-headers logo auto-signon sso-server port-forward",
        "priority-queue": "",
        "interface-template": "",
        "policy-list": "",
        "ip dhcp": "",
        "ddns update": "interval",
        "crypto isakmp policy": "",
        "crypto ikev1 policy": "",
        "crypto ikev2 policy": "",
        "crypto ipsec ikev2": "",
        "crypto ipsec profile": "",
        "crypto ca trustpoint": "serial-number password",
        "crypto ca certificate map": "",
        "crypto ca trustpool": "",
        "crypto ca server": "",
        "crypto ca crl": "",
        "crypto key pubkey-chain": "",
        "isakmp policy": "",
        "umbrella-global": "",
        "object-group-search": "",
    }.items()
} | {
    "group-policy": Skipped(_ATTRIBUTES),
    "username": Skipped(_ATTRIBUTES),
    "tunnel-group": Skipped(_ATTRIBUTES),
    "crypto ca certificate chain": Skipped(holds_certificates=True),
}

FAMILY = Family({}, others={GLOBAL: dict.fromkeys([*_LINES.split(), *_CONSOLE.split()]) | _MODES})
