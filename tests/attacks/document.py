"""docs/attacks.md, printed from the catalogue: ``python -m tests.attacks.document``."""

from __future__ import annotations

from tests.attacks.catalogue import SECTIONS

INTRODUCTION = """\
# Attacks on the stream code, and what becomes of them

An attacker has won when the filter and the server see different bytes. What the literature knows of
ways to that end is in `tests/attacks`, as data: packets, the verdict of each, and what the server
reads in the end. This document is printed from there (`python -m tests.attacks.document`).

Each of {ways} performances is played, over IPv4 and IPv6, with numbers that run over the wrap,

- through the engine, to model servers that resolve overlaps as the first, the last, BSD, Windows,
  Linux and Solaris do: the verdict of every packet is checked, and what the server has read. The
  policies of all but Linux are known from Novak and Sturges and are models only;
- as raw frames through the running filter, to a Linux server that records what it reads
  ({live} of them; in the others the server would have to take part). Without the filter the same
  frames of {real} bring it the line that they hide, so the attacks are real; and overlaps behind a
  gap are resolved by the model of Linux as by the kernel.

In every one of them the server reads what was approved and nothing else, and where the table does not
say that the connection ends, the session goes on.

Why it holds: bytes are decided once, in order, and are remembered until the server itself has
acknowledged them. So it does not matter what else a server ignores (an old timestamp, a packet that
died on its way, an acknowledgement out of range): what repeats those numbers passes as it did before.
Words in `code` are reasons that `show queue` counts; [tcp.md](tcp.md) and [packets.md](packets.md)
have the rules.
"""

SOURCES = """\
## Sources

| short | |
| --- | --- |
| Ptacek and Newsham 1998 | *Insertion, Evasion, and Denial of Service: Eluding Network Intrusion Detection* |
| Handley, Paxson and Kreibich 2001 | *Network Intrusion Detection: Evasion, Traffic Normalization, and End-to-End Protocol Semantics* |
| Shankar and Paxson 2003 | *Active Mapping: Resisting NIDS Evasion Without Altering Traffic* |
| Novak and Sturges 2007 | *Target-Based TCP Stream Reassembly*; the table of policies as Snort and Suricata have it |
| Beardsley and Qian 2010 | *The TCP Split Handshake* |
| lib·erate 2017 | Li et al., *lib·erate, (n): A Library for Exposing (Traffic-Classification) Rules and Avoiding Them Efficiently* |
| Geneva 2019 | Bock et al., *Geneva: Evolving Censorship Evasion Strategies*; named by trigger and tampered field of its published strategies |
| SymTCP 2020 | Wang et al., *SymTCP: Eluding Stateful Deep Packet Inspection with Automated Discrepancy Discovery*; named as in the artifact of CLAP (Zhu et al. 2020), which has them all |
| Themis 2021 | Wang et al., *Themis: Ambiguity-Aware Network Intrusion Detection Based on Symbolic Model Comparison*; named by the files of its 35 single and 8 composite attacks |
| Savage et al. 1999 | *TCP Congestion Control with a Misbehaving Receiver* |
"""


def document() -> str:
    """The text of the whole document."""
    scripts = [s for attacks in SECTIONS.values() for attack in attacks for s in attack.scripts]
    introduction = INTRODUCTION.format(
        ways=len(scripts),
        live=sum(script.live for script in scripts),
        real=sum(script.bites for script in scripts),
    )
    parts = [introduction]
    for title, attacks in SECTIONS.items():
        rows = [
            f"## {title}",
            "",
            "| attack | source | what becomes of it |",
            "| --- | --- | --- |",
        ]
        rows += [
            f"| {attack.name} | {'; '.join(attack.sources)} | {attack.outcome} |"
            for attack in attacks
        ]
        parts.append("\n".join(rows) + "\n")
    parts.append(SOURCES)
    return "\n".join(parts)


if __name__ == "__main__":
    print(document(), end="")
