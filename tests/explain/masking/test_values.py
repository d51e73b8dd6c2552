"""Value functions against probabilities worked out slowly, and where those break down."""

from __future__ import annotations

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_normal, row_keys
from whywrong.explain.masking.values import CLASSES, KINDS, LOG_ODDS, ValueFunction, class_values

ALL = tuple(ValueFunction(kind=kind, of=of) for kind in KINDS for of in CLASSES)


def test_values_are_those_of_the_probabilities():
    logits = 3 * keyed_normal(row_keys(0, 6), (5,))
    y, t = torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor([1, 1, 0, 4, 3, 2])
    found = class_values(logits, y, t, ALL)
    assert found.dtype == torch.float64
    for row in range(6):
        z = logits[row].double()
        p = torch.softmax(z, 0)

        def by_hand(kind, c, z=z, p=p):
            others = [z[k] for k in range(5) if k != c]
            return {
                "log_odds": torch.log(p[c] / (1 - p[c])), "log_prob": torch.log(p[c]), "logit": z[c],
                "margin": z[c] - max(others),
            }[kind]  # fmt: skip

        for column, function in enumerate(ALL):
            true, target = by_hand(function.kind, int(y[row])), by_hand(function.kind, int(t[row]))
            expected = {"true": true, "target": target, "difference": true - target}[function.of]
            assert float(found[row, column]) == pytest.approx(float(expected), abs=1e-9), function.name


def test_log_odds_stay_finite_and_precise_where_probabilities_round_to_one():
    logits = torch.tensor([[1000.0, 0.0, 0.0], [-1000.0, 0.0, 0.0], [80.0, 1.0, 0.0]])
    found = class_values(logits, torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.int64))
    assert found.isfinite().all()
    assert found[0, 0] == pytest.approx(1000 - 0.6931471805599453)
    assert found[1, 0] == pytest.approx(-1000 - 0.6931471805599453)
    assert found[2, 0] == pytest.approx(80 - 1.3132616875182228, abs=1e-12)


def test_two_classes_have_opposite_log_odds():
    found = class_values(torch.tensor([[0.0, 2.0]]), torch.tensor([1]), torch.tensor([0]))
    assert found.tolist() == [[2.0, -2.0, 4.0]]


def test_names_say_function_and_class():
    assert [function.name for function in LOG_ODDS] == ["log_odds_true", "log_odds_target", "log_odds_difference"]


@pytest.mark.parametrize(
    "change",
    [
        {"logits": torch.zeros(2)},
        {"logits": torch.zeros(2, 1)},
        {"logits": torch.zeros(2, 3, dtype=torch.int64)},
        {"y": torch.tensor([0, 3])},
        {"target": torch.tensor([-1, 0])},
        {"target": torch.tensor([0])},
        {"functions": ()},
        {"functions": (LOG_ODDS[0], LOG_ODDS[0])},
        {"functions": ("log_odds",)},
    ],
)
def test_wrong_input_is_refused(change):
    good = {"logits": torch.zeros(2, 3), "y": torch.tensor([0, 1]), "target": torch.tensor([1, 2])}
    with pytest.raises(InputError):
        class_values(**{**good, **change})


def test_unknown_functions_and_classes_are_refused():
    with pytest.raises(InputError, match="log_odds"):
        ValueFunction(kind="probability")
    with pytest.raises(InputError, match="true, target"):
        ValueFunction(of="other")
