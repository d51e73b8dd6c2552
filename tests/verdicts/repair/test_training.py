"""Fine-tuning of a copy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from whywrong.core.errors import InputError, NonFiniteError
from whywrong.models.classifier import Classifier
from whywrong.verdicts.repair.config import RepairConfig
from whywrong.verdicts.repair.training import best_share, move, predictions, train

CONFIG = RepairConfig(steps=30, batch=8, rate=0.05)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.head = nn.BatchNorm2d(1), nn.Dropout(0.9), nn.Linear(1, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[4.0], [-4.0]]))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(x).mean((2, 3))))


def steps(label: int = 1) -> list[tuple[Tensor, Tensor, Tensor]]:
    x = torch.full((8, 1, 4, 4), 0.8)
    return [(x, torch.full((8,), label), torch.zeros(8, dtype=torch.bool))] * CONFIG.steps


def test_a_copy_learns_and_the_model_stays_as_it_is():
    classifier = Classifier(Net().eval())
    state = {name: value.clone() for name, value in classifier.module.state_dict().items()}
    trained, before = train(classifier, steps(), CONFIG)
    x = torch.full((2, 1, 4, 4), 0.8)
    assert classifier.predict(x).tolist() == [0, 0]
    assert trained.predict(x).tolist() == [1, 1]
    assert all(torch.equal(value, state[name]) for name, value in classifier.module.state_dict().items())
    assert all(torch.equal(value, state[name]) for name, value in before.items())
    now = trained.module.state_dict()
    assert torch.equal(now["norm.running_mean"], state["norm.running_mean"])
    assert now["norm.num_batches_tracked"] == state["norm.num_batches_tracked"]
    assert not trained.module.training
    assert (trained.forwards - 2, trained.backwards) == (8 * CONFIG.steps, 8 * CONFIG.steps)


def test_training_gives_the_same_weights_again():
    one, other = (train(Classifier(Net().eval()), steps(), CONFIG)[0].module.state_dict() for _ in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_pull_keeps_the_predictions_of_the_model_on_correct_images():
    x, y = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.ones(8, dtype=torch.int64)
    data = [(x, y, torch.ones(8, dtype=torch.bool))] * CONFIG.steps
    free, held = (
        train(Classifier(Net().eval()), data, RepairConfig(steps=30, batch=8, rate=0.05, pull=pull))[0]
        for pull in (0.0, 50.0)
    )
    old = Classifier(Net().eval()).logits(x)
    assert (held.logits(x) - old).abs().max() < 0.2 * (free.logits(x) - old).abs().max()


def test_weights_move_the_shortest_way_that_is_best_and_not_at_all_if_nothing_gains():
    trained, before = train(Classifier(Net().eval()), steps(), CONFIG)
    after = {name: value.clone() for name, value in trained.module.state_dict().items()}
    x = torch.full((4, 1, 4, 4), 204, dtype=torch.uint8)
    move(trained, before, after, 1.0)
    assert best_share(trained, before, x, torch.zeros(4, dtype=torch.int64), 4) == 0
    assert torch.equal(trained.module.head.weight, before["head.weight"])
    shares = [share for share in (0.25, 0.5, 0.75, 1.0) if _right(trained, before, after, share, x) == 4]
    move(trained, before, after, 1.0)
    assert best_share(trained, before, x, torch.ones(4, dtype=torch.int64), 0) == shares[0]
    assert (predictions(trained, x) == 1).all()


def _right(trained: Classifier, before: dict, after: dict, share: float, x: Tensor) -> int:
    move(trained, before, after, share)
    return int((predictions(trained, x) == 1).sum())


def test_a_loss_that_is_not_finite_names_the_rate():
    data = [
        (torch.full((8, 1, 4, 4), float("nan")), torch.ones(8, dtype=torch.int64), torch.zeros(8, dtype=torch.bool))
    ]
    with pytest.raises(NonFiniteError, match="rate"):
        train(Classifier(Net().eval()), data, CONFIG)


@pytest.mark.parametrize(
    "wrong",
    [{"arms": ("nothing",)}, {"steps": 0}, {"batch": 1}, {"replay": 1.0}, {"rate": 0.0}, {"pull": -1.0}, {"fewest": 0}],
)
def test_settings_out_of_range_are_refused(wrong: dict):
    with pytest.raises(InputError, match=next(iter(wrong))):
        RepairConfig(**wrong)
