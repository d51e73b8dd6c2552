"""Tests of suspected causes against matched controls."""

from __future__ import annotations

import numpy as np
import pytest
from tests.verdicts.making import make

from whywrong.core.statistics import wilson
from whywrong.explain.interventions import BY_NAME
from whywrong.verdicts.controls import matched_controls
from whywrong.verdicts.tests_of_causes import Given, run_tests

R = 200


def spread(n: int, low: float = 0.2, high: float = 2.0) -> np.ndarray:
    return np.linspace(low, high, n)


def reference(restored: float = 0.0, **more: object):
    tests = {"disturb": np.full(R, restored), "denoise": np.full(R, restored), "neutral": np.zeros(R)}
    return make(spread(R), tests=tests, name="r", **more)  # type: ignore[arg-type]


def errors(first: float, rest: float = 0.0, n: int = 40, neutral: float = 0.0, **more: object):
    shares = np.array([first, *[rest] * (n - 1)])
    tests = {"disturb": shares, "denoise": shares, "neutral": np.full(n, neutral)}
    return make(spread(n, 0.5, 1.5), tests=tests, **more)  # type: ignore[arg-type]


def test_controls_are_the_nearest_in_margin():
    pool = spread(R)
    [found] = matched_controls(np.array([1.0]), pool, want=(60, 60))
    assert set(found.tolist()) == set(np.argsort(np.abs(pool - 1.0), kind="stable")[:60].tolist())


def test_controls_of_the_same_class_are_preferred_if_there_are_ten():
    pool, classes = spread(R), np.arange(R) % 10
    [found] = matched_controls(np.array([1.0]), pool, np.array([3]), classes, want=(60, 100), caliper=9)
    assert (classes[found] == 3).sum() == 20  # all of them, though only half of them are among the nearest 100
    rare = np.where(np.arange(R) % 40 == 0, 3, 0)
    [found] = matched_controls(np.array([1.0]), pool, np.array([3]), rare, want=(60, 100), caliper=9)
    assert (rare[found] == 3).sum() == (rare[np.argsort(np.abs(pool - 1.0), kind="stable")[:100]] == 3).sum()


def test_an_image_is_never_its_own_control_nor_one_of_the_same_source():
    pool = spread(R)
    names = tuple(f"s{row // 2}" for row in range(R))
    found = matched_controls(pool[:1], pool, sources=names[:1], pool_sources=names, want=(60, 100))
    assert not {0, 1} & set(found[0].tolist())


def test_images_much_further_from_the_boundary_are_no_controls():
    assert (matched_controls(np.array([-1.0, np.nan]), spread(R)) == -1).all()
    [nearer] = matched_controls(np.array([9.0]), spread(R))
    assert nearer.tolist() == list(range(R - 1, R - 101, -1))


def test_an_effect_beyond_all_controls_is_supported():
    [[test], *_] = run_tests(errors(0.8), reference(), [["adversarial"]] * 40)
    assert (test.outcome, test.reason, test.controls) == ("supported", "", 100)
    assert test.p == pytest.approx(1 / 101)
    assert test.effect == pytest.approx(0.8)
    assert 0 < test.low < 0.8 < test.high <= 1


def test_an_effect_that_controls_share_is_not_supported():
    [[test], *_] = run_tests(errors(0.8), reference(0.8), [["adversarial"]] * 40)
    assert (test.outcome, test.reason) == ("untested", "no more than controls")
    assert test.effect == pytest.approx(0.0)
    assert test.p == 1


def test_a_rare_but_small_effect_is_not_supported():
    [[test], *_] = run_tests(errors(0.2), reference(), [["adversarial"]] * 40)
    assert test.p_holm < 0.05
    assert test.outcome == "untested"


