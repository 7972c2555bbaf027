"""Whom TCP intercept protects: beginning, end, and the time after it."""

from nfinspect.packet.options import SynOptions
from nfinspect.tcp import interception
from nfinspect.tcp.interception import Intercepted, Interceptions, Target

SERVER = bytes([192, 0, 2, 1])
CLIENT = bytes([198, 51, 100, 1])
ALL = Target(b"", SERVER, 25)
PAIR = Target(CLIENT, SERVER, 25)
OFFERED = SynOptions(1400, 3, True, False)


def possible() -> Interceptions:
    found = Interceptions()
    found.possible = True
    return found


def test_nothing_begins_where_the_driver_cannot_intercept() -> None:
    found = Interceptions()
    assert not found.begin(ALL, b"key", None)
    assert not found.active


def test_what_the_server_offered_last_is_what_the_proxy_offers() -> None:
    found = possible()
    found.answers(SERVER, 25, SynOptions())
    found.answers(SERVER, 25, OFFERED)
    assert found.begin(ALL, b"key", None)
    assert found.active == {ALL: Intercepted(None, OFFERED)}


def test_it_ends_at_half_the_limit_and_late_answers_are_still_known() -> None:
    found = possible()
    assert found.begin(ALL, b"key", None)
    found.fallen(b"other", 0, 4)
    found.fallen(b"key", 3, 4)
    assert ALL in found.active
    changes = found.changes
    found.fallen(b"key", 2, 4)
    assert not found.active
    assert found.changes > changes
    found.settle(10.0)
    found.settle(10.0 + interception.AFTERWARDS / 2)
    assert found.proven(CLIENT, SERVER, 25)
    assert set(found.served()) == {ALL}
    found.settle(10.0 + interception.AFTERWARDS)
    assert not found.proven(CLIENT, SERVER, 25)
    assert not found.served()


def test_what_the_kernel_answers_counts_as_embryonic() -> None:
    found = possible()
    assert found.begin(ALL, b"key", None)
    found.answered(3)
    found.fallen(b"key", 0, 4)
    assert ALL in found.active
    found.answered(2)
    assert not found.active


def test_one_that_is_at_its_limit_again_does_not_end_by_what_was_left_before() -> None:
    found = possible()
    assert found.begin(ALL, b"key", None)
    found.answered(3)
    found.fallen(b"key", 0, 4)
    assert found.begin(ALL, b"key", None)
    found.answered(0)
    assert ALL in found.active
    found.fallen(b"key", 2, 4)
    assert not found.active


def test_one_that_two_limits_want_ends_with_the_second() -> None:
    found = possible()
    assert found.begin(ALL, b"class", None)
    assert found.begin(ALL, b"static", None)
    found.fallen(b"class", 0, 4)
    assert ALL in found.active
    found.fallen(b"static", 0, 4)
    assert not found.active


def test_a_pair_says_nothing_of_other_clients() -> None:
    found = possible()
    assert found.begin(PAIR, b"key", None)
    assert found.proven(CLIENT, SERVER, 25)
    assert not found.proven(SERVER, SERVER, 25)
    assert not found.proven(CLIENT, SERVER, 587)


def test_targets_are_bounded() -> None:
    found = possible()
    for port in range(interception.MOST):
        assert found.begin(Target(b"", SERVER, port), b"%d" % port, None)
        found.answers(SERVER, port, OFFERED)
    assert not found.begin(Target(CLIENT, SERVER, 1), b"key", None)
    found.fallen(b"1", 0, 4)  # it still counts until it is forgotten
    assert not found.begin(Target(CLIENT, SERVER, 1), b"key", None)
    found.answers(CLIENT, 1, OFFERED)
    assert len(found._known) == interception.MOST


def test_giving_up_forgets_all() -> None:
    found = possible()
    assert found.begin(ALL, b"key", None)
    found.give_up()
    assert not found.served()
    assert not found.begin(ALL, b"key", None)
