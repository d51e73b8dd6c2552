"""Aligned arrays of what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from whywrong.verdicts.measured import Measured, join


def measured(n: int, start: int = 0, helpers: int = 1) -> Measured:
    rows = np.arange(start, start + n)
    return Measured(
        item_ids=tuple(f"i{row}" for row in rows),
        sources=tuple(f"s{row}" for row in rows),
        label=rows,
        predicted=rows + 1,
        logits=np.stack([rows, rows], 1).astype(np.float32),
        features=np.zeros((n, 0), np.float32),
        sign_names=("one", "two"),
        signs=np.stack([rows, -rows], 1).astype(np.float32),
        test_names=("flip",),
        restored=rows[:, None].astype(np.float32),
        detail=np.zeros((n, 3, 2, 2), np.float16),
        helper_logits=np.tile(rows[None, :, None], (helpers, 1, 2)).astype(np.float32),
        forwards=rows,
        backwards=rows,
    )


def test_joining_the_parts_gives_the_whole_back():
    whole = measured(5)
    again = join([whole.at(np.arange(2)), whole.at(np.arange(2, 5))])
    assert again.item_ids == whole.item_ids
    assert (again.signs == whole.signs).all()
    assert (again.helper_logits == whole.helper_logits).all()


def test_rows_are_chosen_in_every_array_by_index_or_by_mask():
    some = measured(5).at(np.array([3, 1]))
    assert some.item_ids == ("i3", "i1")
    assert some.sources == ("s3", "s1")
    assert some.sign("two").tolist() == [-3, -1]
    assert some.test("flip").tolist() == [3, 1]
    assert some.helper_logits[0, :, 0].tolist() == [3, 1]
    assert measured(3).at(np.array([True, False, True])).label.tolist() == [0, 2]


def test_parts_with_other_signs_are_not_joined():
    from dataclasses import replace

    with pytest.raises(ValueError, match="sign_names differ"):
        join([measured(1), replace(measured(1), sign_names=("one", "three"))])


def test_an_unknown_sign_is_an_error():
    with pytest.raises(KeyError, match="three"):
        measured(1).sign("three")
