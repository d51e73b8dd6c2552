"""What ``check`` says of images without a valid answer."""

from __future__ import annotations

import json

import pytest
from tests.runs import kit

from whywrong.runs.check import check


@pytest.mark.parametrize(
    ("deed", "reason"),
    [("raise", "the model raised ValueError: poison"), ("nan", "the model returned NaN or infinite")],
)
def test_an_image_without_an_answer_is_named_with_the_reason_of_the_model(tmp_path, deed, reason):
    found = check(kit.reader(poison=(3, 17), deed=deed), kit.array_source(tmp_path, 48))
    assert [key for key, _ in found.failed] == ["images[3]", "images[17]"]
    assert all(text.startswith(reason) for _, text in found.failed)
    assert found.images == 46


def test_a_check_without_any_answer_is_valid_json(tmp_path):
    found = check(kit.reader(poison=tuple(range(48))), kit.array_source(tmp_path, 48))
    assert not found.sound
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (plain["images"], plain["accuracy"]) == (0, None)
    assert len(plain["failed"]) == 48
