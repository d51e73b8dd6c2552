"""What judges' controls are compared with, on judges whose answers are known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from whywrong.explain.counterfactuals.judges import ask_judges, paired_threshold, permuted
from whywrong.models.classifier import Classifier


class First(nn.Module):
    """Logits (0, 20 a) with a the first pixel: the log-probability of class 1 follows from that pixel alone."""

    def forward(self, x: Tensor) -> Tensor:
        score = 20 * x.flatten(1)[:, 0]
        return torch.stack([torch.zeros_like(score), score], 1)


def log_p(pixel: Tensor) -> Tensor:
    return -torch.nn.functional.softplus(-20 * pixel.double())


@pytest.mark.parametrize("stretch", [1.0, 2.0, 3.0])
def test_a_shuffled_control_is_stretched_from_its_median(stretch):
    keys = torch.tensor([7, 8])
    x = torch.full((2, 1, 2, 3), 0.2)
    vce = x + torch.tensor([0.1, 0.02, 0.03, 0.04, 0.05, 0.06]).view(1, 1, 2, 3)
    target = torch.ones(2, dtype=torch.int64)
    found = ask_judges([Classifier(First())], x, vce, target, keys, controls=31, stretch=stretch, quantile=0.9)
    rises = torch.stack(
        [log_p(permuted(x, vce, keys, draw, 1.5).flatten(1)[:, 0]) - log_p(x.flatten(1)[:, 0]) for draw in range(31)]
    )
    centre, high = rises.quantile(0.5, dim=0), rises.quantile(0.9, dim=0)
    torch.testing.assert_close(found.centre[:, 0].double(), centre, atol=1e-4, rtol=1e-4)
    expected = centre + stretch * (high - centre)
    torch.testing.assert_close(found.threshold[:, 0].double(), expected, atol=1e-4, rtol=1e-4)
    rise = log_p(vce.flatten(1)[:, 0]) - log_p(x.flatten(1)[:, 0])
    torch.testing.assert_close(found.score.double(), (rise - centre) / (expected - centre), atol=1e-3, rtol=1e-3)
    assert found.agrees[:, 0].tolist() == (rise > expected).tolist()
    assert (found.kind, found.controls) == ("permuted", 31)
    assert found.flips[:, 0].tolist() == [True, True]  # class 1 is read wherever the first pixel is above 0


def test_a_threshold_never_meets_its_centre():
    """A change of one colour everywhere is the same however it is shuffled: the controls have no spread."""
    x = torch.full((2, 1, 2, 3), 0.2)
    found = ask_judges(
        [Classifier(First())], x, x + 0.1, torch.ones(2, dtype=torch.int64), torch.tensor([1, 2]), controls=5
    )
    assert (found.threshold > found.centre).all()
    assert found.score.isfinite().all()
    assert not found.agrees.any()


def test_paired_thresholds_are_the_quantile_of_a_control_beyond_the_others_of_its_image():
    rises = torch.randn(4, 50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rises += torch.arange(50.0).view(1, 50, 1)  # images differ in how easily anything moves them
    centre, threshold = paired_threshold(rises, 0.9)
    torch.testing.assert_close(centre, rises.mean(0))
    beyond = [rises[i] - rises[[j for j in range(4) if j != i]].mean(0) for i in range(4)]
    expected = torch.cat(beyond).quantile(0.9, dim=0)
    torch.testing.assert_close(threshold - centre, expected.expand(50, 2))


def test_one_control_an_image_is_compared_with_all_images():
    rises = torch.arange(11.0, dtype=torch.float64).view(1, 11, 1)
    centre, threshold = paired_threshold(rises, 0.8)
    assert centre.unique().tolist() == [5.0]
    assert threshold.unique().tolist() == [8.0]
