"""Rules of ``--fail-on``."""

from __future__ import annotations

import pytest

from whywrong.core.errors import InputError
from whywrong.verdicts.telling.fail_on import judge, parse_rule


def rows(spurious: int, supported: int, rest: int) -> list[dict[str, str]]:
    made = [{"cause": "spurious", "tested": "untested"}] * spurious
    made += [{"cause": "spurious", "tested": "supported"}] * supported
    return made + [{"cause": "undetermined", "tested": "untested"}] * rest


def test_a_rule_is_read_with_and_without_test_and_percent():
    share = parse_rule("spurious>5%")
    assert (share.cause, share.tested, share.sign, share.bound, share.percent) == ("spurious", "", ">", 0.05, True)
    number = parse_rule(" label : supported >= 10 ")
    assert (number.cause, number.tested, number.sign, number.bound) == ("label", "supported", ">=", 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spurious", "takes CAUSE"),
        ("spurius>5%", 'no cause "spurius"; nearest: "spurious"'),
        ("label:suported>1", 'nearest: "supported"'),
        ("label>500%", "at most 100 %"),
        ("label=5", "takes CAUSE"),
    ],
)
def test_a_rule_that_cannot_be_read_says_what_is_wrong(text, message):
    with pytest.raises(InputError, match=message):
        parse_rule(text)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("spurious>5%", "met"),
        ("spurious>10%", "not met"),
        ("spurious>=10%", "met"),
        ("spurious:supported>5", "not met"),
        ("spurious:supported>=5", "met"),
        ("undetermined<90", "not met"),
        ("label<1", "met"),
    ],
)
def test_a_rule_counts_errors_of_its_cause(text, outcome):
    assert judge(parse_rule(text), rows(5, 5, 90)).outcome == outcome


def test_a_result_within_its_interval_is_undecided_only_if_strict():
    rule, found = parse_rule("spurious>5%"), rows(6, 0, 94)
    assert judge(rule, found).outcome == "met"
    assert judge(rule, found, strict=True).outcome == "undecided"
    assert judge(rule, rows(60, 0, 40), strict=True).outcome == "met"
    assert judge(rule, rows(0, 0, 400), strict=True).outcome == "not met"


def test_a_run_without_errors_meets_no_lower_bound():
    assert judge(parse_rule("spurious>5%"), [], strict=True).outcome == "not met"