def test_p_values_are_adjusted_for_the_causes_whose_test_ran():
    data = errors(0.8, signs={"noise_level": np.full(40, 9.0)})
    pool = reference(signs={"noise_level": spread(R)})
    [tests, *_] = run_tests(data, pool, [["adversarial", "corruption", "confusion"], *[[]] * 39])
    assert [test.name for test in tests] == ["disturb", "denoise", ""]
    assert [test.p_holm for test in tests[:2]] == pytest.approx([2 / 101, 2 / 101])
    assert tests[2].reason == "no intervention"
    assert np.isnan(tests[2].p_holm)


def test_more_than_three_causes_are_refused():
    with pytest.raises(ValueError, match="at most 3"):
        run_tests(errors(0.8), reference(), [["adversarial"] * 4, *[[]] * 39])


def test_corruption_is_tested_by_the_restoration_of_the_damage_that_pixels_show():
    signs = {"noise_level": np.array([9.0, *[1.0] * 39]), "contrast": np.array([1.0, 0.01, *[1.0] * 38])}
    data = errors(0.8, signs=signs)
    pool = reference(signs={"noise_level": spread(R), "contrast": spread(R, 0.5, 1.5)})
    [[noisy], [flat], [clean], *_] = run_tests(data, pool, [["corruption"]] * 40)
    assert (noisy.name, noisy.outcome) == ("denoise", "supported")
    assert (flat.name, flat.reason) == ("", "no damage found")  # its restoration was not measured
    assert clean.reason == "no damage found"


def test_a_restoration_that_a_flip_equals_proves_no_damage():
    signs = {"noise_level": np.full(40, 9.0)}
    data, pool = errors(0.8, neutral=0.6, signs=signs), reference(signs={"noise_level": spread(R)})
    [[test], *_] = run_tests(data, pool, [["corruption"]] * 40)
    assert (test.outcome, test.reason) == ("untested", "neutral edits restore it as well")
    [[planted], *_] = run_tests(data, pool, [["corruption"]] * 40, natural=False)
    assert planted.outcome == "supported"


def test_an_effect_that_other_errors_of_equal_margin_share_proves_nothing():
    data, pool = errors(0.8, rest=0.7), reference()
    [[test], *_] = run_tests(data, pool, [["adversarial"]] * 40)
    assert (test.outcome, test.reason) == ("untested", "other errors respond as well")
    assert test.others == pytest.approx(0.7)
    [[planted], *_] = run_tests(data, pool, [["adversarial"]] * 40, natural=False)
    assert planted.outcome == "supported"


def test_only_errors_that_were_measured_are_compared_with():
    """Only 29 of the errors were measured, and not the nearest ones."""
    data = errors(0.8, n=200)
    values = data.test("disturb").copy()
    values[[*range(1, 31), *range(60, 200)]] = np.nan
    object.__setattr__(data, "restored", np.stack([values, values, np.zeros(200)], 1).astype(np.float32))
    [[test], *_] = run_tests(data, reference(), [["adversarial"], *[[]] * 199])
    assert test.others == pytest.approx(0.0)
    assert test.outcome == "supported"


def test_with_few_other_errors_nothing_is_supported_on_natural_errors():
    few = errors(0.8).at(np.arange(10))
    [[test], *_] = run_tests(few, reference(), [["adversarial"]] * 10)
    assert (test.outcome, test.reason) == ("untested", "not enough other errors")


def test_with_few_controls_nothing_is_tested():
    [[test], *_] = run_tests(errors(0.8), reference().at(np.arange(50)), [["adversarial"]] * 40)
    assert (test.outcome, test.reason) == ("untested", "not enough controls")


def test_a_test_without_power_supports_nothing():
    [[test], *_] = run_tests(errors(0.8), reference(), [["adversarial"]] * 40, power={"disturb": 0.1})
    assert (test.outcome, test.reason) == ("untested", "no power")


def given(wins: list[int], losses: list[int], both: int = 0, name: str = "transplant") -> Given:
    """Wins and losses of the first errors; the others have none."""
    won, lost = (np.array([*values, *[0] * (40 - len(values))]) for values in (wins, losses))
    return Given(share=(won + both) / 16, control=(lost + both) / 16, wins=won, losses=lost, edits=16, name=name)


