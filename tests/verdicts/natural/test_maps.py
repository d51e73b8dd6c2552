"""Signs of evidence maps and of views beyond the crop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from whywrong.api import load_classifier
from whywrong.data.outside import VIEWS
from whywrong.models.classifier import Classifier
from whywrong.verdicts.natural.maps import MAP_SIGNS, border_share, map_signs

PLACE = {name: column for column, name in enumerate(MAP_SIGNS)}


@pytest.fixture(scope="module")
def net() -> Classifier:
    return load_classifier("planted:cnn", batch_size=16)


@pytest.fixture(scope="module")
def asked(net: Classifier) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    logits = net.logits(x)
    return x, logits.topk(2, dim=1).indices[:, 1], logits


def test_evidence_in_one_corner_counts_for_its_border_alone():
    corner, middle = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
    corner[0, 0, :4], middle[0, 3:5, 3:5] = 1.0, 1.0
    corner[0, 4, 4] = 1.0
    corner[0, 7, 7] = -9.0  # evidence against the label is no evidence for it
    assert border_share(torch.cat([corner, middle])).tolist() == pytest.approx([0.8, 0.0])
    assert border_share(torch.zeros(1, 8, 8)).isnan().all()


def test_a_fine_map_has_a_border_as_wide_as_a_coarse_one():
    fine = torch.zeros(1, 14, 14)
    fine[0, 1] = 1.0
    fine[0, 3] = 1.0
    assert border_share(fine).item() == pytest.approx(0.5)


def test_views_equal_to_the_image_gain_nothing(net: Classifier, asked: tuple[Tensor, Tensor, Tensor]):
    x, y, logits = asked
    values, forwards, _ = map_signs(net, x, y, logits, x[:, None].repeat(1, VIEWS, 1, 1, 1))
    assert values[:, PLACE["whole_gain"]].abs().max() < 1e-3
    assert values[:, PLACE["outward_gain"]].abs().max() < 1e-3
    without, fewer, _ = map_signs(net, x, y, logits)
    assert (forwards - fewer).tolist() == [VIEWS] * 3
    assert without[:, PLACE["whole_gain"]].isnan().all()
    assert torch.equal(without[:, :5], values[:, :5])


def test_a_view_gains_what_its_margin_is_smaller(net: Classifier, asked: tuple[Tensor, Tensor, Tensor]):
    x, y, logits = asked
    views = x[:, None].repeat(1, VIEWS, 1, 1, 1)
    views[:, 0], views[:, 3] = x.roll(1, 0), x.roll(2, 0)
    values, _, _ = map_signs(net, x, y, logits, views)
    t = logits.argmax(1)
    whole, corner = (_margin(logits, y, t) - _margin(logits.roll(by, 0), y, t) for by in (1, 2))
    assert torch.allclose(values[:, PLACE["whole_gain"]], whole, atol=1e-3)
    assert torch.allclose(values[:, PLACE["outward_gain"]], corner.clamp_min(0), atol=1e-3)


def _margin(logits: Tensor, y: Tensor, t: Tensor) -> Tensor:
    return logits.gather(1, t[:, None])[:, 0] - logits.gather(1, y[:, None])[:, 0]


def test_images_without_an_outside_get_no_gain(net: Classifier, asked: tuple[Tensor, Tensor, Tensor]):
    x, y, logits = asked
    views = x[:, None].repeat(1, VIEWS, 1, 1, 1)
    views[1] = torch.nan
    values, forwards, _ = map_signs(net, x, y, logits, views)
    assert values[:, PLACE["whole_gain"]].isnan().tolist() == [False, True, False]
    assert int(forwards[0] - forwards[1]) == VIEWS


def test_signs_are_in_their_range_and_do_not_depend_on_the_batch(net: Classifier, asked: tuple[Tensor, Tensor, Tensor]):
    x, y, logits = asked
    values, _, _ = map_signs(net, x, y, logits)
    assert values[:, PLACE["maps_alike"]].abs().max() <= 1 + 1e-5
    assert set(values[:, PLACE["label_enlarged"]].tolist()) <= {0.0, 0.5, 1.0}
    alone = torch.cat([map_signs(net, x[i : i + 1], y[i : i + 1], logits[i : i + 1])[0] for i in range(3)])
    assert torch.allclose(values, alone, atol=1e-4, equal_nan=True)


def test_a_model_that_only_returns_labels_has_none_of_them(asked: tuple[Tensor, Tensor, Tensor]):
    x, y, logits = asked
    net = load_classifier("planted:cnn", batch_size=16, access="labels")
    values, forwards, backwards = map_signs(net, x, y, logits)
    assert values.isnan().all()
    assert forwards.sum() == backwards.sum() == 0


def test_maps_that_do_not_add_up_to_the_logits_only_say_whether_they_are_alike():
    net = load_classifier("planted:vit", batch_size=16)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    logits = net.logits(x)
    y = logits.topk(2, dim=1).indices[:, 1]
    values, _, _ = map_signs(net, x, y, logits, x[:, None].repeat(1, VIEWS, 1, 1, 1))
    assert values[:, PLACE["maps_alike"]].isfinite().all()
    assert values[:, 1:].isnan().all()


def test_a_part_that_is_not_asked_for_costs_nothing(net: Classifier, asked: tuple[Tensor, Tensor, Tensor]):
    x, y, logits = asked
    views = x[:, None].repeat(1, VIEWS, 1, 1, 1)
    everything, passes, _ = map_signs(net, x, y, logits, views)
    place = everything[:, [PLACE["label_down"], PLACE["label_across"]]]
    assert everything.isfinite().all()
    assert passes.tolist() == [1 + 2 + VIEWS] * 3
    of_maps = ("maps_alike", "label_at_border", "label_down", "label_across")
    for parts, outside, where, cost, names in (
        (("maps", "whole"), views[:, :1], None, 2, (*of_maps, "whole_gain")),
        (("enlarged",), None, place, 2, ("label_enlarged",)),
        (("corners",), views, place, VIEWS - 1, ("outward_gain",)),
    ):
        values, forwards, _ = map_signs(net, x, y, logits, outside, parts, where)
        assert forwards.tolist() == [cost] * 3
        assert [name for name in MAP_SIGNS if values[:, PLACE[name]].isfinite().all()] == list(names)
        known = values.isfinite()
        assert torch.allclose(values[known], everything[known], atol=1e-4)
