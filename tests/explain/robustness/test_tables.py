"""Shares, intervals and paired tests against counts by hand."""

from __future__ import annotations

import pytest
import torch

from whywrong.core.statistics import wilson
from whywrong.explain.robustness.kinds import ROWS
from whywrong.explain.robustness.parts import Part
from whywrong.explain.robustness.tables import Measured, Missing, comparison_table, image_table, row_table, trial_table

KINDS = {kind.name: kind for kind in ROWS}


def measured(name: str, model: int, predicted: torch.Tensor, *, kind: str = "", **given) -> Measured:
    n, t = predicted.shape
    labels = torch.zeros(n, dtype=torch.int64)
    empty = torch.zeros(n, 0)
    given = {"source": model, "base": "clean", "clean_mass": empty, "mass": empty, **given}
    trials = tuple(str(number) for number in range(t))
    part = Part(name=name, model=model, trials=trials, predicted=predicted, fooled=predicted != 0, **given)
    ids = tuple(map(str, range(n)))
    return Measured(KINDS[kind or name], part, ids, ids, labels)


def column(*values: int) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def test_only_images_that_were_right_count_as_fooled():
    clean = measured("clean", 0, column(0, 0, 0, 1))
    attack = measured("pgd_linf", 0, column(1, 0, 0, 1))
    rows = row_table([clean, attack], [], ["m"]).to_pylist()
    assert [row["right"] for row in rows] == [3, 3]
    expected = wilson(1, 3)
    assert (rows[1]["fooled"], rows[1]["fooled_low"]) == (expected.value, expected.low)
    assert rows[1]["accuracy"] == 0.5
    assert rows[0]["fooled"] is None


def test_any_counts_images_and_fooled_counts_trials():
    clean = measured("clean", 0, column(0, 0))
    patch = measured("patch_noise", 0, torch.tensor([[0, 1, 0, 0], [0, 0, 0, 0]]))
    row = row_table([clean, patch], [], ["m"]).to_pylist()[1]
    assert (row["fooled"], row["any"], row["trials"]) == (1 / 8, 1 / 2, 4)
    assert trial_table([patch, clean], ["m"]).to_pylist()[1]["fooled"] == 0.5


def test_a_model_that_is_never_right_has_no_rate_and_no_test():
    rows = [measured("clean", i, column(1, 1)) for i in (0, 1)]
    rows += [measured("pgd_linf", i, column(1, 1)) for i in (0, 1)]
    assert row_table(rows, [], ["a", "b"]).to_pylist()[2]["fooled"] is None
    tests = comparison_table(rows, ["a", "b"], 0).to_pylist()
    assert [one["p_adjusted"] for one in tests if one["row"] == "pgd_linf"] == [None]


def test_a_clear_difference_is_decided_and_equal_models_are_not():
    right = torch.zeros(40, 1, dtype=torch.int64)
    weak, strong = torch.ones_like(right), right
    clean = [measured("clean", i, right) for i in (0, 1)]
    tests = comparison_table([*clean, measured("pgd_linf", 0, weak), measured("pgd_linf", 1, strong)], ["a", "b"], 0)
    by_row = {one["row"]: one for one in tests.to_pylist()}
    assert by_row["pgd_linf"]["difference"] == 1
    assert by_row["pgd_linf"]["p_adjusted"] < 0.001
    assert by_row["clean"]["p_adjusted"] == 1
    same = comparison_table([*clean, *(measured("pgd_linf", i, weak) for i in (0, 1))], ["a", "b"], 0).to_pylist()
    assert all(one["p_adjusted"] == 1 for one in same)


@pytest.mark.parametrize("seed", range(3))
def test_with_random_answers_no_test_is_decided(seed):
    draw = torch.Generator().manual_seed(seed)
    rows = [measured("clean", i, torch.zeros(60, 1, dtype=torch.int64)) for i in (0, 1)]
    for name in ("pgd_linf", "noise_linf", "patch_noise", "affine_random", "corruptions"):
        rows += [measured(name, i, torch.randint(0, 2, (60, 3), generator=draw)) for i in (0, 1)]
    tests = comparison_table(rows, ["a", "b"], 0).to_pylist()
    assert len([one for one in tests if one["kind"] == "control"]) == 2
    assert all(one["p_adjusted"] > 0.05 for one in tests)


def test_an_attack_is_compared_with_its_noise_on_the_same_model():
    right = torch.zeros(30, 1, dtype=torch.int64)
    rows = [measured("clean", 0, right), measured("pgd_linf", 0, right + 1), measured("noise_linf", 0, right)]
    (one,) = comparison_table(rows, ["m"], 0).to_pylist()
    assert (one["kind"], one["first"], one["second"], one["difference"]) == ("control", "m", "noise_linf", 1)
    assert one["p_adjusted"] < 0.001


def test_attention_is_read_on_images_that_were_right():
    clean = measured("clean", 0, column(0, 0, 1))
    before, after = (torch.tensor(values)[:, None] for values in ([0.1, 0.2, 0.9], [0.3, 0.4, 0.9]))
    patch = measured("patch_noise", 0, column(0, 0, 0), clean_mass=before, mass=after)
    row = row_table([clean, patch], [], ["m"]).to_pylist()[1]
    assert row["mass_before"] == pytest.approx(0.15)
    assert row["mass_change"] == pytest.approx(0.2)


def test_a_missing_row_keeps_its_reason_and_images_keep_their_predictions():
    clean = measured("clean", 0, column(0, 1))
    rows = row_table([clean], [Missing("pgd_linf", "PGD in linf", "attack", 0, "no gradients")], ["m"]).to_pylist()
    assert (rows[1]["reason"], rows[1]["fooled"], rows[1]["model"]) == ("no gradients", None, "m")
    found = image_table([clean], ["m"]).to_pylist()
    assert [(one["predicted"], one["right_unchanged"]) for one in found] == [([0], True), ([1], False)]
