"""Prints docs/attacks.md from the catalogue: ``python -m tests.attacks.document``."""

from __future__ import annotations

from tests.attacks.catalogue import SECTIONS

INTRODUCTION = """\
# Attacks on the stream code, and what happens to them

An attacker has won when the filter and the server see different bytes. The known ways to achieve that,
collected from the literature, are in `tests/attacks` as data: packets, the verdict on each, and what
the server finally reads. This document is generated from them (`python -m tests.attacks.document`).

Each of {ways} variants is played over IPv4 and IPv6 (a few concern only one of them), with sequence
numbers that wrap around,

- through the engine, to model servers that resolve overlaps by the policies first, last, BSD, Windows,
  Linux and Solaris. The verdict on every packet is checked, and what the server has read. All policies
  but Linux are known only from Novak and Sturges, and exist only as models;
- as raw frames through the running filter, to a Linux server that records what it reads
  ({live} of them; in the others the server would have to take part in the attack). Without the filter,
  the same frames of {real} variants deliver the hidden line to the server, so the attacks are real. The
  Linux model resolves overlaps beyond a gap as the kernel does;
- both also where [TCP intercept](tcp.md#tcp-intercept) adds to the server's sequence numbers: in the model with
  two of the policies, live through the kernel's SYNPROXY, except where the handshake itself is the attack;
  and in the model where the filter itself does so, as on a bridge.

In every case the server reads what was approved and nothing else. Unless the table says that the
connection ends, the session continues.

Why it holds: bytes are decided once, in order, and remembered until the server itself has acknowledged
them. So it does not matter what else a server ignores (an old timestamp, a packet that expired on the
way, an acknowledgement out of range): whatever repeats those sequence numbers passes with the bytes
decided first. Words in `code` are reasons that `show queue` counts; [tcp.md](tcp.md) and
[packets.md](packets.md) have the rules.
"""

SOURCES = """\
## Sources

| short | |
| --- | --- |
| Ptacek and Newsham 1998 | *Insertion, Evasion, and Denial of Service: Eluding Network Intrusion Detection* |
| Handley, Paxson and Kreibich 2001 | *Network Intrusion Detection: Evasion, Traffic Normalization, and End-to-End Protocol Semantics* |
| Shankar and Paxson 2003 | *Active Mapping: Resisting NIDS Evasion Without Altering Traffic* |
| Novak and Sturges 2007 | *Target-Based TCP Stream Reassembly*; the table of policies as in Snort and Suricata |
| Beardsley and Qian 2010 | *The TCP Split Handshake* |
| lib·erate 2017 | Li et al., *lib·erate, (n): A Library for Exposing (Traffic-Classification) Rules and Avoiding Them Efficiently* |
| Geneva 2019 | Bock et al., *Geneva: Evolving Censorship Evasion Strategies*; named by the trigger and tampered field of its published strategies |
| SymTCP 2020 | Wang et al., *SymTCP: Eluding Stateful Deep Packet Inspection with Automated Discrepancy Discovery*; named as in the artifact of CLAP (Zhu et al. 2020), which contains them all |
| Themis 2021 | Wang et al., *Themis: Ambiguity-Aware Network Intrusion Detection Based on Symbolic Model Comparison*; named after the files of its 35 single and 8 composite attacks |
| Savage et al. 1999 | *TCP Congestion Control with a Misbehaving Receiver* |
"""


def document() -> str:
    """The text of the document."""
    scripts = [s for attacks in SECTIONS.values() for attack in attacks for s in attack.scripts]
    introduction = INTRODUCTION.format(
        ways=len(scripts),
        live=sum(script.live for script in scripts),
        real=sum(script.effective for script in scripts),
    )
    parts = [introduction]
    for title, attacks in SECTIONS.items():
        rows = [
            f"## {title}",
            "",
            "| attack | source | what happens |",
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
