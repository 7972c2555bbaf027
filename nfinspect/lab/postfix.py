"""Postfix in its own directory, as a server or client of the lab.

It shares only the programs with the machine's Postfix: configuration, queue, data, log and mail are
below one directory, nothing runs in a chroot, and /etc/postfix is not read.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nfinspect.lab.mailbox import Maildir
from nfinspect.lab.topology import SERVER_ADDRESS, SERVER_ADDRESS6, LabError, require_programs

if TYPE_CHECKING:
    from nfinspect.lab.namespaces import Namespaces

SETTINGS = {
    "compatibility_level": "3.6",
    "mail_owner": "postfix",
    "mydestination": "",
    "inet_protocols": "all",
    "smtputf8_enable": "no",
    "alias_maps": "",
    "alias_database": "",
    "local_recipient_maps": "",
    "biff": "no",
    # No DNS lookups: there is no name server.
    "smtp_dns_support_level": "disabled",
    "smtp_host_lookup": "native",
    "smtpd_peername_lookup": "no",
    # Accept mail of any size with any bytes, unchanged.
    "message_size_limit": str(64 << 20),
    "mailbox_size_limit": "0",
    "virtual_mailbox_limit": "0",
    "disable_mime_output_conversion": "yes",
    # Tests send a lot, fast, and with errors.
    "mynetworks": "0.0.0.0/0 [::]/0",
    "smtpd_relay_restrictions": "permit_mynetworks reject_unauth_destination",
    "smtpd_error_sleep_time": "0",
    "smtpd_hard_error_limit": "1000",
    "smtpd_client_connection_count_limit": "0",
    "in_flow_delay": "0",
    "smtp_connect_timeout": "5s",
    "smtp_helo_timeout": "10s",
}
"""The settings of every instance, server or client."""

SERVER_SETTINGS = {
    "myhostname": "mail.example",
    "inet_interfaces": f"{SERVER_ADDRESS} {SERVER_ADDRESS6}",
    "virtual_mailbox_domains": "inside.example",
    "virtual_mailbox_maps": "static:box/",
    "virtual_minimum_uid": "1",
}

SERVICES = """\
smtp      inet  n - n - - smtpd
pickup    unix  n - n 1 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""

CLIENT_SERVICES = SERVICES.partition("\n")[2]
"""A client does not listen on port 25."""

QUEUES = dict.fromkeys(
    "active bounce corrupt defer deferred flush hold incoming private saved trace".split(), 0o700
) | {"maildrop": 0o1730, "public": 0o2710}
"""The queue's directories and their modes; those open to others belong to the group postdrop."""

START_TIMEOUT = 20.0


def main_cf(places: Mapping[str, str | Path], settings: Mapping[str, str]) -> str:
    """The text of main.cf for an instance with its files at *places*; *settings* override
    `SETTINGS`."""
    return "".join(
        f"{word} = {value}\n" for word, value in {**SETTINGS, **places, **settings}.items()
    )


