"""What each of the standard attacks owes its caller, whatever the algorithm."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from tests.attacks.attack_nets import SmallNet
from tests.contract.nets import CLASSES, NETS, Counting, build, images, snapshot
from torch import Tensor, nn

from whywrong.attacks.apgd import APGDConfig, apgd
from whywrong.attacks.ddn import DDNConfig, ddn
from whywrong.attacks.minimal import SmallestFixConfig, smallest_change
from whywrong.attacks.patch import PatchConfig, patch
from whywrong.attacks.pgd import PGDConfig, pgd
from whywrong.attacks.state import AttackResult
from whywrong.core.access import Access
from whywrong.core.errors import AccessError, InputError
from whywrong.core.status import Status
from whywrong.models.classifier import Classifier

ATTACKS: dict[str, tuple[Any, Any]] = {
    "pgd": (pgd, PGDConfig(steps=6, restarts=2, eps=0.02)),
    "pgd_l2": (pgd, PGDConfig(steps=6, norm="l2", eps=0.2, loss="margin")),
    "pgd_to_the_end": (pgd, PGDConfig(steps=4, stop_early=False)),
    "apgd": (apgd, APGDConfig(steps=9, restarts=2, eps=0.02)),
    "apgd_l2": (apgd, APGDConfig(steps=9, norm="l2", eps=0.2, loss="dlr")),
    "apgd_to_the_end": (apgd, APGDConfig(steps=9, stop_early=False)),
    "ddn": (ddn, DDNConfig(steps=12)),
    "smallest_l2": (smallest_change, SmallestFixConfig(budget=24)),
    "smallest_linf": (smallest_change, SmallestFixConfig(norm="linf", budget=24)),
    "smallest_l0": (smallest_change, SmallestFixConfig(norm="l0", budget=24)),
    "patch": (patch, PatchConfig(steps=6, restarts=2)),
    "patch_varied": (patch, PatchConfig(steps=6, jitter=2, brightness=0.3, loss="margin")),
    "patch_to_the_end": (patch, PatchConfig(steps=4, stop_early=False, loss="dlr")),
    "patch_universal": (patch, PatchConfig(steps=6, restarts=2, universal=True)),
}
BATCH = 7
KEYS = torch.arange(100, 100 + BATCH)


@pytest.fixture(params=sorted(ATTACKS))
def attack(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=sorted(NETS))
def net(request: pytest.FixtureRequest) -> nn.Module:
    return build(request.param)


def run(attack: str, net: nn.Module | Classifier, x: Tensor, y: Tensor, **options: Any) -> AttackResult:
    function, config = ATTACKS[attack]
    classifier = net if isinstance(net, Classifier) else Classifier(net)
    return function(classifier, x, y, config=config, **options)


def labelled(net: nn.Module) -> tuple[Tensor, Tensor]:
    """Images with the class they are read as; the last one is labelled otherwise."""
    x = images(BATCH, seed=3)
    with torch.no_grad():
        order = net(x).argsort(1, descending=True)
    y = order[:, 0].clone()
    y[-1] = order[-1, 1]
    return x, y


@pytest.mark.parametrize("targeted", [False, True])
def test_passes_are_those_the_model_saw_and_success_is_what_it_says(attack, net, targeted):
    x, y = labelled(net)
    counting = Counting(net)
    targets = (y + 1) % CLASSES if targeted else None
    result = run(attack, counting, x, y, targets=targets, keys=KEYS)
    assert int(result.forwards.sum()) == counting.forwards
    assert int(result.backwards.sum()) == counting.backwards
    assert counting.low >= 0
    assert counting.high <= 1
    with torch.no_grad():
        logits = net(result.x_adv)
    torch.testing.assert_close(result.logits, logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(result.predicted, logits.argmax(1))
    assert torch.equal(result.success, logits.argmax(1) == targets if targeted else logits.argmax(1) != y)
    torch.testing.assert_close(result.l2, (result.x_adv - x).flatten(1).norm(dim=1))
    torch.testing.assert_close(result.linf, (result.x_adv - x).flatten(1).abs().amax(1))


SPLIT = (slice(0, 1), slice(1, 4), slice(4, 7))


@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - {"patch_universal"}))  # which is a property of its batch
def test_the_answer_does_not_depend_on_how_the_batch_is_split(attack, net):
    x, y = labelled(net)
    net.double()  # a float32 net itself answers a little differently in another batch, and signs of slopes near 0 flip
    whole = run(attack, net, x, y, keys=KEYS)
    parts = [run(attack, net, x[rows], y[rows], keys=KEYS[rows]) for rows in SPLIT]
    assert whole.status == [word for part in parts for word in part.status]
    for field in dataclasses.fields(whole):
        if field.name in ("status", "reason"):
            continue
        joined = torch.cat([getattr(part, field.name) for part in parts])
        torch.testing.assert_close(getattr(whole, field.name), joined, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - {"patch_universal"}))
def test_single_precision_nets_give_equal_flags_and_norms_for_any_split(attack):
    net = build("tokens")  # whose answers change most with the batch
    x, y = labelled(net)
    whole = run(attack, net, x, y, keys=KEYS)
    parts = [run(attack, net, x[rows], y[rows], keys=KEYS[rows]) for rows in SPLIT]
    assert whole.status == [word for part in parts for word in part.status]
    for name, tolerance in {"predicted": 0, "l2": 0.01, "linf": 0.01}.items():
        joined = torch.cat([getattr(part, name) for part in parts])
        torch.testing.assert_close(getattr(whole, name), joined, rtol=tolerance, atol=0)


def test_the_same_keys_give_the_same_bits_and_other_keys_another_change(attack):
    net = build("gap")
    x, y = labelled(net)
    first, again = (run(attack, net, x, y, keys=KEYS) for _ in range(2))
    assert torch.equal(first.x_adv, again.x_adv)
    other = run(attack, net, x, y, keys=KEYS + 1000)
    only_without_gradient = ("ddn", "smallest_l2", "smallest_linf", "smallest_l0")
    assert torch.equal(first.x_adv, other.x_adv) == (attack in only_without_gradient)


def test_images_model_and_generators_stay_as_they_were(attack):
    net = build("gap")  # with batch normalisation
    x, y = labelled(net)
    net.train()
    x.requires_grad_()
    before, pixels = snapshot(net), x.detach().clone()
    run(attack, net, x, y)
    assert snapshot(net) == before
    assert torch.equal(x.detach(), pixels)
    assert x.grad is None


def test_an_image_that_is_wrong_already_is_returned_unchanged_after_one_forward_pass(attack):
    net = build("flat")
    x, y = labelled(net)
    result = run(attack, net, x, y)
    assert result.status[-1] == Status.ALREADY_CORRECT
    assert bool(result.success[-1])
    assert torch.equal(result.x_adv[-1], x[-1])
    assert (int(result.forwards[-1]), int(result.backwards[-1])) == (1, 0)
    targets = (y + 1) % CLASSES
    targets[0] = y[0]
    assert run(attack, net, x, y, targets=targets).status[0] == Status.ALREADY_CORRECT


class Silent(nn.Module):
    """NaN for images that are bright in their first pixel, and for all bright enough in the second."""

    def __init__(self) -> None:
        super().__init__()
        self.net = SmallNet()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).where((x[:, 0, 0, :1] < 0.9) & (x[:, 0, 0, 1:2] < 0.505), torch.nan)


def test_rows_of_bad_pixels_or_scores_are_recorded_and_never_a_success(attack):
    x = 0.5 * torch.ones(5, 3, 8, 8)
    x[0, 0, 0, 0], x[1, 0, 3, 3], x[2, 1, 1, 1] = 1.0, torch.nan, 1.5
    y = Silent()(x).argmax(1)
    result = run(attack, Silent(), x, y)
    assert result.status[:3] == [Status.REFUSED, Status.BAD_INPUT, Status.BAD_INPUT]
    assert not result.success[:3].any()
    assert result.predicted[:3].tolist() == [-1, -1, -1]
    assert result.forwards[:3].tolist() == [1, 0, 0]
    assert result.backwards[:3].tolist() == [0, 0, 0]
    torch.testing.assert_close(result.x_adv[:3], x[:3], equal_nan=True)
    assert (result.predicted >= 0)[result.success].all()  # also where scores vanish on the way
    assert result.to_arrow().num_rows == 5


def test_a_caller_in_inference_mode_gets_the_same_change(attack):
    net = build("gap")
    x, y = labelled(net)
    with torch.inference_mode():
        inside = run(attack, net, x.clone(), y.clone(), keys=KEYS)
    assert torch.equal(inside.x_adv, run(attack, net, x, y, keys=KEYS).x_adv)


def test_an_empty_batch_gives_an_empty_result(attack):
    result = run(attack, build("gap"), torch.zeros(0, 3, 16, 16), torch.zeros(0, dtype=torch.int64))
    assert result.x_adv.shape == (0, 3, 16, 16)
    assert result.to_arrow().num_rows == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"y": torch.tensor([0, CLASSES])}, "label 4 of row 1 is outside 0..3"),
        ({"y": torch.tensor([0])}, "2 images came with 1 labels"),
        ({"targets": torch.tensor([0, -1])}, "target -1 of row 1 is outside 0..3"),
        ({"targets": torch.tensor([0.0, 1.0])}, "targets must be an int64 tensor"),
        ({"keys": torch.zeros(3, dtype=torch.int64)}, "keys must be an int64 tensor"),
        ({"x": torch.zeros(3, 16, 16)}, r"images must be a tensor \(B, C, H, W\)"),
    ],
)
def test_a_broken_argument_is_refused(attack, options, words):
    given = {"x": images(2), "y": torch.tensor([0, 1]), **options}
    with pytest.raises(InputError, match=words):
        run(attack, build("gap"), given.pop("x"), given.pop("y"), **given)


def test_a_classifier_without_gradients_is_refused(attack):
    with pytest.raises(AccessError, match="GRADIENTS"):
        run(attack, Classifier(build("gap"), access=Access.SCORES), images(2), torch.tensor([0, 1]))