def test_what_is_given_to_other_images_decides_on_a_spurious_cue():
    found = run_tests(errors(0.0), reference(), [["spurious"]] * 40, {"spurious": given([9, 9, 4], [0, 7, 0])})
    [[cue], [chance], [few], [none], *_] = found
    assert (cue.outcome, cue.direction, cue.name) == ("supported", "give", "transplant")
    assert (cue.restored, cue.control) == (9 / 16, 0)
    assert cue.p == pytest.approx(2**-9)
    assert 0.25 < cue.low < 9 / 16 < cue.high
    assert [test.outcome for test in (chance, few, none)] == ["untested"] * 3
    assert few.p == pytest.approx(1 / 16)
    assert none.p == 1


def test_spurious_is_untested_without_a_transplant():
    [[test], *_] = run_tests(errors(0.8), reference(), [["spurious"]] * 40)
    assert (test.outcome, test.reason) == ("untested", "not measured")


def test_a_difference_that_turns_other_images_is_not_adversarial():
    turned = {"adversarial": given([8] * 40, [0] * 40, name="difference")}
    [[test], *_] = run_tests(errors(0.8), reference(), [["adversarial"]] * 40, turned)
    assert (test.outcome, test.reason) == ("untested", "reverse test")


def test_a_restoration_whose_damage_does_nothing_to_other_images_proves_nothing():
    signs = {"noise_level": np.full(40, 9.0)}
    data, pool = errors(0.8, rest=0.8, signs=signs), reference(signs={"noise_level": spread(R)})
    reverse = {"corruption": given([8, 1], [0, 0], name="damage")}
    [[does], [does_not], *_] = run_tests(data, pool, [["corruption"]] * 40, reverse, natural=False)
    assert does.outcome == "supported"
    assert (does_not.outcome, does_not.reason) == ("untested", "reverse test")


def test_a_label_needs_a_second_model_that_predicts_the_same():
    signs = {"survival_kept": np.array([1.0, *[0.3] * 39])}
    data, pool = errors(0.0, signs=signs), reference(signs={"survival_kept": np.full(R, 0.4)})
    [[test], *_] = run_tests(data, pool, [["label"]] * 40)
    assert (test.outcome, test.reason) == ("untested", "no second model predicts the same")


def test_without_scores_no_controls_can_be_matched():
    data = errors(0.8)
    blind = make(spread(40, 0.5, 1.5), tests={"disturb": data.test("disturb")})
    object.__setattr__(blind, "logits", np.zeros((40, 0), np.float32))
    [[test], *_] = run_tests(blind, reference(), [["adversarial"]] * 40)
    assert (test.outcome, test.reason) == ("untested", "access")


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "neutral"])
def test_role_played_images_left_out_of_their_controls_are_rarely_significant(name):
    """Shares that depend on the margin, in steps of one edit: P(p <= 0.05) must not exceed 0.05 by more than chance."""
    rng = np.random.default_rng(1)
    n, edits = 1000, BY_NAME[name].forwards
    margin = rng.uniform(0.1, 2.5, n)
    shares = rng.binomial(edits, np.exp(-2 * margin)) / edits
    damage = {"noise_level": rng.normal(size=n)}
    everything = make(margin, tests={name: shares}, signs=damage, name="r")
    held = everything.at(np.arange(500))
    cause = BY_NAME[name].cause
    if BY_NAME[name].primary and cause == "adversarial":
        p = np.array([test.p for [test] in run_tests(held, everything, [[cause]] * 500, natural=False)])
    else:
        found = matched_controls(margin[:500], margin, sources=held.sources, pool_sources=everything.sources)
        p = (1 + (shares[found] >= shares[:500, None]).sum(1)) / (1 + found.shape[1])
        p = np.where((found >= 0).all(1), p, 1.0)
    hits = int((p <= 0.05).sum())
    assert hits / 500 <= 0.05 or wilson(hits, 500).low <= 0.05
    assert wilson(hits, 500).high <= 0.08
