"""What SYNPROXY counts, and what follows of it."""

from __future__ import annotations

from nfinspect.live.synproxy import ALL, Lately, parse, unproven

TABLE = """\
entries\t\tsyn_received\tcookie_invalid\tcookie_valid\tcookie_retrans\tconn_reopened
00000000\t0001afeb\t00000001\t00000011\t00000000\t00000000
00000000\t0000529c\t00000000\t00000000\t00000000\t00000000
"""


def test_syns_of_all_processors_are_added_and_completed_handshakes_taken_off() -> None:
    assert parse(TABLE) == 0x1AFEB + 0x529C - 0x11


def test_table_of_another_form_counts_nothing() -> None:
    assert parse("") == parse("entries\n00000000\n") == 0


def test_kernel_s_table_can_be_read() -> None:
    assert unproven() >= 0


class Kernel:
    total = 100

    def __call__(self) -> int:
        return self.total


def test_what_is_counted_is_three_times_that_of_the_last_ten_seconds() -> None:
    kernel = Kernel()
    lately = Lately(kernel)
    found = []
    for second in range(40):
        found.append(lately.count(float(second)))
        kernel.total += 5 * (second < 20)
    assert found[0] == 0
    assert found[10:21] == [150] * 11
    assert found[25] == 75
    assert found[30:] == [0] * 10


def test_counter_that_begins_anew_and_late_handshakes_are_no_flood() -> None:
    kernel = Kernel()
    kernel.total = ALL - 1
    lately = Lately(kernel)
    lately.count(0.0)
    kernel.total = 1
    assert lately.count(1.0) == 6
    lately.forget()
    lately.count(2.0)
    kernel.total = ALL - 1
    assert lately.count(3.0) == 0
