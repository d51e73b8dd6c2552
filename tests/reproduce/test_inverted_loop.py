"""Claims 2, 4 and 5 of the inverted attack: behind a black box, by region, and for training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import AccessError, InputError
from whywrong.models.classifier import Classifier
from whywrong.reproduce.figures import draw
from whywrong.reproduce.inverted.paired import paired
from whywrong.reproduce.inverted.pools import correct_images
from whywrong.reproduce.inverted.region_curves import RegionClaimConfig, _mask
from whywrong.reproduce.protocol import TensorImages
from whywrong.reproduce.running import run_claim

SIDE = 16


class Colours(nn.Module):
    """Three classes by the strongest colour of the picture; ``bias`` makes it wrong where colours are close."""

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(20 * torch.eye(3))
        self.bias = nn.Parameter(torch.tensor([bias, 0.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) @ self.scale + self.bias


class FirstTwo(nn.Module):
    """Drop the third of three logits."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits[:, :2]


def data(n: int = 120) -> TensorImages:
    generator = torch.Generator().manual_seed(0)
    tint = torch.rand(n, 3, 1, 1, generator=generator)
    x = (0.2 + 0.5 * tint + 0.2 * torch.rand(n, 3, SIDE, SIDE, generator=generator)).clamp(0, 1)
    return TensorImages(x, x.mean((2, 3)).argmax(1), batch_size=32)


def black_box(**options) -> Classifier:
    return Classifier(Colours(bias=1.5), classes=["red", "green", "blue"], **options)


def test_a_surrogate_with_the_same_gradient_fixes_every_error(tmp_path, monkeypatch):
    from whywrong.attacks.surrogates.models import Surrogate
    from whywrong.reproduce.inverted import black_boxes

    twin = Classifier(Colours(), classes=["red", "green", "blue"])
    monkeypatch.setattr(black_boxes, "named_surrogate", lambda *_: Surrogate.own(twin))
    result = run_claim("inverted.2", [black_box(access=Access.SCORES)], data(), {"success": 0.5})
    assert result.n >= 10
    assert result.effect == 1.0
    assert result.numbers["tier"] == "own"
    assert result.numbers["mean_queries_all"] <= 3
    assert result.numbers["white_box_fixed"] is None
    assert "gradients are not granted" in result.sentence


def test_a_surrogate_is_distilled_where_none_is_named_and_the_white_box_is_compared():
    settings = {"training": 60, "epochs": 1, "queries": 4, "recrafts": 0}
    result = run_claim("inverted.2", [black_box()], data(), settings)
    assert result.numbers["tier"] == "distilled"
    assert result.numbers["training_queries"] == 60
    assert result.numbers["white_box_fixed"] == result.n
    assert max(result.samples["queries"]) <= 4


def test_too_few_images_for_a_surrogate_are_refused_with_the_remedy():
    with pytest.raises(InputError, match=r"at least 20 correctly .* hold \d+; give more images, or name a model"):
        run_claim("inverted.2", [black_box()], data(12))


def test_pools_depend_on_ids_and_seed_and_hold_correct_images_only():
    images, classifier = data(), black_box()
    one, labels = correct_images(classifier, images, 20, seed=0)
    again, _ = correct_images(classifier, TensorImages(images.x, images.y, batch_size=7), 20, seed=0)
    assert torch.equal(one, again)
    assert torch.equal(classifier.predict(one), labels)
    assert not torch.equal(one, correct_images(classifier, images, 20, seed=1)[0])


def test_regions_of_equal_area_are_taken_in_their_order():
    segments = torch.arange(4).view(1, 2, 2)
    order, area = torch.tensor([[0.1, 0.9, 0.5, -1.0]]), torch.full((1, 4), 0.25)
    assert _mask(order, area, segments, 0.5).tolist() == [[[False, True], [True, False]]]
    assert int(_mask(order, area, segments, 0.3).sum()) == 2  # until the share is reached


