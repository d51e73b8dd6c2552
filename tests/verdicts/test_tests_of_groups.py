"""Tests of the cause that a group shares."""

from __future__ import annotations

import numpy as np
from tests.verdicts.making import make

from whywrong.verdicts.tests_of_causes import CauseTests
from whywrong.verdicts.tests_of_groups import pool_tests

MEMBERS = range(12)


def bench_of(share: np.ndarray, control: np.ndarray, power: float = 0.9, sources: tuple[str, ...] | None = None):
    n = len(share)
    errors = make(np.linspace(0.5, 1.5, n), tests={"disturb": share, "neutral": np.zeros(n)}, sources=sources)
    pool = make(
        np.linspace(0.2, 2, len(control)),
        tests={"disturb": control, "neutral": np.zeros(len(control))},
        name="r",
    )
    return CauseTests(errors, pool, power={"disturb": power})


def members(share: float, n: int = 60) -> np.ndarray:
    return np.array([share if row in MEMBERS else 0.0 for row in range(n)])


CONTROL = np.where(np.arange(200) % 5 == 0, 0.5, 0.0)  # one in five responds by half


def test_an_effect_too_small_for_one_error_supports_the_cause_of_a_group():
    bench = bench_of(members(0.5), CONTROL)
    assert bench.measure(0, "adversarial").p > 0.05
    found = pool_tests(bench, list(MEMBERS), "adversarial")
    assert (found.outcome, found.reason) == ("supported", "")
    assert found.p < 0.01
    assert 0.25 < found.effect < 0.5
    assert found.low > 0


def test_no_effect_contradicts_the_cause_if_the_test_has_power():
    assert pool_tests(bench_of(members(0.0), CONTROL), list(MEMBERS), "adversarial").outcome == "contradicted"
    weak = pool_tests(bench_of(members(0.0), CONTROL, power=0.5), list(MEMBERS), "adversarial")
    assert (weak.outcome, weak.reason) == ("untested", "no more than controls")


def test_errors_of_one_photograph_count_as_one():
    sources = tuple("same" if row in MEMBERS else f"s{row}" for row in range(60))
    found = pool_tests(bench_of(members(0.5), CONTROL, sources=sources), list(MEMBERS), "adversarial")
    assert (found.outcome, found.reason) == ("untested", "fewer than five source images")


def test_groups_of_controls_are_rarely_significant():
    rng = np.random.default_rng(0)
    p = []
    for seed in range(60):
        share = rng.choice(CONTROL, 60)
        p.append(pool_tests(bench_of(share, CONTROL), list(MEMBERS), "adversarial", draws=199, seed=seed).p)
    assert (np.array(p) <= 0.05).mean() <= 0.12


def test_a_group_whose_effect_all_errors_share_supports_nothing():
    found = pool_tests(bench_of(np.full(60, 0.5), CONTROL), list(MEMBERS), "adversarial")
    assert (found.outcome, found.reason) == ("untested", "other errors respond as well")


def test_a_cause_without_intervention_says_so():
    assert pool_tests(bench_of(members(0.5), CONTROL), list(MEMBERS), "confusion").reason == "no intervention"
