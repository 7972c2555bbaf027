"""SYN cookies: what they keep of a SYN, how long they are valid, and what is none."""

from __future__ import annotations

from random import Random

import pytest

from nfinspect.packet.options import SynOptions
from nfinspect.tcp.cookies import PERIOD, SEGMENT_SIZES, Cookies

KEY = bytes([192, 0, 2, 1, 198, 51, 100, 25]) + bytes.fromhex("9c400019")
KEY6 = bytes(32) + bytes.fromhex("9c400019")
PLAIN = SynOptions(1460, 7, True, True)


def made() -> Cookies:
    return Cookies(Random(4).randbytes)


@pytest.mark.parametrize("sack", [True, False])
@pytest.mark.parametrize("key", [KEY, KEY6], ids=["IPv4", "IPv6"])
def test_the_mss_is_kept_as_the_next_one_below_and_sack_as_it_is(key: bytes, sack: bool) -> None:
    sizes = SEGMENT_SIZES[4 if key == KEY else 6]
    cookies = made()
    for size in (None, 1, *(each + more for each in sizes for more in (-1, 0, 1)), 65535):
        cookie = cookies.make(key, 7, SynOptions(size, 7, sack, True), 1.0)
        below = [each for each in sizes if each <= (size or 0)]
        expected = SynOptions(max(below, default=sizes[0]), None, sack, False)
        assert cookies.check(key, 7, cookie, 1.0) == expected


def test_forged_ones_are_none() -> None:
    cookies = made()
    cookie = cookies.make(KEY, 7, PLAIN, 1.0)
    assert cookies.check(KEY, 7, cookie, 1.0) is not None
    assert cookies.check(KEY, 8, cookie, 1.0) is None
    assert cookies.check(KEY[:-1] + b"\1", 7, cookie, 1.0) is None
    for bit in range(32):
        assert cookies.check(KEY, 7, cookie ^ 1 << bit, 1.0) is None
    random = Random(1)
    assert not any(cookies.check(KEY, 7, random.getrandbits(32), 1.0) for _ in range(20_000))


def test_a_cookie_lasts_for_one_period_at_least_and_for_two_at_most() -> None:
    for when in (0.0, PERIOD / 2, PERIOD - 0.01):
        cookies = made()
        cookies.make(KEY, 1, PLAIN, 100.0)  # the first turn begins
        cookie = cookies.make(KEY, 7, PLAIN, 100.0 + when)
        assert cookies.check(KEY, 7, cookie, 100.0 + when + PERIOD) is not None
        assert cookies.check(KEY, 7, cookie, 100.0 + 2 * PERIOD) is None


def test_with_the_keys_their_counts_go() -> None:
    cookies = made()
    for number in range(5):
        cookies.make(KEY, number, PLAIN, 10.0)
    cookies.make(KEY, 9, PLAIN, 10.0 + PERIOD)
    assert cookies.in_flight(10.0 + PERIOD) == 6
    assert cookies.in_flight(10.0 + 2 * PERIOD) == 1
    assert cookies.in_flight(10.0 + 3 * PERIOD) == 0


def test_after_a_long_silence_both_keys_are_new() -> None:
    cookies = made()
    old = cookies.make(KEY, 7, PLAIN, 10.0)
    cookies.make(KEY, 1, PLAIN, 10.0 + 7 * PERIOD)
    assert cookies.check(KEY, 7, old, 10.0 + 7 * PERIOD) is None


def test_no_key_is_used_again() -> None:
    given: list[bytes] = []
    random = Random(4)

    def draw(size: int) -> bytes:
        given.append(random.randbytes(size))
        return given[-1]

    cookies = Cookies(draw)
    for number in range(6):
        cookies.make(KEY, 7, PLAIN, 10.0 + number * PERIOD)
    assert len(given) == len(set(given)) == 6
