"""Records the captures beside it, and their table, README.md: script/pcaps [CASE...].

Every case of nfinspect/lab/cases.py is performed in the lab, with the filter in the path and without
offloads. A case that does not go as expected stops the recording.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from nfinspect.lab.case import Case, run_case
from nfinspect.lab.cases import CASES, named
from nfinspect.lab.exim import PROGRAM
from nfinspect.lab.lab import Lab, orderly_end
from nfinspect.lab.stage import MailStage

HERE = Path(__file__).parent

HEAD = """\
# Captures

The lab recorded each case with the filter in the path, on both sides of it: `CASE.outside.pcap`
between client and filter, `CASE.inside.pcap` between filter and server. Offloads were off, so every
packet is a frame within the MTU, with its checksum filled in.

    nfinspect replay pcaps/unknown-verb.outside.pcap    # repeat what the filter did to it

`script/pcaps` records them all again, `script/pcaps CASE…` some; it also writes this table. What is
done in a case, and what is expected of it, is in
[nfinspect/lab/cases.py](../nfinspect/lab/cases.py). The policy is the default map, unless the table
names a configuration. Mail software is that of Debian 12:
{software};
`a script` answers, and `typed` sends, what the case says. The names, addresses and mails are
the lab's own; nothing was recorded in anybody's network.

| case | client, server | shows |
| --- | --- | --- |
"""

SERVERS = {"postfix": "Postfix", "exim": "Exim", "script": "a script"}


def main() -> None:
    """Record the cases named on the command line, or all."""
    cases = [named(name) for name in sys.argv[1:]] or list(CASES)
    with orderly_end():
        for config in {case.config: None for case in cases}:
            record([case for case in cases if case.config == config], config)
    table = "".join(map(row, CASES))
    (HERE / "README.md").write_text(HEAD.format(software=software()) + table)


def software() -> str:
    """The mail software and its versions."""
    show = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", "postfix", "swaks", "nmap"]
    installed = subprocess.run(show, capture_output=True, text=True, check=True).stdout.split("\n")
    exim = subprocess.run(
        [PROGRAM, "-C", "/dev/null", "-bV"], capture_output=True, text=True, check=True
    ).stdout
    version = exim.split("version ")[1].split(" #")[0]
    return ", ".join([*filter(None, installed), f"exim {version}"])


def record(cases: Iterable[Case], config: str | None) -> None:
    """Record the cases that share a policy."""
    with Lab(offloads=False) as lab:
        file = None
        if config is not None:
            file = lab.directory / "policy.cfg"
            file.write_text(config)
        running = lab.filter(file)
        stage = MailStage(lab)
        for case in cases:
            outcome = run_case(case, stage, running, lab.directory)
            if not outcome.as_expected:
                wrong = [text for text, met in outcome.judgements if not met]
                sys.exit(f"{case.name}: not as expected: " + "\n".join(wrong))
            for capture in lab.directory.glob(f"{case.name}.*.pcap"):
                (HERE / capture.name).write_bytes(capture.read_bytes())
            if config is not None:
                (HERE / f"{case.name}.cfg").write_text(config)
            print(case.name, flush=True)
        running.stop()


def row(case: Case) -> str:
    """Return the case's row in the table."""
    policy = f" Configuration: [{case.name}.cfg]({case.name}.cfg)." if case.config else ""
    return f"| {case.name} | {case.client}, {SERVERS[case.server]} | {case.shows}{policy} |\n"


if __name__ == "__main__":
    main()
