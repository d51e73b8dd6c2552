"""Covering with rivals, against a plain second writing and against models whose cause is known."""

from __future__ import annotations

import pytest
import torch
from tests.contract.nets import build, images
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import AccessError, InputError
from whywrong.explain.covering import CoveringConfig, blurred, covering, window_masks
from whywrong.models.classifier import Classifier

SIDE = 32


class Cue(nn.Module):
    """Class 0 by a bright mark anywhere, else class 1 by a red image, else class 2."""

    def forward(self, x: Tensor) -> Tensor:
        mark = nn.functional.avg_pool2d(x[:, 2:3], 4, stride=1).amax((1, 2, 3))
        red = x[:, 0].mean((1, 2))
        return torch.stack([40 * (mark - 0.6), 20 * (red - 0.3), torch.zeros_like(red)], 1)


def marked(row: int, column: int) -> Tensor:
    """(1, 3, 32, 32) a red image with a blue mark of 4 x 4 pixels."""
    x = torch.zeros(1, 3, SIDE, SIDE)
    x[:, 0] = 0.5
    x[:, 2, row : row + 4, column : column + 4] = 1.0
    return x


def plain(net: nn.Module, x: Tensor, t: int, w: int) -> tuple[float, int, bool]:
    """V, the best window and whether it turns w into t, one window at a time; the grid must divide the image."""
    cell, best, rival = x.shape[-1] // 8, (-1.0, -1, False), -1.0
    soft = blurred(x, 1 / 8)
    for row in range(7):
        for column in range(7):
            covered = x.clone()
            rows, columns = slice(row * cell, (row + 2) * cell), slice(column * cell, (column + 2) * cell)
            covered[..., rows, columns] = soft[..., rows, columns]
            p = net(covered)[0].softmax(0).tolist()
            if p[t] > best[0] + 1e-6:
                best = p[t], 7 * row + column, p.index(max(p)) == t
            rival = max(rival, *(p[j] for j in range(len(p)) if j not in (t, w)))
    return best[0] - rival, best[1], best[2]


@pytest.mark.parametrize("kind", ["gap", "flat", "tokens"])
def test_v_equals_a_plain_writing_of_the_formula(kind):
    net, x = build(kind), images(5, seed=3)
    with torch.no_grad():
        order = net(x).argsort(1, descending=True)
        for place in (1, 2, 3):
            result = covering(Classifier(net, batch_size=7), x, order[:, place])
            for row in range(5):
                v, window, turned = plain(net, x[row : row + 1], int(order[row, place]), int(order[row, 0]))
                assert float(result.v[row]) == pytest.approx(v, abs=1e-5)
                assert (int(result.window[row]), bool(result.turned[row])) == (window, turned)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (28, 28), (12, 4), (13, 22), (6, 18)])
def test_the_window_that_hides_the_cause_brings_out_the_true_class(row, column):
    result = covering(Classifier(Cue()), marked(row, column), torch.tensor([1]))
    assert result.status == ["ok"]
    assert bool(result.turned[0])
    left, top, width, height = (SIDE * result.box[0]).tolist()
    across = min(left + width, column + 4) - max(left, column)
    down = min(top + height, row + 4) - max(top, row)
    assert min(across, down) > 0
    assert across * down >= 8  # half of the mark: hiding so much of it is enough
    assert float(result.v[0]) > 0.9


def test_an_asked_class_that_the_image_does_not_hold_has_the_true_one_as_its_rival():
    result = covering(Classifier(Cue()), marked(4, 4), torch.tensor([2]))
    assert int(result.rival[0]) == 1
    assert float(result.v[0]) < -0.9
    assert not bool(result.turned[0])
    assert int(result.turned_windows[0]) == 0


def test_a_larger_mark_than_any_window_hides_nothing():
    x = torch.zeros(1, 3, SIDE, SIDE)
    x[:, 0], x[:, 2, 4:20, 4:20] = 0.5, 1.0
    assert not bool(covering(Classifier(Cue()), x, torch.tensor([1])).turned[0])


