"""Checks at the public doors, margins, input specs and the tree of errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from whywrong.core import errors
from whywrong.core.checks import bad_rows, check_classes, check_images, check_labels
from whywrong.core.errors import InputError
from whywrong.core.input_spec import InputSpec
from whywrong.core.margins import best_other, error_margin


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.zeros(3, 4, 4), r"\(B, C, H, W\)"),
        (torch.zeros(1, 3, 4, 4, 1), r"\(B, C, H, W\)"),
        (np.zeros((1, 3, 4, 4)), "ndarray"),
        (None, "NoneType"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "divide uint8 images by 255"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.int64), "floating point"),
        (torch.zeros(1, 1, 4, 4), "3 channels"),
    ],
)
def test_images_of_another_form_are_refused(x, says):
    with pytest.raises(InputError, match=says):
        check_images(x, 3)


def test_rows_with_bad_values_are_found():
    x = torch.rand(7, 3, 4, 4)
    for row, value in ((1, math.nan), (2, math.inf), (3, -math.inf), (4, 1.01), (5, -0.01)):
        x[row, 2, 1, 3] = value
    x[6] = torch.tensor([0.0, 1.0, 1.0 + 5e-7])[:, None, None]  # rounding of resampling is no fault
    assert bad_rows(x).tolist() == [False, True, True, True, True, True, False]
    assert bad_rows(torch.zeros(2, 3, 0, 4)).tolist() == [True, True]


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (torch.tensor([0.0, 1.0]), "int64"),
        (torch.tensor([0, 1], dtype=torch.int32), "int64"),
        (torch.tensor([True, False]), "int64"),
        (torch.tensor([[0], [1]]), "int64"),
        ([0, 1], "list"),
        (torch.tensor([0]), "2 images came with 1 labels"),
        (torch.tensor([0, 3]), "label 3 of row 1 is outside 0..2"),
        (torch.tensor([-1, 0]), "label -1 of row 0"),
    ],
)
def test_labels_of_another_form_are_refused(y, says):
    with pytest.raises(InputError, match=says):
        check_labels(y, 2, 3)


def test_too_few_classes_are_refused():
    check_classes(2)
    with pytest.raises(InputError, match="at least 3 classes, the classifier has 2"):
        check_classes(2, 3)


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=8), st.data())
def test_error_margin_is_the_best_other_minus_the_true_logit(row, data):
    y = data.draw(st.integers(0, len(row) - 1))
    logits = torch.tensor([row])
    others = [z for i, z in enumerate(row) if i != y]
    assert float(error_margin(logits, torch.tensor([y]))) == pytest.approx(max(others) - row[y], abs=1e-4)
    assert row[int(best_other(logits, torch.tensor([y])))] == max(others)
    assert int(best_other(logits, torch.tensor([y]))) != y


def test_error_margin_has_the_gradient_of_two_logits():
    logits = torch.tensor([[1.0, 5.0, 2.0]], requires_grad=True)
    error_margin(logits, torch.tensor([2])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 1.0, -1.0]]


@pytest.mark.parametrize(
    "options",
    [
        {"channels": 2},
        {"height": 0},
        {"resize": 16},
        {"interpolation": "best"},
        {"mean": (0.5, 0.5, 0.5)},
        {"mean": (0.5,), "std": (0.5,)},
        {"mean": (0.5, 0.5, math.nan), "std": (0.5, 0.5, 0.5)},
        {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.0, 0.5)},
    ],
)
def test_an_input_spec_that_cannot_be_is_refused(options):
    with pytest.raises(InputError):
        InputSpec(**{"height": 32, "width": 32, **options})


def test_every_error_has_one_root_and_a_documented_exit_code():
    found = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(found) > 8
    assert all(issubclass(kind, errors.WhyWrongError) for kind in found)
    assert {kind.exit_code for kind in found} == {2, 3}
    assert errors.EnvironmentFailure.exit_code == 3
