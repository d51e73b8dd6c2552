"""Sentences of a verdict."""

from __future__ import annotations

from whywrong.verdicts.decide import Verdict
from whywrong.verdicts.tests_of_causes import CauseTest
from whywrong.verdicts.words import Shown, against_it, for_it, what_to_do, why
from whywrong.verdicts.words import test_sentence as sentence_of

SHOWN = Shown(label="cat", predicted="dog", helpers=("dog",), reference=100, unusual=(("much fine noise", 99),))
DENOISED = CauseTest(
    cause="corruption", name="denoise", restored=1.0, control=0.02, effect=0.98, p=0.01, p_holm=0.02,
    outcome="supported", controls=100,
)  # fmt: skip


def stated(cause: str = "corruption", test: CauseTest = DENOISED) -> Verdict:
    return Verdict(cause=cause, kind="noise", probability=0.91, stated=True, leading=cause, test=test, tests=(test,))


def test_a_stated_cause_is_probable_and_one_without_a_test_only_looks_like_it():
    assert why(stated()) == "Probably damage to the image (noise; 0.91)."
    unsure = Verdict(cause="corruption", probability=0.8, reason="no more than controls", leading="corruption")
    assert why(unsure).startswith(
        "Looks like damage to the image (0.80), but this is not confirmed: the test has no larger effect"
    )
    assert why(Verdict(cause="undetermined", reason="no cause is likely")) == "Undetermined: no cause is likely."


def test_the_control_is_in_the_sentence_of_the_effect():
    text = sentence_of(DENOISED, SHOWN)
    assert text.startswith("Denoising restores cat in ")
    assert "; for 100 comparable correct images, " in text
    assert text.endswith("(p = 0.02).")


def test_a_cause_given_to_others_is_told_in_counts():
    test = CauseTest(
        cause="spurious", name="give_mark", direction="give", restored=0.75, control=0.0, p=1e-4, p_holm=1e-4,
        outcome="supported", controls=16,
    )  # fmt: skip
    assert sentence_of(test, SHOWN) == (
        "If the suspected cause is added to 16 correct images, 12 are predicted as dog; with the control 0 (p < 0.01)."
    )


def test_a_second_opinion_speaks_against_damage_and_for_a_wrong_label():
    assert "Another model predicts dog as well." in against_it(stated(), SHOWN)
    label = Verdict(cause="label", probability=0.9, leading="label", reason="no test")
    assert "Another model predicts dog as well." in for_it(label, SHOWN)
    assert against_it(label, SHOWN) == []


def test_unusual_signs_are_told_with_their_counts():
    assert "Unusual: much fine noise, more than in 99 of 100 correct images." in for_it(stated(), SHOWN)


def test_a_measured_action_is_told_instead_of_the_general_one():
    assert what_to_do(stated(), "Denoise: it corrects 5 of 6.") == "Denoise: it corrects 5 of 6."
    assert what_to_do(stated()) != what_to_do(Verdict(cause="undetermined"))
