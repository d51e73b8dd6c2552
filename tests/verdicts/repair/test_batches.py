"""What the arms of a repair train on."""

from __future__ import annotations

import torch

from whywrong.verdicts.repair.batches import Images, batches
from whywrong.verdicts.repair.config import ERRORS, REGIONS, REPLAY, RepairConfig
from whywrong.verdicts.repair.units import strongest_window

CONFIG = RepairConfig(steps=20, batch=16)


def images(n: int, value: int, y: int, box: list[float] | None = None) -> Images:
    x = torch.full((n, 3, 8, 8), value, dtype=torch.uint8)
    boxes = torch.tensor([box or [float("nan")] * 4] * n)
    return Images(x, torch.full((n,), y), boxes)


def test_all_arms_see_equally_many_images_and_the_same_correct_ones():
    correct = Images(
        torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(40, 3, 8, 8),
        torch.arange(40),
        images(40, 0, 0).boxes,
    )
    seen = {arm: list(batches(images(5, 200, 1), correct, arm, CONFIG)) for arm in (REPLAY, ERRORS)}
    for (x, y, clean), (other, labels, kept) in zip(seen[REPLAY], seen[ERRORS], strict=True):
        assert x.shape == other.shape == (16, 3, 8, 8)
        assert clean.all()
        assert kept.tolist() == [True] * 12 + [False] * 4
        assert torch.equal(x[:12], other[:12])
        assert torch.equal(y[:12], labels[:12])
        assert (labels[12:] == 1).all()
        assert torch.allclose(other[12:], torch.tensor(200 / 255))


def test_regions_are_pasted_into_correct_images_and_replaced_in_errors_while_labels_stay():
    box = [0.5, 0.5, 1.0, 1.0]
    found = list(batches(images(5, 200, 1, box), images(40, 0, 0), REGIONS, CONFIG))
    into = back = 0
    for x, y, clean in found:
        assert y.tolist() == [0] * 12 + [1] * 4
        for row in range(12):
            pasted = bool(x[row, 0, 7, 7] > 0)
            into += pasted
            assert clean[row] == (not pasted)
            assert x[row, :, :4].max() == 0
        for row in range(12, 16):
            back += bool(x[row, 0, 7, 7] == 0)
            assert (x[row, :, :4] > 0.7).all()
    assert 0.35 < into / 240 < 0.65
    assert 0.3 < back / 80 < 0.7


def test_without_a_known_region_nothing_is_pasted():
    for x, _, clean in batches(images(5, 200, 1), images(40, 0, 0), REGIONS, CONFIG):
        assert clean[:12].all()
        assert x[:12].max() == 0


def test_the_strongest_window_holds_most_evidence():
    evidence = torch.zeros(2, 8, 8)
    evidence[0, 5:8, 0:3] = 1
    evidence[1] = -1
    evidence[1, 2:5, 4:7] = 0
    assert strongest_window(evidence, 0.375).tolist() == [[0.0, 0.625, 0.375, 1.0], [0.5, 0.25, 0.875, 0.625]]
