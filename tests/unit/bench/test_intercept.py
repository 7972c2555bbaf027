"""The benchmark of TCP intercept: the ratios and the report; with made-up samples."""

from __future__ import annotations

from bench.intercept import CONDITIONS, DIRECT, INTERCEPTED, Transfer, ratios, results

CABLE, *OTHERS = CONDITIONS


def transfer(way: str, seconds: float, *, round: int = 1) -> Transfer:
    return Transfer(CABLE, way, round, seconds, 7, 0.5)


def test_mail_of_20_mb_is_sent_with_1_percent_lost() -> None:
    assert [each.size for each in OTHERS if each.loss == 0.01] == [20_000_000] * 2


def test_ratio_is_taken_within_a_round_that_has_both() -> None:
    samples = [transfer(DIRECT, 10), transfer(INTERCEPTED, 11), transfer(DIRECT, 20, round=2)]
    samples += [transfer(INTERCEPTED, 30, round=2), transfer(INTERCEPTED, 99, round=3)]
    assert ratios(samples, CABLE) == [1.1, 1.5]
    assert ratios(samples, OTHERS[0]) == []


def test_the_report_has_a_row_for_each_path_that_was_measured() -> None:
    samples = [transfer(DIRECT, 1.0), transfer(INTERCEPTED, 1.25)]
    text = results(samples, {"date": "today"}, "python -m bench intercept")
    (row,) = [line for line in text.splitlines() if line.startswith("| cable")]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells == [CABLE.path, "200 MB", "cubic", "1.00", "1.25", "1.25", "7 / 7", "2.5 / 2.5"]
