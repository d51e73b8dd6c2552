"""A call of a method checks its arguments, counts passes by image and says how each row ended."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import AccessError, InputError
from whywrong.core.status import Status
from whywrong.models.classifier import Classifier
from whywrong.models.method_call import BAD_PIXELS, NOT_FINITE, SKIPPED, MethodCall


class Corner(nn.Module):
    """Logits (0, 10 c - 5), c the corner pixel; NaN where it is exactly 0.75."""

    def forward(self, x: Tensor) -> Tensor:
        corner = x[:, 0, 0, 0]
        logits = torch.stack([torch.zeros_like(corner), 10 * corner - 5], 1)
        return torch.where((corner == 0.75)[:, None], torch.nan, logits)


def images(*corners: float) -> Tensor:
    x = torch.full((len(corners), 3, 2, 2), 0.5)
    x[:, 0, 0, 0] = torch.tensor(corners)
    return x


def call(x: Tensor, y: list[int], **given) -> MethodCall:
    given = {"method": "probe", "access": Access.SCORES, **given}
    return MethodCall(Classifier(Corner()), x, torch.tensor(y, dtype=torch.int64), **given)


def test_rows_end_as_the_clean_pass_says_and_only_asked_rows_are_counted():
    x = images(1.0, 0.0, math.nan, 0.75, 0.25)
    detail = torch.tensor([True, True, True, True, False])
    with call(x, [0, 0, 0, 0, 0], detail=detail, skips=True) as now:
        rows, logits = now.clean_pass(correct=Status.ALREADY_CORRECT)
    assert rows.tolist() == [0]
    assert logits.tolist() == [[0.0, 5.0]]
    assert now.outcome()["status"] == [
        Status.OK,
        Status.ALREADY_CORRECT,
        Status.BAD_INPUT,
        Status.REFUSED,
        Status.SKIPPED,
    ]
    assert now.outcome()["reason"] == [None, None, BAD_PIXELS, NOT_FINITE, SKIPPED]
    assert now.forwards.tolist() == [1, 1, 0, 1, 0]
    assert set(now.outcome()) == {"status", "reason", "forwards", "backwards"}


def test_a_gradient_counts_one_backward_pass_for_each_value():
    with call(images(1.0, 0.0), [0, 0], access=Access.GRADIENTS) as now:
        rows = torch.tensor([1, 1, 0])
        _, value, grad = now.gradient(rows, now.x[rows], lambda logits, _: logits)
    assert value.shape == (3, 2)
    assert grad[:, 1, 0, 0, 0].tolist() == [10.0] * 3
    assert now.forwards.tolist() == [1, 2]
    assert now.backwards.tolist() == [2, 4]


def test_what_is_said_last_of_a_row_holds():
    with call(images(1.0, 0.0), [0, 0]) as now:
        now.mark(torch.tensor([0, 1]), Status.REFUSED, "first")
        now.mark(torch.tensor([False, True]), Status.NO_ANSWER)
    assert now.outcome()["status"] == [Status.REFUSED, Status.NO_ANSWER]
    assert now.outcome()["reason"] == ["first", None]
    assert now.rows.tolist() == []
    assert now.having(Status.NO_ANSWER).tolist() == [False, True]


def test_an_empty_batch_and_rows_without_a_question_send_nothing():
    for x in (images(), images(math.nan)):
        with call(x, [0] * len(x)) as now:
            rows, logits = now.clean_pass()
        assert len(rows) == len(logits) == int(now.forwards.sum()) == now.classifier.forwards == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"keys": torch.arange(3)}, "keys must be"),
        ({"keys": torch.zeros(2)}, "keys must be"),
        ({"detail": torch.ones(2)}, r"detail must be bool \(2,\)"),
        ({"detail": torch.ones(3, dtype=torch.bool)}, r"detail must be bool \(2,\)"),
        ({"masks": torch.ones(2, 3, 3, dtype=torch.bool)}, r"masks must be bool \(2, 2, 2\)"),
    ],
)
def test_arguments_that_break_the_contract_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        call(images(0.0, 1.0), [0, 1], **given)


def test_labels_and_classes_are_checked_once_the_first_pass_tells_how_many_there_are():
    with call(images(0.0), [2]) as now, pytest.raises(InputError, match=r"label 2 of row 0 is outside 0\.\.1"):
        now.clean_pass()
    with call(images(0.0), [0], classes=3) as now, pytest.raises(InputError, match="needs at least 3 classes"):
        now.clean_pass()


def test_too_little_access_is_refused_by_the_name_of_the_method():
    with pytest.raises(AccessError, match="probe needs access to INTERNALS"):
        MethodCall(
            Classifier(Corner(), access=Access.SCORES), images(0.0), torch.tensor([0]), method="probe",
            access=Access.INTERNALS,
        )  # fmt: skip


def test_keys_default_to_seed_and_row_and_are_taken_as_given():
    one, same, other = (call(images(0.0, 1.0), [0, 0], seed=seed).keys.tolist() for seed in (1, 1, 2))
    assert one == same
    assert not set(one) & set(other)
    assert call(images(0.0), [0], keys=torch.tensor([7])).keys.tolist() == [7]
