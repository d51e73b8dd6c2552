"""Taking suspected causes away from images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.explain.edits import edited
from whywrong.explain.interventions import (
    BY_NAME,
    INTERVENTIONS,
    InterventionsConfig,
    InterventionsResult,
    interventions,
    restored_matrix,
)
from whywrong.models.classifier import Classifier

ALL = InterventionsConfig()


def of(score, **options) -> Classifier:
    """A classifier of class 1 where ``score`` (B,) is positive."""
    return Classifier(lambda x: torch.stack([torch.zeros(len(x)), score(x)], 1), **options)


def striped(n: int = 4, level: float = 0.5, height: float = 0.2) -> Tensor:
    """Even images with a pattern of single columns, which smoothing removes."""
    x = torch.full((n, 3, 32, 32), level)
    x[..., ::2] += height
    return x


def roughness(x: Tensor) -> Tensor:
    return (x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3))


def test_a_planted_damage_is_taken_away_and_its_control_is_not_changed():
    """A linear score that only the planted pattern makes wrong: class 1 where the pattern is weak."""
    pattern = torch.ones(32)
    pattern[::2] = -1
    classifier = of(lambda x: 0.05 + (x * pattern).mean((1, 2, 3)))  # the pattern lowers it by 0.1
    damaged = interventions(classifier, striped(), torch.ones(4, dtype=torch.int64))
    assert damaged.predicted.tolist() == [0] * 4
    assert damaged.decompress.tolist() == pytest.approx([1 / 3] * 4)  # smoothing alone undoes it
    assert damaged.denoise.tolist() == pytest.approx([3 / 4] * 4)
    assert (damaged.stretch == 0).all()
    flat = interventions(classifier, striped(height=0.0), torch.zeros(4, dtype=torch.int64))
    assert torch.nan_to_num(restored_matrix(flat)).max() == 0  # even images stay in class 1


def test_a_model_that_ignores_the_image_restores_nothing():
    found = interventions(of(lambda x: x.new_zeros(len(x)) - 1), torch.rand(3, 3, 32, 32), torch.ones(3).long())
    assert (restored_matrix(found) == 0).all()
    assert (found.rung == -1).all()


def test_shares_are_those_of_the_edits_one_by_one():
    torch.manual_seed(0)
    x, keys = torch.rand(6, 3, 32, 32), row_keys(5, 6)
    weight = torch.randn(3, 32, 32)
    classifier = of(lambda x: (x * weight).sum((1, 2, 3)))
    y = 1 - classifier.predict(x)
    found = interventions(classifier, x, y, keys=keys)
    for test in INTERVENTIONS:
        copies = edited(x, keys, test.edits)
        share = torch.stack([(classifier.predict(copy) == y).float() for copy in copies]).mean(0)
        assert torch.allclose(getattr(found, test.name), share), test.name
    first = torch.stack([classifier.predict(copy) == y for copy in edited(x, keys, BY_NAME["small_changes"].edits)], 1)
    assert found.rung.tolist() == [row.index(True) if True in row else -1 for row in first.tolist()]


def test_every_intervention_has_its_column_and_every_edit_is_made_once():
    assert {test.name for test in INTERVENTIONS} <= {column.name for column in InterventionsResult.declared()}
    assert len(set(ALL.edits)) == len(ALL.edits)
    found = interventions(of(lambda x: x.new_zeros(len(x)) - 1), torch.rand(2, 3, 32, 32), torch.ones(2).long())
    assert found.forwards.tolist() == [1 + len(ALL.edits)] * 2
    assert len(ALL.edits) == 32


@pytest.mark.parametrize("cause", ["corruption", "adversarial", "occluded"])
def test_the_test_of_one_cause_costs_at_most_32_passes(cause):
    config = InterventionsConfig(causes=(cause,))
    found = interventions(
        of(lambda x: x.new_zeros(len(x)) - 1), torch.rand(2, 3, 32, 32), torch.ones(2).long(), config=config
    )
    assert int(found.forwards.max()) <= 32
    for test in INTERVENTIONS:
        assert bool(getattr(found, test.name).isnan().all()) == (test.cause not in ("", cause))


def test_images_that_are_right_or_not_asked_for_cost_one_pass_or_none():
    x, y = torch.rand(3, 3, 32, 32), torch.tensor([0, 1, 1])
    detail = torch.tensor([True, True, False])
    found = interventions(of(lambda x: x.new_zeros(len(x)) - 1), x, y, detail=detail)
    assert found.status == ["already_correct", "ok", "skipped"]
    assert found.forwards.tolist() == [1, 1 + len(ALL.edits), 0]
    assert restored_matrix(found)[[0, 2]].isnan().all()


def test_answers_without_scores_suffice():
    classifier = Classifier(
        lambda x: (roughness(x) < 0.05).long(), classes=["a", "b"], output="labels", access=Access.LABELS
    )
    found = interventions(classifier, striped(), torch.ones(4, dtype=torch.int64))
    assert (found.denoise > 0).all()


def test_grey_images_have_no_colours_to_change():
    found = interventions(of(lambda x: x.new_zeros(len(x)) - 1), torch.rand(2, 1, 32, 32), torch.ones(2).long())
    assert found.saturate.isnan().all()
    assert found.desaturate.isnan().all()
    assert not found.decompress.isnan().any()


def test_a_flip_is_left_out_where_it_changes_the_meaning():
    config = InterventionsConfig(causes=(), flip=False)
    left = of(lambda x: x[..., :16].mean((1, 2, 3)) - x[..., 16:].mean((1, 2, 3)))
    x = torch.zeros(1, 3, 32, 32)
    x[..., 16:] = 1
    assert interventions(left, x, torch.tensor([1])).neutral.item() == pytest.approx(0.2)  # the flip of five edits
    found = interventions(left, x, torch.tensor([1]), config=config)
    assert found.neutral.item() == 0
    assert found.forwards.item() == 5


def test_a_cause_that_nothing_takes_away_is_refused():
    with pytest.raises(InputError, match='"confusion"'):
        InterventionsConfig(causes=("confusion",))
