"""Numbers and names as people read them."""

import math

import pytest

from whywrong.core.statistics import Interval, wilson
from whywrong.report.numbers import (
    count,
    duration,
    grey_levels,
    interval,
    known,
    listed,
    ordinal,
    percent,
    share,
    shown,
    sig,
)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.31234, "0.312"),
        (0.9996, "1"),
        (26.84, "26.8"),
        (123456, "123,000"),
        (1.5, "1.5"),
        (-0.5, "−0.5"),
        (0.00012, "1.20e−4"),
        (math.nan, "n/a"),
    ],
)
def test_a_number_has_at_most_three_significant_digits(value, text):
    assert sig(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 %"), (1, "100 %"), (0.268, "26.8 %"), (0.00001, "< 0.1 %"), (0.99999, "> 99.9 %"), (0.5, "50 %")],
)
def test_only_exact_shares_read_as_none_or_all(value, text):
    assert plain(percent(value)) == text


def test_a_share_carries_its_counts():
    assert plain(share(134, 500)) == "26.8 % (134 of 500)"


def test_an_interval_is_in_percent():
    # Wilson for 8 of 10, z = 1.96: 0.4902 to 0.9433 (R: binom::binom.confint(8, 10, methods = "wilson")).
    assert plain(interval(wilson(8, 10))) == "49 to 94.3 %"
    assert interval(Interval(math.nan, 0, 1)) == "n/a"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.84, "0.84 s"), (250, "4 min 10 s"), (60, "1 min"), (7500, "2 h 5 min"), (7200, "2 h")]
)
def test_a_duration_is_told_in_the_units_of_a_clock(seconds, text):
    assert plain(duration(seconds)) == text


def test_one_thing_is_singular():
    assert plain(count(1, "error")) == "1 error"
    assert plain(count(1252, "error")) == "1,252 errors"
    assert plain(grey_levels(1.0)) == "1 grey level"
    assert plain(grey_levels(0.314)) == "0.31 grey levels"


def test_ordinals_and_lists_read_as_english():
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 22, 101, 111)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "22nd", "101st", "111th",
    ]  # fmt: skip
    assert [listed(["a", "b", "c"][:n]) for n in (0, 1, 2, 3)] == ["", "a", "a and b", "a, b and c"]


def test_unknown_numbers_are_told_apart():
    assert [known(value) for value in (None, math.nan, math.inf, 0, 0.0, "x")] == [
        False, False, False, True, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a\nb\tc", "a\\nb\\tc"),
        ("bad\udcff.png", "bad\\xff.png"),
        (b"bad\xff.png", "bad\\xff.png"),
        ("gpj.\u202efdp", "gpj.\\u202efdp"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("Käse 🧀 猫", "Käse 🧀 猫"),
        ("شجرة", "شجرة"),
    ],
)
def test_a_name_is_one_visible_line(name, text):
    assert shown(name) == text
