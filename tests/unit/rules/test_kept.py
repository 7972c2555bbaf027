"""Our rules, kept as a listing shows them, and put back."""

from nfinspect.rules.kept import kept, restoring

CALL = "-A FORWARD -p tcp -m comment --comment nfinspect -j NFINSPECT"
QUEUE = "-A NFINSPECT -p tcp -m tcp --dport 25 -j NFQUEUE --queue-num 0"
PRESENT = [
    "-P FORWARD ACCEPT",
    "-N NFINSPECT",
    "-N OTHERS",
    "-A FORWARD -i eth0 -j OTHERS",
    CALL,
    "-A FORWARD -p udp -j OTHERS",
    QUEUE,
    "-A OTHERS -j ACCEPT",
]
KEPT = [
    "-N NFINSPECT",
    QUEUE,
    "-I FORWARD 2 -p tcp -m comment --comment nfinspect -j NFINSPECT",
]


def test_only_our_rules_are_kept_with_the_place_of_the_call() -> None:
    assert kept(PRESENT) == KEPT
    assert kept(["-P FORWARD ACCEPT", "-N OTHERS", "-A FORWARD -j OTHERS"]) == []


def test_rules_that_are_there_are_not_put_back() -> None:
    assert restoring("security", KEPT, PRESENT) == ""
    assert restoring("security", [], ["-P FORWARD ACCEPT"]) == ""


def test_others_take_their_place_in_one_transaction() -> None:
    other = [QUEUE.replace("25", "587") if rule == QUEUE else rule for rule in PRESENT]
    assert restoring("security", KEPT, other).splitlines() == [
        "*security",
        "-F NFINSPECT",
        CALL.replace("-A", "-D"),
        "-X NFINSPECT",
        *KEPT,
        "COMMIT",
    ]
    assert restoring("security", [], PRESENT).splitlines()[1:-1] == [
        "-F NFINSPECT",
        CALL.replace("-A", "-D"),
        "-X NFINSPECT",
    ]


def test_call_goes_to_the_end_of_a_chain_that_is_shorter_now() -> None:
    assert "-I FORWARD 1 -p tcp" in restoring("security", KEPT, ["-P FORWARD ACCEPT"])
    others = ["-A FORWARD -p udp", "-A FORWARD -p sctp", "-A FORWARD -p icmp"]
    assert "-I FORWARD 2 -p tcp" in restoring("security", KEPT, others)
