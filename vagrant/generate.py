"""What the machines know of the lab, written from where the lab in namespaces has it.

`python -m vagrant.generate` writes ``vagrant/generated/``; a test compares it. The files are kept in the
repository because whoever starts the machines may have neither Python nor the filter.
"""

from ipaddress import ip_interface
from pathlib import Path

from nfinspect.lab import postfix, topology

GENERATED = Path(__file__).parent / "generated"

CONFIGURATION = Path("/etc/postfix")
PLACES = {
    "queue_directory": "/var/spool/postfix",
    "data_directory": "/var/lib/postfix",
    "maillog_file": "/var/log/mail.log",
    "virtual_mailbox_base": "/srv/mail",
    # nobody and nogroup, as in the namespaces
    "virtual_uid_maps": "static:65534",
    "virtual_gid_maps": "static:65534",
}

NOTHING_LEAVES = {"default_transport": "error:5.1.2 no mail leaves the lab"}
"""A machine has a way to the internet, for its packages; a namespace has none."""


def files() -> dict[str, str]:
    """The text of each file, by its name."""
    server = postfix.SERVER_SETTINGS | postfix.tls_settings(CONFIGURATION) | NOTHING_LEAVES
    return {
        "lab.env": _environment(),
        "hosts": "".join(
            line
            for line in topology.hosts(topology.CLIENT, topology.DEFAULT).splitlines(keepends=True)
            if "localhost" not in line
        ),
        "main.cf": postfix.main_cf(PLACES, server),
        "master.cf": postfix.SERVICES,
    }


def _environment() -> str:
    """Variables for a shell, one a line; the Vagrantfile reads them as well."""
    variables: dict[str, str | int] = {
        "MTU": topology.MTU,
        "BRIDGE": topology.BRIDGE,
        "END_SYSCTLS": " ".join(topology.END_SYSCTLS),
        "FILTER_SYSCTLS": " ".join(topology.FILTER_SYSCTLS),
        "BRIDGE_SYSCTLS": " ".join(topology.BRIDGE_SYSCTLS),
        "MAILBOXES": PLACES["virtual_mailbox_base"],
        "TLS_KEY": str(CONFIGURATION / postfix.TLS_FILES[0]),
        "TLS_CERTIFICATE": str(CONFIGURATION / postfix.TLS_FILES[1]),
        "TLS_REQUEST": postfix.TLS_REQUEST,
    }
    for host, gateway in topology.CABLES:
        name = host.namespace.upper()
        variables |= _end(name, host) | _end(gateway.name.upper(), gateway)
        variables[f"{name}_GATEWAYS"] = " ".join(gateway.addresses)
        networks = (
            ip_interface(address).network for address in map(_with_prefix, gateway.addresses)
        )
        variables[f"{name}_NETWORKS"] = " ".join(map(str, networks))
    return "".join(f'{name}="{value}"\n' for name, value in variables.items())


def _end(name: str, end: topology.CableEnd) -> dict[str, str | int]:
    return {
        f"{name}_MAC": end.mac,
        f"{name}_ADDRESSES": " ".join(map(_with_prefix, end.addresses)),
    }


def _with_prefix(address: str) -> str:
    return f"{address}/{64 if ':' in address else 24}"


if __name__ == "__main__":
    GENERATED.mkdir(exist_ok=True)
    for name, text in files().items():
        (GENERATED / name).write_text(text)
