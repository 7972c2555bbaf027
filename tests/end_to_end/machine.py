"""A machine of its own for labs: what they leave behind there is theirs alone.

It has its own processes, network, mounts, /run and /tmp, in namespaces that end with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

NFINSPECT = (sys.executable, "-m", "nfinspect")
ROOT = Path(__file__).parents[2]

INIT = """\
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
print("ready", flush=True)
sys.stdin.read()
"""

PREPARATION = """\
# The labs of others, which could not go while this lasts.
cut -d' ' -f5 /proc/self/mountinfo | grep '^/run/' | sort -r | xargs -rn1 umount -l 2>/dev/null
mount -t tmpfs -o size=8m none /run && mount -t tmpfs none /tmp && mount -t proc proc /proc || exit 1
mkdir -m 0755 /run/netns && mount --bind /run/netns /run/netns && mount --make-shared /run/netns || exit 1
ip link set lo up && ip link add standing type bridge && ip address add 192.0.2.10/24 dev standing || exit 1
iptables -A FORWARD -p tcp --dport 25 -j ACCEPT && ip6tables -A FORWARD -p tcp --dport 25 -j ACCEPT || exit 1
nft add table inet standing || exit 1
exec "$@"
"""

LABS = [f"machine{os.getpid()}-{number}" for number in (1, 2)]
"""Names for labs in it; /etc/netns is that of all machines."""

SNAPSHOT = f"""\
ip netns list; ip -o link; ip -o address; ip route; ip -6 route; iptables-save | grep -v '^[#:]'
ip6tables-save | grep -v '^[#:]'; nft list ruleset | grep -v '^#' | sed 's/counter packets.*bytes [0-9]*//'
cat /proc/sys/net/ipv4/ip_forward; cut -d' ' -f4- /proc/self/mountinfo
find /run /tmp; ls -d /etc/netns/{LABS[0]}* /etc/netns/{LABS[1]}* 2>/dev/null
for each in /proc/[0-9]*/cmdline; do
    words=$(tr '\\0\\n' '  ' 2>/dev/null < $each)
    case $words in *mountinfo* | 'tr '* | '') ;; *) echo "$words" ;; esac
done 2>/dev/null
"""


class Machine:
    """Namespaces in which commands run, until it is left."""

    def __enter__(self) -> Self:
        kinds = ["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        self._process = subprocess.Popen(
            ["unshare", *kinds, "sh", "-c", PREPARATION, "sh", sys.executable, "-c", INIT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        self._init = int(children)
        return self

    def __exit__(self, *_: object) -> None:
        self.lab("down", "--all")  # after a failed test; /etc/netns is that of all
        self._process.communicate("", timeout=20)  # and every process in it ends

    def path(self, path: str | Path) -> Path:
        """What is *path* in the machine, seen from outside."""
        return Path(f"/proc/{self._init}/root{path}")

    def popen(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start a command in the machine."""
        enter = [
            "nsenter",
            "--target",
            str(self._init),
            "--mount",
            "--net",
            "--pid",
            "--uts",
            "--ipc",
        ]
        return subprocess.Popen(
            [*enter, "--wd=" + str(ROOT), "--", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine to its end."""
        process = self.popen(*words)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def lab(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run ``nfinspect lab WORDS`` there."""
        return self.run(*NFINSPECT, "lab", *words)

    def begin(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start ``nfinspect lab WORDS`` there."""
        return self.popen(*NFINSPECT, "lab", *words)

    def snapshot(self) -> list[str]:
        """Namespaces, links, addresses, routes, rules, mounts, files and processes of the machine."""
        done = self.run("sh", "-c", SNAPSHOT)
        assert done.returncode == 0, done.stderr
        return sorted(done.stdout.splitlines())


def kill(process: subprocess.Popen[str]) -> None:
    """Kill the program that nsenter has started; nsenter forks to enter the processes' namespace."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), 9)
    process.communicate(timeout=20)


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait for *condition* while *process* runs."""
    deadline = time.monotonic() + 30
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
