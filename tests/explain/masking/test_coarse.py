"""Few players for single images."""

from __future__ import annotations

import pytest
import torch
from tests.contract.nets import build
from torch import nn

from whywrong.explain.masking.coarse import coarse_grid, coarse_players
from whywrong.models.classifier import Classifier


@pytest.mark.parametrize(("side", "grid"), [(32, 8), (224, 8), (28, 7), (97, None), (6, 6)])
def test_the_grid_is_the_largest_of_at_most_eight_that_divides(side, grid):
    assert coarse_grid(side, side) == grid
    assert coarse_players(Classifier(build("gap")), torch.rand(1, 3, side, side), kind="pixels").grid == grid


def test_players_are_whole_tokens_of_timm_and_of_torchvision():
    from timm.models.vision_transformer import VisionTransformer
    from torchvision.models import VisionTransformer as OtherTransformer

    x = torch.rand(2, 3, 48, 48)
    timm_vit = VisionTransformer(img_size=48, patch_size=4, embed_dim=16, depth=1, num_heads=2, num_classes=5)
    other = OtherTransformer(48, 4, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=5)
    for vit in (timm_vit, other):
        nn.init.normal_(next(m for m in reversed(list(vit.modules())) if isinstance(m, nn.Linear)).weight)
        classifier = Classifier(vit.eval())
        assert coarse_players(classifier, x).grid == 6  # of 12 x 12 tokens; the image alone would be cut into 8 x 8
        assert coarse_players(classifier, x, kind="pixels").grid == 8
        assert coarse_players(classifier, x, grid=3).grid == 3
        assert classifier.forwards == 0


def test_tokens_that_cannot_be_had_leave_the_grid_to_whoever_refuses_them():
    assert coarse_players(Classifier(build("gap")), torch.rand(1, 3, 16, 16), kind="tokens").grid is None
