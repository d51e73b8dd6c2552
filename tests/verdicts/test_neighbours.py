"""Signs from the nearest correct images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.verdicts.synthetic import measured

from whywrong.verdicts.neighbours import NEIGHBOUR_SIGNS, neighbour_signs


def sign(found: np.ndarray, name: str) -> np.ndarray:
    return found[:, NEIGHBOUR_SIGNS.index(name)]


def test_an_error_among_images_of_its_prediction_has_them_as_neighbours() -> None:
    reference = measured(200, 0)
    centre = np.eye(6, 12, dtype=np.float32)
    draw = np.random.default_rng(1)
    noise = 0.05 * draw.normal(size=(200, 12)).astype(np.float32)
    reference = replace(reference, features=centre[reference.predicted] + noise)
    error = measured(1, 2, name="error")
    error = replace(error, features=3 * centre[error.predicted])
    found = neighbour_signs(error, reference)
    assert sign(found, "feature_share_predicted") == 1
    assert sign(found, "feature_share_label") == 0
    assert sign(found, "feature_log_ratio") > 1
    assert np.isclose(sign(found, "feature_norm"), 3)
    assert sign(found, "feature_distance") < 0.3


def test_images_of_the_own_source_are_no_neighbours() -> None:
    reference = measured(60, 3)
    error = replace(measured(1, 4), features=reference.features[:1], sources=("item-0",))
    assert sign(neighbour_signs(error, reference), "feature_distance") > 0.1
    other = replace(error, sources=("elsewhere",))
    near = sign(neighbour_signs(other, reference), "feature_distance")
    assert near < sign(neighbour_signs(error, reference), "feature_distance")


def test_head_vectors_are_recovered_from_features_and_logits() -> None:
    draw = np.random.default_rng(5)
    weights = draw.normal(size=(12, 6))
    weights[:, 1] = weights[:, 0] + 0.01 * draw.normal(size=12)  # twins
    reference = measured(200, 6)
    reference = replace(reference, logits=(reference.features @ weights + draw.normal(size=6)).astype(np.float32))
    error = replace(measured(2, 7), label=np.array([0, 0]), predicted=np.array([1, 2]))
    found = neighbour_signs(error, reference)
    centred = weights - weights.mean(1, keepdims=True)
    unit = centred / np.linalg.norm(centred, axis=0)
    np.testing.assert_allclose(
        sign(found, "head_cosine"), [unit[:, 0] @ unit[:, 1], unit[:, 0] @ unit[:, 2]], atol=1e-4
    )
    assert sign(found, "head_rank")[0] == 0
    assert sign(found, "head_rank")[1] > 0


def test_scaling_the_logits_or_naming_classes_in_another_order_changes_nothing() -> None:
    reference, errors = measured(70, 8), measured(20, 9, name="error")
    before = neighbour_signs(errors, reference)
    order = np.random.default_rng(10).permutation(6)
    moved = []
    for part in (errors, reference):
        logits = np.empty_like(part.logits)
        logits[:, order] = 5 * part.logits
        moved.append(replace(part, label=order[part.label], predicted=order[part.predicted], logits=logits))
    np.testing.assert_allclose(neighbour_signs(*moved), before, rtol=1e-4, atol=1e-5)


def test_without_features_or_logits_their_signs_are_missing() -> None:
    reference, errors = measured(70, 11), measured(5, 12)
    blind = [replace(part, features=part.features[:, :0]) for part in (errors, reference)]
    found = neighbour_signs(*blind)
    assert np.isnan(found[:, :7]).all()
    assert np.isfinite(sign(found, "pair_closeness")).any()
    answers = [replace(part, logits=part.logits[:, :0]) for part in blind]
    assert np.isnan(neighbour_signs(*answers)).all()


def test_no_error_and_no_reference_give_empty_and_missing_signs() -> None:
    reference = measured(70, 13)
    nothing = np.zeros(0, np.int64)
    assert neighbour_signs(reference.at(nothing), reference).shape == (0, 9)
    assert np.isnan(neighbour_signs(reference, reference.at(nothing))).all()
