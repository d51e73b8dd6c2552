"""The game of patch groups: winners, passes, and the grid that is taken."""

from __future__ import annotations

import pytest
import torch
from tests.contract.nets import build
from tests.contract.nets import images as small_images
from tests.explain.patch_groups.nets import images, tiny_vit
from torch import Tensor, nn

from whywrong.core.errors import NonFiniteError
from whywrong.core.randomness import keyed_bits, row_keys
from whywrong.explain.masking.players import ImageGame, PlayersConfig
from whywrong.explain.patch_groups.game import PatchGame
from whywrong.explain.patch_groups.rankings import order_of
from whywrong.models.classifier import Classifier


@pytest.mark.parametrize("kind", ["tokens", "pixels"])
def test_values_are_those_of_the_image_game_with_the_winner_beside_them(kind):
    classifier, x = Classifier(tiny_vit()), images(3)
    y = torch.tensor([0, 1, 2])
    config = PlayersConfig(kind=kind, grid=4)
    game, plain = PatchGame(classifier, x, y, config=config), ImageGame(classifier, x, y, config=config)
    masks = keyed_bits(row_keys(0, 3), (5, 16)) > 0
    masks[:, 0] = True
    found = game(masks)
    assert game.names == (*plain.names, "winner")
    torch.testing.assert_close(found[:, :, :-1], plain(masks), rtol=1e-4, atol=1e-4)
    assert torch.equal(game.predicted, classifier.predict(x))
    assert torch.equal(found[:, 0, -1].long(), game.predicted)
    wins = found[:, :, -1] == y[:, None]
    margin = ImageGame(classifier, x, y, config=config)._shown.logits(
        masks.flatten(0, 1), torch.arange(3).repeat_interleave(5)
    )
    assert torch.equal(wins.flatten(), margin.argmax(1) == y.repeat_interleave(5))


def test_the_whole_image_is_asked_for_once():
    classifier, x = Classifier(tiny_vit()), images(2)
    game = PatchGame(classifier, x, torch.tensor([0, 1]))
    masks = torch.ones(2, 3, 16, dtype=torch.bool)
    masks[:, 1, 4] = False
    game(masks)
    assert game.forwards.tolist() == [2, 2]
    assert classifier.forwards == 4
    game(torch.ones(2, 1, 16, dtype=torch.bool))
    assert classifier.forwards == 4


def test_an_answer_that_is_not_finite_names_its_image_and_is_counted():
    net = build("gap")

    class Poisoned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return net(x).masked_fill((x[:, 0, 0, 0] > 0.999)[:, None], torch.nan)

    x = small_images(3)
    x[1, 0, 0, 0] = 1.0
    game = PatchGame(Classifier(Poisoned()), x, torch.tensor([0, 1, 2]), config=PlayersConfig(grid=2))
    masks = torch.zeros(3, 2, 4, dtype=torch.bool)
    masks[:, 0, 0] = True  # the corner that holds the poison
    with pytest.raises(NonFiniteError):
        game(masks)
    assert game.faulty == {1}
    assert game.forwards.tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({}, 136),
        pytest.param(
            {"img_size": 224, "patch_size": 16, "embed_dim": 4, "depth": 1, "num_heads": 1},
            19_306,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_full_order_of_every_token_costs_half_of_n_times_n_plus_one(changes, passes):
    vit = tiny_vit(**changes)
    side = vit.patch_embed.img_size[0]
    x = images(1).repeat_interleave(side // 32, 2).repeat_interleave(side // 32, 3)
    y = torch.tensor([1])
    for deletion in (False, True):
        classifier = Classifier(vit, batch_size=256)
        game = PatchGame(classifier, x, y)
        order = order_of("moxi", classifier, x, y, game, deletion=deletion)
        assert order[0].sort().values.tolist() == list(range(game.players))
        assert classifier.forwards == int(game.forwards) == passes  # with the whole image
