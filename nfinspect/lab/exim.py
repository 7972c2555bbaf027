"""Exim in its own directory, as a server of the lab.

Debian's Exim and Postfix packages conflict, so ``script/setup`` unpacks Exim's program without
installing it; it runs from there, with configuration, spool and mail below one directory.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nfinspect.lab.mailbox import Maildir
from nfinspect.lab.topology import EXIM_ADDRESS, EXIM_ADDRESS6, LabError

if TYPE_CHECKING:
    from nfinspect.lab.lab import Lab

PROGRAM = Path(__file__).parents[2] / ".cache/exim/usr/sbin/exim4"
USER = "Debian-exim"

CONFIGURATION = """\
primary_hostname = mail.example
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
pid_file_path = {directory}/exim.pid
keep_environment =
# With another configuration than its own, Exim cannot regain root, and need not.
deliver_drop_privilege = true
never_users =
daemon_smtp_ports = 25
local_interfaces = <; {address} ; {address6}
disable_ipv6 = false
host_lookup =
rfc1413_query_timeout = 0s
message_size_limit = 64M
smtp_accept_max = 0
smtp_max_unknown_commands = 1000
smtp_max_synprot_errors = 1000
smtp_enforce_sync = false
queue_only = false
auth_advertise_hosts = *
tls_advertise_hosts =
acl_smtp_rcpt = accept
acl_smtp_data = accept
acl_smtp_vrfy = accept
acl_smtp_etrn = accept
{settings}

begin routers
box:
  driver = accept
  transport = box

begin transports
box:
  driver = appendfile
  directory = {directory}/mail/box
  maildir_format
  create_directory
  delivery_date_add
  envelope_to_add
  return_path_add

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = true
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = true
"""
"""Accepts all mail and any password. Messages are kept unchanged below the added headers."""

START_TIMEOUT = 20.0


class Exim:
    """An Exim that serves port 25 in a namespace, from ``start`` until the lab ends at the
    latest."""

    def __init__(self, lab: Lab, where: str, settings: Sequence[str] = ()) -> None:
        """Create it; *settings* are lines for its main configuration."""
        if not PROGRAM.exists():
            raise LabError(f"missing: {PROGRAM}; run script/setup, which unpacks Exim there")
        self._lab = lab
        self._where = where
        self.directory = lab.directory / "exim"
        user = pwd.getpwnam(USER)
        for each in ("", "spool", "log", "mail"):
            (self.directory / each).mkdir()
            os.chown(self.directory / each, user.pw_uid, user.pw_gid)
        self.configuration = self.directory / "exim.conf"
        self.configuration.write_text(
            CONFIGURATION.format(
                directory=self.directory,
                address=EXIM_ADDRESS,
                address6=EXIM_ADDRESS6,
                settings="\n".join(settings),
            )
        )
        self.mailbox = Maildir(self.directory / "mail/box")

    def log(self) -> str:
        """The log so far."""
        return "".join(
            file.read_text(errors="replace") for file in sorted((self.directory / "log").iterdir())
        )

    def start(self) -> None:
        """Start it and return when it is ready; raises LabError with its log if it does not
        start."""
        self._lab.run(self._where, [PROGRAM, "-C", self.configuration, "-bd"])
        self._lab.at_close(self.stop)
        deadline = time.monotonic() + START_TIMEOUT
        while "daemon started" not in self.log():
            if time.monotonic() > deadline:
                raise LabError(f"Exim does not start: {self.log()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it, if it is running."""
        pid_file = self.directory / "exim.pid"
        if pid_file.exists():
            pid = pid_file.read_text().strip()
            self._lab.run(self._where, ["kill", pid], check=False)
