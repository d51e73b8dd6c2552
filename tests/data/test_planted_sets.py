"""The shipped sets: drawn from seeds, read like any source."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from whywrong.core.errors import DataError, InputError
from whywrong.data.planted import NAMES, open_set, render
from whywrong.data.planted.sets import PictureSet, plain_set
from whywrong.data.sources import open_source


def test_a_test_picture_is_what_the_renderer_draws():
    source = open_source("planted:test")
    pictures = open_set("test")
    assert len(source) == len(pictures) == 1_200
    assert set(source.label_counts.values()) == {100}
    entry = list(source.entries())[137]
    assert (entry.key, entry.label) == (f"{NAMES[137 % 12]}/0137", NAMES[137 % 12])
    drawn = render(pictures.scene[torch.tensor([137])])
    assert np.array_equal(source.read(entry), drawn.images[0].permute(1, 2, 0).numpy())
    mask = np.asarray(Image.open(io.BytesIO(source.read_mask(entry)))) > 0
    assert np.array_equal(mask, drawn.object[0].numpy())


def test_causes_name_what_was_planted():
    source = open_source("planted:causes")
    causes = {(entry.cause or "").split(" ")[0] for entry in source.entries()}
    assert causes == {"", "label", "corruption", "adversarial", "spurious", "occluded", "confusion", "shift"}


def test_what_is_done_to_a_picture_is_kept_and_drawn_again(tmp_path):
    few = open_set("test").scene[torch.arange(4)]
    plain = plain_set(few)
    change = torch.zeros(1, 3, 64, 64, dtype=torch.int16)
    change[0, :, 5, 7] = -300
    made = PictureSet(
        few, few.label, ("", "corruption (fog, severity 3)", "adversarial (pgd)", ""), ("", "fog", "", ""),
        torch.tensor([0, 3, 0, 0]), torch.tensor([-1, -1, 0, -1]), change,
    )  # fmt: skip
    rows = torch.arange(4)
    before, after = plain.draw(rows).images, made.draw(rows).images
    assert torch.equal(after[[0, 3]], before[[0, 3]])
    assert (after[1] != before[1]).float().mean() > 0.5
    assert [(after[2] != before[2]).sum(), after[2, :, 5, 7].max()] == [int((before[2, :, 5, 7] > 0).sum()), 0]
    assert torch.equal(made.draw(torch.tensor([2, 1])).images, after[[2, 1]])


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("planted:tests", {}, InputError, 'no drawn set "planted:tests".*nearest: "planted:test"'),
        ("planted:test", {"label_by": "name"}, DataError, "label_by=.* does not apply"),
    ],
)
def test_other_names_and_options_are_refused(name, options, error, words):
    with pytest.raises(error, match=words):
        open_source(name, **options)
