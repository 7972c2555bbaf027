"""The text of the rules: what is diverted, replaced and removed."""

import pytest

from nfinspect.rules.diversion import (
    Diversion,
    application,
    are_others,
    describe,
    passes_marked,
    removal,
    untracking,
)

STATES = "-m conntrack --ctstate NEW,ESTABLISHED,RELATED,INVALID,UNTRACKED"
PORT_25 = Diversion((25,))

# As `iptables -S` lists the rules of application(), among rules of others.
PRESENT = [
    "-P INPUT ACCEPT",
    "-P FORWARD ACCEPT",
    "-P OUTPUT ACCEPT",
    "-N NFINSPECT",
    "-N OTHERS",
    "-A FORWARD -i eth0 -j OTHERS",
    "-A FORWARD -p tcp -m comment --comment nfinspect -j NFINSPECT",
    "-A NFINSPECT -p tcp -m tcp --dport 25 -j NFQUEUE --queue-num 0",
    '-A OTHERS -m comment --comment "not for -j NFINSPECT" -j SECMARK',
]


def test_both_directions_are_queued_after_a_conntrack_match() -> None:
    assert application(PORT_25, "security", 4).splitlines() == [
        "*security",
        "-N NFINSPECT",
        '-A FORWARD -p tcp -m comment --comment "nfinspect" -j NFINSPECT',
        f"-A NFINSPECT -p tcp -m tcp --tcp-flags SYN,ACK SYN -m multiport --ports 25 {STATES}"
        ' -m comment --comment "SYNs" -j NFQUEUE --queue-num 32768',
        f"-A NFINSPECT -p tcp -m tcp --dport 25 {STATES}"
        ' -m comment --comment "requests to port 25" -j NFQUEUE --queue-num 0',
        f"-A NFINSPECT -p tcp -m tcp --sport 25 {STATES}"
        ' -m comment --comment "replies from port 25" -j NFQUEUE --queue-num 0',
        "COMMIT",
    ]


def test_marked_injected_packets_stay_untracked() -> None:
    assert untracking().splitlines() == [
        "*raw",
        "-N NFINSPECT",
        "-A OUTPUT -p tcp -m mark --mark 0x8000000/0x8000000"
        ' -m comment --comment "nfinspect" -j NFINSPECT',
        '-A NFINSPECT -m comment --comment "sent by nfinspect" -j CT --notrack',
        "COMMIT",
    ]


PRESENT_IN_RAW = [
    "-P OUTPUT ACCEPT",
    "-N NFINSPECT",
    "-A OUTPUT -p tcp -m mark --mark 0x8000000/0x8000000 -m comment --comment nfinspect"
    " -j NFINSPECT",
    '-A NFINSPECT -m comment --comment "sent by nfinspect" -j CT --notrack',
]


def test_untracking_applied_again_replaces_its_jump() -> None:
    assert untracking(PRESENT_IN_RAW).splitlines()[2] == PRESENT_IN_RAW[2].replace("-A", "-D")
    assert removal("raw", PRESENT_IN_RAW).splitlines()[1:-1] == [
        "-F NFINSPECT",
        PRESENT_IN_RAW[2].replace("-A", "-D"),
        "-X NFINSPECT",
    ]


def test_every_port_is_diverted_in_both_directions() -> None:
    text = application(Diversion((25, 587)), "security", 4)
    for match in ("--dport 25", "--sport 25", "--dport 587", "--sport 587"):
        assert text.count(f" {match} ") == 1


@pytest.mark.parametrize(
    ("diversion", "target", "syn_target"),
    [
        (
            Diversion((25,), first_queue=7),
            "NFQUEUE --queue-num 7",
            "NFQUEUE --queue-num 32775",
        ),
        (
            Diversion((25,), first_queue=7, queues=4),
            "NFQUEUE --queue-balance 7:10",
            "NFQUEUE --queue-balance 32775:32778",
        ),
        (
            Diversion((25,), fail_open=True),
            "NFQUEUE --queue-num 0 --queue-bypass",
            "NFQUEUE --queue-num 32768 --queue-bypass",
        ),
    ],
)
def test_target_has_the_queues_and_bypasses_only_with_fail_open(
    diversion: Diversion, target: str, syn_target: str
) -> None:
    assert diversion.target == target
    syns, *rules = [
        line for line in application(diversion, "mangle", 4).splitlines() if "NFQUEUE" in line
    ]
    assert syns.endswith(f" -j {syn_target}")
    assert len(rules) == 2
    assert all(rule.endswith(f" -j {target}") for rule in rules)


def test_syns_of_any_number_of_ports_go_to_their_queue_first() -> None:
    ports = tuple(range(100, 120))
    targets = [
        line.partition(" -j ")[2]
        for line in application(Diversion(ports), "security", 4).splitlines()
        if "NFQUEUE" in line
    ]
    assert targets == ["NFQUEUE --queue-num 32768"] * 2 + ["NFQUEUE --queue-num 0"] * 40