def test_right_images_cost_one_pass_and_unasked_ones_none():
    x = torch.cat([marked(4, 4)] * 3)
    classifier = Classifier(Cue())
    result = covering(classifier, x, torch.tensor([1, 0, 1]), detail=torch.tensor([True, True, False]))
    assert result.status == ["ok", "already_correct", "skipped"]
    assert result.forwards.tolist() == [50, 1, 0]
    assert classifier.forwards == 51
    assert result.cover[1:].isnan().all()
    assert result.rival.tolist()[1:] == [-1, -1]


def test_all_images_and_windows_go_through_the_model_as_one_flat_batch():
    sizes: list[int] = []

    class Spy(Cue):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return super().forward(x)

    covering(Classifier(Spy(), batch_size=60), torch.cat([marked(4, 4)] * 5), torch.full((5,), 1))
    assert sizes == [5, 60, 60, 60, 60, 5]


@pytest.mark.parametrize("size", [(8, 8), (9, 14), (28, 28), (30, 45), (75, 75), (32, 8)])
def test_windows_cover_the_image_with_2_by_2_cells_whatever_its_size(size):
    masks = window_masks(CoveringConfig(), *size)
    assert masks.shape == (49, *size)
    assert masks.any(0).all()
    # A cell in a corner lies in one window, one at an edge in two, one inside in four.
    assert (masks[:, 0, 0].sum(), masks[:, 0, size[1] // 2].sum()) == (1, 2)
    assert masks[:, size[0] // 2, size[1] // 2].sum() == 4
    assert masks.float().mean() == pytest.approx(1 / 16, rel=0.05)


@pytest.mark.parametrize(("cells", "window", "places"), [(4, 1, 4), (4, 3, 2), (8, 4, 5), (16, 2, 15)])
def test_other_grids_have_their_own_windows_and_maps(cells, window, places):
    config = CoveringConfig(cells=cells, window=window)
    result = covering(Classifier(Cue()), marked(4, 4), torch.tensor([1]), config=config)
    assert result.cover.shape == (1, places, places)
    assert result.forwards.tolist() == [places**2 + 1]
    assert result.box[0, 2:].tolist() == [window / cells] * 2


def test_the_blur_keeps_flat_images_and_the_mean_and_spreads_by_its_share():
    flat = torch.full((2, 3, 24, 40), 0.3)
    torch.testing.assert_close(blurred(flat, 0.125), flat)
    point = torch.zeros(1, 1, 64, 64)
    point[0, 0, 32, 32] = 1.0
    soft = blurred(point, 0.125)[0, 0]
    assert float(soft.sum()) == pytest.approx(1.0, abs=1e-4)
    down = (soft.sum(1) * (torch.arange(64.0) - 32) ** 2).sum()
    assert float(down) == pytest.approx(8.0**2, rel=0.02)


def test_scores_that_are_not_finite_are_refused_and_their_neighbours_survive():
    class Sick(Cue):
        def forward(self, x: Tensor) -> Tensor:
            z = super().forward(x)
            return torch.where((x[:, 1, 0, 0] > 0.5)[:, None], torch.nan, z)

    x = torch.cat([marked(4, 4)] * 3)
    x[1, 1] = 1.0
    x[2, 1] = 1.0
    x[2, 1, 0, 0] = 0.0  # finite until the corner is blurred
    result = covering(Classifier(Sick()), x, torch.full((3,), 1))
    assert result.status == ["ok", "refused", "refused"]
    assert result.v.isnan().tolist() == [False, True, True]
    assert result.margin.isnan().tolist() == [False, True, True]
    assert result.forwards.tolist() == [50, 1, 50]


def test_too_few_classes_pixels_or_rights_are_refused():
    class Two(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1)

    y = torch.tensor([0])
    with pytest.raises(InputError, match="at least 3 classes, the classifier has 2"):
        covering(Classifier(Two()), marked(4, 4), y)
    with pytest.raises(InputError, match="at least 8 pixels a side"):
        covering(Classifier(Cue()), torch.rand(1, 3, 7, 20), y)
    with pytest.raises(AccessError, match="SCORES"):
        covering(Classifier(Cue(), access=Access.LABELS), marked(4, 4), y)


@pytest.mark.parametrize(
    "options", [{"cells": 3}, {"cells": 33}, {"window": 0}, {"window": 8}, {"blur": 0.0}, {"blur": 1.5}]
)
def test_settings_out_of_range_are_refused_by_name(options):
    with pytest.raises(InputError, match=next(iter(options))):
        CoveringConfig(**options)
