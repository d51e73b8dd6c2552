"""The four numbers about the model."""

from dataclasses import replace

from whywrong.report.analyses.verdict.stored import VerdictCounts
from whywrong.report.overview.strip import strip
from whywrong.report.primitives.run_summary import RunSummary

SUMMARY = RunSummary(items=33, read=30, labelled=30, errors=12, failed=1, waiting=2, confident=3)


def texts(summary, tested=None):
    return [
        [text.replace("\u00a0", " ") for text in (one.title, one.value, one.certainty, one.note)]
        for one in strip(summary, tested)
    ]


def test_accuracy_and_errors_carry_interval_and_base():
    accuracy, errors, *_ = texts(SUMMARY)
    # Wilson for 18 of 30: centre (0.6 + 0.06403) / 1.12805, half-width 0.16376: 42.3 to 75.4 %.
    assert accuracy == ["accuracy", "60 %", "95 % interval 42.3 to 75.4 %", "18 of 30 labelled images"]
    assert errors == ["errors", "12", "3 with at least 90 % confidence", "1 could not be read; 2 still to do"]


def test_without_a_verdict_no_cause_is_claimed_and_every_error_needs_a_person():
    *_, cause, person = texts(SUMMARY)
    assert cause[1:3] == ["–", "causes were not tested"]
    assert person[1:3] == ["12", "all, since no cause was tested"]


def test_a_verdict_gives_the_share_with_a_supported_test():
    *_, cause, person = texts(SUMMARY, VerdictCounts(errors=12, supported=6, labels=2, undetermined=3))
    assert cause[1] == "50 %"
    assert cause[2] == "95 % interval 25.4 to 74.6 %"
    assert cause[3] == "6 of 12 errors with a verdict"
    assert person[1:3] == ["5", "2 labels to check, 3 without a cause"]


def test_without_an_error_nothing_is_left_to_do():
    *_, cause, person = texts(replace(SUMMARY, errors=0))
    assert (cause[1], person[1]) == ("–", "0")
