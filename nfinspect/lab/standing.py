"""A lab that stays up: ``nfinspect lab up`` begins it, ``lab down`` ends it.

Postfix runs on the server, and the filter with its rules between it and the client. Their files are in
the lab's directory (`place`): ``server/`` has Postfix's configuration, log and mail, ``filter/`` the
filter's syslog lines and messages.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from nfinspect.lab import place, postfix, topology
from nfinspect.lab.filter import READY, START_TIMEOUT
from nfinspect.lab.lab import orderly_end
from nfinspect.lab.namespaces import NFINSPECT, Namespaces
from nfinspect.lab.topology import FILTER, OUTSIDE_ADDRESS, SERVER, SERVER_ADDRESS, LabError, Shape

PROGRAMS = ("iptables", "postfix", "openssl")

STATIC = f"static (inside,outside) {OUTSIDE_ADDRESS} {SERVER_ADDRESS} netmask 255.255.255.255"
"""The line of a configuration by which the server has its outside address."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a standing lab, for people."""

    prefix: str

    @property
    def policy(self) -> Path:
        """The configuration of the filter, if `lab up` wrote it."""
        return place.directory(self.prefix) / FILTER / "policy.cfg"

    @property
    def syslog(self) -> Path:
        """The syslog lines of the filter that `lab up` started."""
        return place.directory(self.prefix) / FILTER / "syslog"

    @property
    def messages(self) -> Path:
        """Its other messages, of stderr."""
        return place.directory(self.prefix) / FILTER / "messages"

    @property
    def control(self) -> Path:
        """The socket of a filter in the lab, seen from the machine."""
        return place.private_run(self.prefix, FILTER) / "nfinspect.sock"

    @property
    def mail(self) -> Path:
        """The mail that Postfix has delivered, a file for each."""
        return place.directory(self.prefix) / SERVER / "mail/box/new"

    @property
    def mail_log(self) -> Path:
        """Postfix's log."""
        return place.directory(self.prefix) / SERVER / "log"


@dataclass(frozen=True, slots=True)
class FilterPolicy:
    """The policy of the filter in a lab: that of *file*, or *text* if there is one, which is written to
    a file in the lab; the default policy without either."""

    file: Path | None = None
    text: str | None = None


def up(prefix: str, shape: Shape, policy: FilterPolicy | None) -> None:
    """Build the lab *prefix*, start Postfix and the filter in it, and leave it standing. Without a
    *policy* nothing is started.

    Raises LabError if that cannot be done, or if there is such a lab; then nothing is left behind.
    """
    topology.require_root()
    topology.require_name(prefix)
    os.umask(0o022)  # Postfix and its delivery run as other users
    if policy is not None:
        topology.require_programs(*PROGRAMS, *(["nft"] if shape.bridge else []))
    with ExitStack() as stack:
        stack.enter_context(orderly_end())
        lab = Namespaces(prefix, **asdict(shape))
        built = stack.enter_context(ExitStack())
        built.enter_context(lab)
        config = None if policy is None else _begin(lab, policy)
        record = place.Record(
            None,
            shape.bridge,
            shape.nat,
            shape.ipv6,
            bare=policy is None,
            config=None if config is None else str(config),
        )
        record.write(prefix)
        built.pop_all()  # from now on it stays


def _begin(lab: Namespaces, policy: FilterPolicy) -> Path | None:
    """Start everything; return the file with the filter's configuration, if there is one."""
    files = Files(lab.prefix)
    files.syslog.parent.mkdir()
    config = policy.file
    if policy.text is not None:
        config = files.policy
        config.write_text(policy.text)
    words = [*NFINSPECT, "run", "--apply-rules", *(["--bridge"] * lab.bridge)]
    if config is not None:
        words += ["--config", str(config.absolute())]
    with files.syslog.open("ab") as out, files.messages.open("ab") as err:
        filter_ = lab.popen(
            FILTER, words, stdout=out, stderr=err, environment={"PYTHONUNBUFFERED": "1"}
        )
    # Postfix meanwhile
    postfix.server(lab, SERVER, postfix.tls(lab.directory), name=SERVER).start()
    deadline = time.monotonic() + START_TIMEOUT
    while READY not in (said := files.messages.read_text(errors="replace")):
        if filter_.poll() is not None or time.monotonic() > deadline:
            raise LabError("the filter does not start: " + " / ".join(said.splitlines()))
        time.sleep(0.02)
    return config