def test_more_area_keeps_more_fixes_and_all_three_curves_are_reported():
    result = run_claim("inverted.4", [black_box()], data(), {"limit": 12, "kept": 0.5})
    curve = [result.numbers[f"contribution_{share:g}"] for share in (0.05, 0.2, 0.5)]
    assert curve == sorted(curve)
    assert {"random_0.2", "saliency_0.2"} <= result.numbers.keys()
    assert result.n >= 5


def test_a_linear_fix_fails_without_regions_just_if_the_rest_is_too_small():
    """Every pixel counts alike, and the fix is extended by half: it fails once more than a third of it is missing.

    Regions are whole superpixels and may cover somewhat more than their share, so only the ends are exact.
    """
    result = run_claim("inverted.4", [black_box()], data(), {"limit": 12})
    numbers = result.numbers
    assert numbers["necessary_random_0.05"] == numbers["necessary_contribution_0.05"] == 0.0
    assert numbers["necessary_random_0.5"] == numbers["necessary_contribution_0.5"] == 1.0
    assert numbers["random_0.5"] == 0.0  # half of one and a half fixes is less than a fix


def test_random_labels_are_asked_for_as_the_null_case_and_drawn_dotted():
    result = run_claim("inverted.4", [black_box()], data(), {"limit": 12})
    assert result.numbers["null_n"] == result.n
    assert result.numbers["null_random_0.5"] == 0.0
    assert "Null case, random labels: " in result.sentence
    panels = draw(result).axes
    assert [len(panel.lines) for panel in panels] == [6, 6]
    shown = {line.get_label(): list(line.get_ydata()) for line in panels[1].lines}
    assert shown["random"][-1] == 100.0
    assert [line.get_linestyle() for line in panels[0].lines] == ["-", ":"] * 3


def test_two_classes_leave_no_random_label():
    two = Classifier(nn.Sequential(Colours(bias=1.5), FirstTwo()), classes=["red", "green"])
    images = data()
    kept = images.y < 2
    result = run_claim("inverted.4", [two], TensorImages(images.x[kept], images.y[kept], batch_size=32), {"limit": 6})
    assert result.n >= 3
    assert result.numbers["null_n"] == 0
    assert "Null case" not in result.sentence
    assert [len(panel.lines) for panel in draw(result).axes] == [3, 3]


def test_training_leaves_the_model_as_it_was_and_reports_every_arm():
    classifier = black_box()
    before = [value.clone() for value in classifier.module.state_dict().values()]
    result = run_claim("inverted.5", [classifier], data(), {"steps": 30, "rate": 0.05, "keep": 0.0})
    assert all(torch.equal(a, b) for a, b in zip(before, classifier.module.state_dict().values(), strict=True))
    assert {f"{what}_{arm}" for what in ("corrected", "lost") for arm in ("replay", "errors", "fixes")} <= set(
        result.numbers
    )
    assert result.numbers["corrected_errors"] > 0  # the bias is unlearnt
    assert result.verdict != "holds"  # fixes of a bias teach no more than its errors do


def test_training_needs_gradients_and_enough_errors():
    with pytest.raises(AccessError, match="training with fixes"):
        run_claim("inverted.5", [black_box(access=Access.SCORES)], data(8))
    right = Classifier(Colours(), classes=["red", "green", "blue"])
    result = run_claim("inverted.5", [right], data(8))
    assert (result.n, result.verdict) == (0, "undecided")


def test_only_errors_on_which_both_differ_decide():
    first, second = np.array([True] * 12 + [False] * 5), np.zeros(17, bool)
    assert paired(first, second).effect.value == 1.0
    assert paired(first, second).p < 0.001
    assert paired(first, first).p == 1.0


@pytest.mark.parametrize(
    ("claim", "settings"),
    [
        ("inverted.2", {"training": 5}),
        ("inverted.2", {"queries": 0}),
        ("inverted.4", {"kept": 0.15}),
        ("inverted.5", {"replay": 1.0}),
        ("inverted.5", {"correct": 1}),
    ],
)
def test_bad_settings_are_refused(claim, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        run_claim(claim, [black_box()], data(8), settings)
    assert RegionClaimConfig().kept == 0.2
