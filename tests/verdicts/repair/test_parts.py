"""Split of a run's images for a repair."""

from __future__ import annotations

import numpy as np
from tests.verdicts.repair.test_worklists import predictions

from whywrong.verdicts.cases.predictions import Predictions
from whywrong.verdicts.repair.parts import split


def many(n: int = 4000) -> Predictions:
    found = predictions(n)
    found.predicted[: n // 2] = 0  # half of them are right
    return found


def test_every_image_is_in_one_part_and_half_of_them_measure():
    found, some = split(many(), 10_000, 0), many()
    rows = np.concatenate([found.errors, found.replay, found.choose, found.held])
    assert sorted(rows.tolist()) == list(range(4000))
    assert abs(len(found.held) / 4000 - 0.5) < 0.03
    assert abs(len(found.choose) / 4000 - 0.125) < 0.02
    assert some.wrong[found.errors].all()
    assert not some.wrong[found.replay].any()


def test_images_of_equal_content_are_in_one_part():
    some = many()
    some.image_ids[:] = [f"m{k // 2}" for k in range(4000)]
    held = set(split(some, 10_000, 0).held.tolist())
    assert all((row in held) == (row + 1 in held) for row in range(0, 4000, 2))


def test_the_split_depends_on_content_and_seed_but_not_on_order():
    some, order = many(), np.random.default_rng(0).permutation(4000)
    one, other = split(some, 50, 3), split(some.at(order), 50, 3)
    for name in ("errors", "replay", "choose", "held"):
        assert set(getattr(one, name).tolist()) == set(order[getattr(other, name)].tolist())
    assert len(one.replay) == 50
    assert set(one.held.tolist()) != set(split(some, 50, 4).held.tolist())
