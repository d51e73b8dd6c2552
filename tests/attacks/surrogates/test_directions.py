"""Directions from a surrogate, on a linear model whose gradient is its weights."""

import torch
from torch import Tensor, nn

from whywrong.attacks.surrogates.directions import DirectionConfig, directions, resized, smoothed
from whywrong.core.randomness import row_keys
from whywrong.models.classifier import Classifier


class Linear(nn.Module):
    """Logits (0, <w, x>)."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.w).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score], 1)


def linear(side: int = 6) -> tuple[Classifier, Tensor]:
    w = torch.randn(3, side, side, generator=torch.Generator().manual_seed(1))
    return Classifier(Linear(w)), w


def test_the_direction_of_a_linear_model_is_the_sign_of_its_weights():
    model, w = linear()
    x, y = torch.full((2, 3, 6, 6), 0.5), torch.tensor([1, 0])
    found = directions([model], x, y, row_keys(0, 2), None, DirectionConfig(steps=3))
    torch.testing.assert_close(found, torch.stack([w.sign(), -w.sign()]))


def test_each_image_keeps_its_direction_in_any_batch():
    model, _ = linear(64)
    x, y, keys = (
        torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(2)),
        torch.tensor([1, 0, 1]),
        row_keys(0, 3),
    )
    config = DirectionConfig(steps=2)
    whole = directions([model], x, y, keys, None, config)
    alone = directions([model], x[1:2], y[1:2], keys[1:2], None, config)
    torch.testing.assert_close(whole[1:2], alone)


def test_resizing_shrinks_toward_a_place_inside_and_leaves_some_images_alone():
    x = torch.ones(200, 1, 20, 20)
    found = resized(x, row_keys(0, 200), 0).flatten(1).mean(1)
    whole = (found > 0.999).float().mean()
    assert 0.15 < float(whole) < 0.5
    assert float(found.amin()) > 0.85**2 - 0.05


def test_smoothing_keeps_the_mean():
    grad = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(smoothed(grad).mean((2, 3)), grad.mean((2, 3)), atol=1e-3, rtol=0)
    assert float(smoothed(grad).var()) < float(grad.var())
