"""Exim in its own directory, as a server or client of the lab.

Debian's Exim and Postfix packages conflict, so ``script/setup`` unpacks Exim's program without
installing it; it runs from there, with configuration, spool and mail below one directory.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nfinspect.lab.mailbox import Maildir
from nfinspect.lab.topology import EXIM_ADDRESS, EXIM_ADDRESS6, LabError

if TYPE_CHECKING:
    from nfinspect.lab.lab import Lab
    from nfinspect.lab.namespaces import Namespaces

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
smtp_banner = ${{if exists{{{directory}/greeting}}{{${{readfile{{{directory}/greeting}}}}}}\
  {{$smtp_active_hostname ESMTP Exim $version_number $tod_full}}}}
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

SENDING = """\
exim_path = {program}
primary_hostname = client.example
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
keep_environment =
disable_ipv6 = true
message_size_limit = 64M
{settings}

begin routers
returned:
  driver = redirect
  senders = :
  data = :blackhole:
relay:
  driver = manualroute
  route_list = * "{relay}" byname
  host_find_failed = fail
  self = send
  transport = out

begin transports
out:
  driver = smtp
  hosts_avoid_tls = *
  message_linelength_limit = 100000
{transport}

begin retry
*  *  F,1h,10m
"""
"""A client. Exim itself would return mail with lines of more than 998 characters. What is returned to the
sender is not sent."""

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
        _make_directories(self.directory, "", "spool", "log", "mail")
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
        return _log(self.directory)

    @contextmanager
    def greeting(self, *lines: str) -> Iterator[None]:
        """Greet with these lines."""
        file = self.directory / "greeting"
        file.write_text("\n".join(lines))
        try:
            yield
        finally:
            file.unlink()

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


def send(
    lab: Namespaces,
    where: str,
    name: str,
    relay: str,
    message: str,
    envelope: Sequence[str],
    *,
    settings: str = "",
    transport: str = "",
) -> str:
    """Send *message* to the address *relay*, trying once; returns the log.

    Its files are in ``lab.directory / name``. *envelope* is the sender and the recipients; *settings* and
    *transport* are lines for the configuration and its smtp transport.
    """
    directory = lab.directory / name
    _make_directories(directory, "", "spool", "log")
    configuration = directory / "exim.conf"
    configuration.write_text(
        SENDING.format(
            program=PROGRAM,
            directory=directory,
            relay=relay,
            settings=settings,
            transport=transport,
        )
    )
    words = ["-C", str(configuration), "-odf", "-oi", "-f", *envelope]
    lab.run(where, [PROGRAM, *words], input=message)
    return _log(directory)


def _make_directories(directory: Path, *names: str) -> None:
    user = pwd.getpwnam(USER)
    for each in names:
        (directory / each).mkdir()
        os.chown(directory / each, user.pw_uid, user.pw_gid)


def _log(directory: Path) -> str:
    files = sorted((directory / "log").iterdir())
    return "".join(file.read_text(errors="replace") for file in files)
