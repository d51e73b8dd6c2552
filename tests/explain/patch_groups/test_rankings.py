"""Orders of patches side by side, and what patches shown or hidden in an order do."""

from __future__ import annotations

import pytest
import torch
from tests.contract.nets import build
from tests.contract.nets import images as small_images
from tests.explain.patch_groups.nets import images, tiny_vit

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.explain.masking.games import TableGame
from whywrong.explain.masking.players import PlayersConfig
from whywrong.explain.patch_groups.game import PatchGame
from whywrong.explain.patch_groups.grad_cam import grad_cam
from whywrong.explain.patch_groups.greedy import greedy_order
from whywrong.explain.patch_groups.rankings import RANKINGS, curves, order_of
from whywrong.explain.patch_groups.rollout import rollout
from whywrong.models.classifier import Classifier

BATCH = 3


@pytest.fixture
def vit():
    classifier = Classifier(tiny_vit())
    x = images(BATCH)
    y = classifier.predict(x)
    return classifier, x, y, PatchGame(classifier, x, y)


@pytest.mark.parametrize("deletion", [True, False])
@pytest.mark.parametrize("name", RANKINGS)
def test_orders_are_permutations_and_cost_what_they_say(vit, name, deletion):
    classifier, x, y, game = vit
    before = classifier.forwards
    order = order_of(name, classifier, x, y, game, deletion=deletion, steps=3, permutations=2)
    assert order.dtype == torch.int64
    assert torch.equal(order.sort(1).values, torch.arange(16).expand(BATCH, -1))
    due = {"moxi": 3 * 16 - 3, "moxi_minus": 16, "shapley": 2 * 15 + 1, "rollout": 1, "grad_cam": 1}[name]
    assert classifier.forwards - before == BATCH * due
    assert game.forwards.tolist() == [1 + (due if due > 1 else 0)] * BATCH


def test_moxi_is_greedy_and_moxi_minus_its_first_step(vit):
    classifier, x, y, game = vit
    for deletion in (True, False):
        path = greedy_order(game, "log_odds_true", adds=not deletion)
        assert torch.equal(order_of("moxi", classifier, x, y, game, deletion=deletion), path.order)
        alone = torch.eye(16, dtype=torch.bool).expand(BATCH, -1, -1)
        value = game(~alone if deletion else alone)[:, :, 0]
        expected = value.argsort(dim=1, descending=not deletion, stable=True)
        assert torch.equal(order_of("moxi_minus", classifier, x, y, game, deletion=deletion), expected)


def test_maps_are_ranked_from_high_to_low(vit):
    classifier, x, y, game = vit
    for name, score in (("rollout", rollout(classifier, x)), ("grad_cam", grad_cam(classifier, x, y))):
        order = order_of(name, classifier, x, y, game)
        assert (score.flatten(1).gather(1, order).diff(dim=1) <= 0).all()


def test_players_of_several_tokens_are_ranked_by_the_mean_of_their_part_of_a_map(vit):
    classifier, x, y, _ = vit
    blocks = PatchGame(classifier, x, y, config=PlayersConfig(grid=2))
    order = order_of("rollout", classifier, x, y, blocks)
    mean = rollout(classifier, x).view(BATCH, 2, 2, 2, 2).mean((2, 4)).flatten(1)
    assert torch.equal(order, mean.argsort(dim=1, descending=True))


def test_models_without_tokens_have_all_rankings_but_rollout():
    classifier = Classifier(build("gap"))
    x = small_images(2)
    y = classifier.predict(x)
    game = PatchGame(classifier, x, y, config=PlayersConfig(grid=4))
    for name in set(RANKINGS) - {"rollout"}:
        assert order_of(name, classifier, x, y, game, permutations=1).shape == (2, 16)


def test_curves_are_the_values_of_the_sets_on_the_way():
    table = torch.stack([keyed_uniform(row_keys(0, 2), (32,)).double(), torch.arange(64.0).view(2, 32)], 2)
    game = TableGame(table, ["value", "winner"])
    order = torch.tensor([[3, 0, 4, 1, 2], [0, 1, 2, 3, 4]])
    found = curves(game, order, value="value", deletion_order=order.flip(1), steps=3)
    for row in range(2):
        shown, hidden = 0, 31
        for step in range(4):
            assert float(found.insertion[row, step]) == float(game.table[row, shown, 0])
            assert float(found.deletion[row, step]) == float(game.table[row, hidden, 0])
            assert int(found.insertion_winner[row, step]) == shown + 32 * row
            assert int(found.deletion_winner[row, step]) == hidden + 32 * row
            shown |= 1 << int(order[row, step])
            hidden &= ~(1 << int(order[row, 4 - step]))
    shown_right, hidden_right = found.accuracy(torch.tensor([0b01000, 63]))
    assert shown_right.tolist() == [0, 0.5, 0, 0]
    assert hidden_right.tolist() == [0.5, 0, 0, 0]


def test_curves_of_a_greedy_order_are_its_values(vit):
    _, _, y, game = vit
    insertion = greedy_order(game, "log_odds_true", adds=True)
    deletion = greedy_order(game, "log_odds_true", adds=False)
    before = game.forwards.clone()
    found = curves(game, insertion.order, deletion_order=deletion.order)
    torch.testing.assert_close(found.insertion, insertion.values, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.deletion, deletion.values, rtol=1e-4, atol=1e-4)
    assert (game.forwards - before).tolist() == [2 * 17 - 2] * BATCH  # the whole image, twice, is free
    assert found.accuracy(y)[1][0] == 1


def test_bad_orders_and_names_are_refused(vit):
    classifier, x, y, game = vit
    with pytest.raises(InputError, match="a ranking is one of"):
        order_of("lime", classifier, x, y, game)
    order = torch.arange(16).expand(BATCH, -1)
    for bad in (order[:, :15], order.int(), order.clone().index_fill(1, torch.tensor([2]), 0), order[:1]):
        with pytest.raises(InputError, match="permutation"):
            curves(game, bad)
    for steps in (-1, 17, True):
        with pytest.raises(InputError, match="steps"):
            curves(game, order, steps=steps)