def test_rules_applied_again_replace_the_jump_in_one_transaction() -> None:
    lines = application(PORT_25, "security", 4, PRESENT).splitlines()
    assert lines[:4] == [
        "*security",
        ":NFINSPECT - [0:0]",
        "-D FORWARD -p tcp -m comment --comment nfinspect -j NFINSPECT",
        '-A FORWARD -p tcp -m comment --comment "nfinspect" -j NFINSPECT',
    ]
    assert lines.count("COMMIT") == 1


LISTED = """\
-N NFINSPECT
-A FORWARD -p tcp -m comment --comment nfinspect -j NFINSPECT
-A NFINSPECT -p tcp -m tcp --tcp-flags SYN,ACK SYN -m multiport --ports 25\
 -m conntrack --ctstate INVALID,NEW,RELATED,ESTABLISHED,UNTRACKED\
 -m comment --comment SYNs -j NFQUEUE --queue-num 32771
-A NFINSPECT -p tcp -m tcp --dport 25 -m conntrack --ctstate INVALID,NEW,RELATED,ESTABLISHED,UNTRACKED\
 -m comment --comment "requests to port 25" -j NFQUEUE --queue-num 3
-A NFINSPECT -p tcp -m tcp --sport 25 -m conntrack --ctstate INVALID,NEW,RELATED,ESTABLISHED,UNTRACKED\
 -m comment --comment "replies from port 25" -j NFQUEUE --queue-num 3
""".splitlines()
"""What iptables -S shows of the rules for port 25."""


def test_rules_of_another_policy_or_version_are_told_from_those_of_this_one() -> None:
    assert not are_others(LISTED, PORT_25, 4)
    assert not are_others(["-P FORWARD ACCEPT"], PORT_25, 4)
    assert are_others(LISTED, Diversion((25, 587)), 4)
    assert are_others(LISTED[:-1], PORT_25, 4)
    assert are_others([rule.replace(",UNTRACKED", "") for rule in LISTED], PORT_25, 4)


def test_connections_that_were_exempt_pass_on_if_that_is_wanted() -> None:
    passing = "-m connmark --mark 0x8000000/0x8000000"
    text = application(PORT_25, "security", 4, PRESENT, keep_marked=True)
    (rule,) = [line for line in text.splitlines() if passing in line]
    assert rule.endswith("-j ACCEPT")
    assert "CONNMARK" not in text  # nobody else gets the mark
    listed = [*LISTED, rule.replace('"', "")]
    assert passes_marked(listed)
    assert not passes_marked(LISTED)
    assert not are_others(listed, PORT_25, 4)


def test_removal_deletes_our_rules_and_no_others() -> None:
    assert removal("security", PRESENT).splitlines() == [
        "*security",
        "-F NFINSPECT",
        "-D FORWARD -p tcp -m comment --comment nfinspect -j NFINSPECT",
        "-X NFINSPECT",
        "COMMIT",
    ]


def test_removal_deletes_a_chain_without_a_jump() -> None:
    present = [rule for rule in PRESENT if not rule.startswith("-A FORWARD")]
    assert removal("security", present).splitlines()[1:-1] == ["-F NFINSPECT", "-X NFINSPECT"]


def test_chains_that_are_no_longer_needed_go_in_the_same_transaction() -> None:
    present = [*PRESENT, "-N NFINSPECT-C1", "-N NFINSPECTOR", "-A NFINSPECT-C1 -j NFINSPECT-C2"]
    lines = application(PORT_25, "security", 4, present).splitlines()
    assert lines[:5] == [
        "*security",
        ":NFINSPECT - [0:0]",
        "-F NFINSPECT-C1",
        "-D FORWARD -p tcp -m comment --comment nfinspect -j NFINSPECT",
        "-X NFINSPECT-C1",
    ]


def test_removal_without_our_rules_is_empty() -> None:
    assert removal("security", ["-P FORWARD ACCEPT", "-A FORWARD -i eth0 -j OTHERS"]) == ""


@pytest.mark.parametrize(
    ("diversion", "family", "words"),
    [
        (PORT_25, "IPv4", ["iptables-restore", "port 25", "queue 0", "none of it passes"]),
        (PORT_25, "IPv6", ["ip6tables-restore"]),
        (Diversion((25, 587), 3, 2, True), "IPv4", ["25 and 587", "queues 3 to 4", "uninspected"]),
    ],
)
def test_description_says_what_the_rules_do(
    diversion: Diversion, family: str, words: list[str]
) -> None:
    lines = describe(diversion, family).splitlines()
    assert all(line.startswith("# ") for line in lines)
    assert all(word in " ".join(lines) for word in words)
