"""The options of a run are checked once, when they are made."""

from __future__ import annotations

import pytest

from whywrong.core.errors import InputError
from whywrong.runs.options import RunOptions


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"limit": 2.5}, r"limit must be a whole number, got 2.5"),
        ({"images": True}, "images must be a whole number"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"limit": -1}, "limit at least 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"images": 0}, "images and time_budget must be above 0"),
        ({"time_budget": 0.0}, "images and time_budget must be above 0"),
        ({"time_budget": float("nan")}, "images and time_budget must be above 0"),
    ],
)
def test_a_number_out_of_range_is_refused(options, text):
    with pytest.raises(InputError, match=text):
        RunOptions(**options)
