"""Patch tokens of transformers built around PyTorch's encoder or torchvision's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.contract.nets import build
from torch import Tensor, nn

from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.explain.masking.encoders import EncoderTokens, NoEncoder
from whywrong.explain.masking.players import ImageGame, PlayersConfig
from whywrong.explain.masking.tokens import PatchTokens
from whywrong.models.classifier import Classifier

SIDE, WIDTH = 16, 8


class Encoded(nn.Module):
    """Patches of 4 x 4, a class token, positions, two encoder layers."""

    def __init__(self, *, pool: str = "class", kernel: int = 4, late: bool = False, mask: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cut = nn.Conv2d(3, WIDTH, kernel, 4, padding=(kernel - 4) // 2)
        self.pool, self.late, self.mask = pool, late, mask
        self.first = nn.Parameter(torch.randn(1, 1 if pool == "class" else 0, WIDTH))
        self.place = nn.Parameter(torch.randn(1, 16 + self.first.shape[1], WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.cut(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(x), -1, -1), tokens], 1)
        if not self.late:
            tokens = tokens + self.place
        out = self.encoder(tokens, mask=torch.zeros(tokens.shape[1], tokens.shape[1]) if self.mask else None)
        if self.late:
            out = out * self.place[:, : out.shape[1]]
        return self.head(out[:, 0] if self.pool == "class" else out.mean(1))


def by_hand(net: Encoded, x: Tensor, keep: list[int]) -> Tensor:
    """Written anew: tokens with positions, some of them, encoder, head."""
    tokens = net.cut(x).flatten(2).transpose(1, 2)
    prefix = net.first.shape[1]
    tokens = torch.cat([net.first.expand(len(x), -1, -1), tokens], 1) + net.place
    out = net.encoder(tokens[:, [*range(prefix), *(prefix + k for k in keep)]])
    return net.head(out[:, 0] if prefix else out.mean(1))


def images(count: int, side: int = SIDE) -> Tensor:
    return keyed_uniform(row_keys(3, count), (3, side, side))


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_scores_of_some_tokens_are_those_of_the_encoder_and_head_alone(pool):
    net, x = Encoded(pool=pool).eval(), images(2)
    shown = PatchTokens(Classifier(net, batch_size=3), x)
    assert (shown.rows, shown.cols) == (4, 4)
    masks = torch.ones(5, 16, dtype=torch.bool)
    for row, hidden in enumerate(([], [0], [3, 7, 15], list(range(1, 16)), [5, 6, 9, 10])):
        masks[row, hidden] = False
    rows = torch.tensor([0, 1, 1, 0, 1])
    with torch.no_grad():
        expected = torch.cat(
            [by_hand(net, x[r : r + 1], m.nonzero()[:, 0].tolist()) for r, m in zip(rows, masks, strict=True)]
        )
        torch.testing.assert_close(shown.full, net(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shown.logits(masks, rows), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_no_token_at_all_gives_finite_scores_that_know_nothing_of_the_image(pool):
    shown = PatchTokens(Classifier(Encoded(pool=pool)), images(2))
    found = shown.logits(torch.zeros(2, 16, dtype=torch.bool), torch.tensor([0, 1]))
    assert found.isfinite().all()
    torch.testing.assert_close(found[0], found[1])


def test_passes_are_counted_and_the_probes_are_no_queries():
    classifier = Classifier(Encoded(), batch_size=4)
    game = ImageGame(classifier, images(3), torch.tensor([0, 1, 2]))
    assert (game.kind, game.players, classifier.forwards) == ("tokens", 16, 3)
    game(torch.ones(3, 2, 16, dtype=torch.bool))
    assert classifier.forwards == 9


def test_the_module_is_left_without_hooks_and_in_its_mode():
    net = Encoded().train()
    game = ImageGame(Classifier(net), images(1), torch.tensor([0]))
    game(torch.ones(1, 2, 16, dtype=torch.bool))
    assert all(part.training for part in net.modules())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def test_transformers_of_torchvision_are_read_after_their_positions():
    from torchvision.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    net = VisionTransformer(16, 4, 2, 2, 8, 16, num_classes=3)
    nn.init.normal_(net.heads.head.weight)
    x = images(2)
    shown = PatchTokens(Classifier(net), x)
    assert shown.players == 16
    every = shown.logits(torch.ones(2, 16, dtype=torch.bool), torch.arange(2))
    torch.testing.assert_close(every, shown.full, atol=1e-5, rtol=1e-5)
    some = shown.logits(torch.arange(16)[None].expand(2, -1) % 2 == 0, torch.arange(2))
    assert float((some - every).abs().max()) > 1e-3


class TwoEncoders(Encoded):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True), 1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: build("gap"), "no encoders"),
        (TwoEncoders, "2 encoders"),
        (lambda: Encoded(kernel=6), "no convolution"),
        (lambda: Encoded(late=True, pool="mean"), "order of its tokens"),
        (lambda: Encoded(mask=True), "more than tokens"),
    ],
)
def test_other_designs_are_named_and_fall_back_to_pixels(make: Any, reason: str):
    classifier = Classifier(make())
    with pytest.raises(NoEncoder, match=reason):
        EncoderTokens(classifier, images(1))
    assert classifier.forwards == 0
    game = ImageGame(Classifier(make()), images(1), torch.tensor([0]), config=PlayersConfig(grid=4))
    assert game.kind == "pixels"
    assert "cells of pixels take their place" in str(game.fallback)