class Postfix:
    """A Postfix instance in a namespace, running from ``start`` until the lab ends at the latest."""

    def __init__(
        self,
        lab: Namespaces,
        where: str,
        name: str,
        settings: Mapping[str, str],
        *,
        services: str = SERVICES,
    ) -> None:
        """Create the instance in ``lab.directory / name``; *settings* override `SETTINGS`."""
        require_programs("postfix")
        self._lab = lab
        self._where = where
        self._running = False
        self.directory = lab.directory / name
        self.configuration = self.directory / "etc"
        for each in ("etc", "queue", "data", "mail"):
            (self.directory / each).mkdir(parents=True)
        postfix, nobody = pwd.getpwnam("postfix"), pwd.getpwnam("nobody")
        os.chown(self.directory / "data", postfix.pw_uid, postfix.pw_gid)
        os.chown(self.directory / "mail", nobody.pw_uid, nobody.pw_gid)
        self._lay_out_queue(postfix.pw_uid)
        places: dict[str, str | Path] = {
            "queue_directory": self.directory / "queue",
            "data_directory": self.directory / "data",
            "maillog_file": self.log_file,
            "maillog_file_prefixes": self.directory,
            "virtual_mailbox_base": self.directory / "mail",
            "virtual_uid_maps": f"static:{nobody.pw_uid}",
            "virtual_gid_maps": f"static:{nobody.pw_gid}",
        }
        main = self.configuration / "main.cf"
        main.write_text(main_cf(places, settings))
        # Postfix programs wait until their configuration is two seconds old; make it older.
        os.utime(main, (0, 0))
        (self.configuration / "master.cf").write_text(services)
        self.mailbox = Maildir(self.directory / "mail" / "box")

    def _lay_out_queue(self, owner: int) -> None:
        # postfix-script would do this, but takes seconds for its checks. The file quick-start
        # (which `postfix reload` writes too) makes it skip them.
        queue = self.directory / "queue"
        (queue / "quick-start").touch()
        (queue / "pid").mkdir()
        posters = grp.getgrnam("postdrop").gr_gid
        for name, mode in QUEUES.items():
            (queue / name).mkdir()
            os.chown(queue / name, owner, -1 if mode == 0o700 else posters)
            (queue / name).chmod(mode)

    @property
    def log_file(self) -> Path:
        return self.directory / "log"

    def log(self) -> str:
        """The log so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def start(self) -> None:
        """Start it and return when it is ready; raises LabError with its log if it does not
        start."""
        self._running = True
        self._command("start")
        self._lab.at_close(self.stop)
        master = self.directory / "queue/pid/master.pid"
        deadline = time.monotonic() + START_TIMEOUT
        while not (master.exists() and "daemon started" in self.log()):
            if time.monotonic() > deadline:
                raise LabError(f"Postfix does not start: {self.log()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it at once, if it is running."""
        if self._running:
            self._running = False
            self._command("abort", check=False)

    def _command(self, word: str, *, check: bool = True) -> None:
        self._lab.run(self._where, ["postfix", "-c", self.configuration, word], check=check)

    def submit(self, message: bytes, sender: str, *recipients: str) -> None:
        """Submit a message as local mail; Postfix sends it at once."""
        done = subprocess.run(
            ["sendmail", "-C", self.configuration, "-G", "-i", "-f", sender, "--", *recipients],
            input=message,
            capture_output=True,
            timeout=60,
        )
        if done.returncode != 0:
            raise LabError(f"sendmail: {done.stderr.decode(errors='replace')}")

    def wait_for(self, text: str, timeout: float = 30) -> str:
        """Wait until the log contains *text* and return the log; raises LabError on timeout."""
        deadline = time.monotonic() + timeout
        while text not in self.log():
            if time.monotonic() > deadline:
                raise LabError(f"Postfix has not logged '{text}' in {timeout} s: {self.log()}")
            time.sleep(0.02)
        return self.log()


def server(
    lab: Namespaces,
    where: str,
    settings: Mapping[str, str] | None = None,
    *,
    name: str = "postfix-server",
) -> Postfix:
    """Return a Postfix that delivers mail for inside.example to its ``mailbox``; not started."""
    return Postfix(lab, where, name, SERVER_SETTINGS | dict(settings or {}))


def client(
    lab: Namespaces, where: str, name: str, relay: str, settings: Mapping[str, str] | None = None
) -> Postfix:
    """Return a Postfix that sends all mail to the address *relay*; not started."""
    own = {"myhostname": "client.example", "relayhost": f"[{relay}]", "inet_interfaces": "all"}
    return Postfix(lab, where, name, own | dict(settings or {}), services=CLIENT_SERVICES)


def tls(directory: Path) -> dict[str, str]:
    """Return the settings for a server that offers STARTTLS; creates a certificate if necessary."""
    require_programs("openssl")
    key, certificate = (directory / name for name in TLS_FILES)
    if not certificate.exists():
        files = ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run(["openssl", *TLS_REQUEST.split(), *files], check=True, capture_output=True)
    return tls_settings(directory)


TLS_FILES = ("tls.key", "tls.pem")
TLS_REQUEST = (
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=mail.example"
)
"""The arguments of openssl that make both; where to goes after them."""


def tls_settings(directory: Path) -> dict[str, str]:
    """Return the settings for a server that offers STARTTLS with the `TLS_FILES` of *directory*."""
    return {
        "smtpd_tls_security_level": "may",
        "smtpd_tls_chain_files": ", ".join(str(directory / name) for name in TLS_FILES),
        "smtpd_tls_loglevel": "1",
    }
