"""The combiner that ships with the package."""

from __future__ import annotations

import numpy as np
from tests.verdicts.synthetic import measured

from whywrong.explain.signs import SIGNS
from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.situation import SITUATIONS
from whywrong.verdicts.combiner.stored import SHIPPED, combiner_hash, shipped
from whywrong.verdicts.evidence import assemble
from whywrong.verdicts.measured import Measured


def test_it_is_small_and_says_which_nets_and_images_it_was_fitted_on() -> None:
    assert SHIPPED.stat().st_size < 5 * 2**20
    facts = shipped().facts
    for net in facts["nets"]:
        assert net["errors"] > 50
        assert all(net[key] for key in ("net", "family", "data", "licence"))
    assert {"I3", "I3+helper"} <= set(facts["figures"])
    assert len(combiner_hash(shipped())) == 64


def test_every_cause_trained_and_every_situation_is_calibrated() -> None:
    combiner = shipped()
    assert set(combiner.plants.cause.tolist()) == set(range(len(CLASSES)))
    assert len(combiner.temperature) == len(SITUATIONS)
    assert ((combiner.temperature > 0.3) & (combiner.temperature < 3)).all()
    assert ((combiner.threshold >= 0.5) & (combiner.threshold <= 0.99)).all()


def test_its_columns_are_those_of_the_evidence_of_today() -> None:
    names = tuple(sign.name for sign in SIGNS)
    found = assemble(with_signs(9, 0, names), with_signs(80, 1, names), None, stages=("pixels", "scores"))
    assert set(shipped().columns.names) == set(found.names)


def test_correct_images_in_the_part_of_errors_are_rarely_given_a_cause_of_damage() -> None:
    # Signs without any relation to each other: nothing to find.
    names = tuple(sign.name for sign in SIGNS)
    stages = ("pixels", "scores", "survival", "gradient", "crops", "windows")
    evidence = assemble(with_signs(200, 2, names), with_signs(200, 3, names), None, stages=stages)
    found = shipped().predict(evidence)
    np.testing.assert_allclose(found.probability.sum(1), 1)
    assert found.stated.mean() <= 0.05


def with_signs(n: int, seed: int, names: tuple[str, ...]) -> Measured:
    """Measurements of ``n`` images with random signs of these names."""
    from dataclasses import replace

    signs = np.random.default_rng(seed).random((n, len(names))).astype(np.float32)
    return replace(measured(n, seed, name=f"set {seed}"), sign_names=names, signs=signs)
