"""Adversarial fine-tuning of a robust copy of an ordinary classifier, on the user's own images.

Counterfactuals of the copy are readable for people. How well they represent the original is measured as the share of
held-out images with the same prediction. Each batch is attacked once, by an attack drawn at random: projected gradient
in l_inf, or Frank-Wolfe steps in l_1, which together also give robustness in between (Croce and Hein 2021).

Source: Croce and Hein 2021, arXiv 2105.12508 (E-AT); projected gradient, Madry et al. 2018, arXiv 1706.06083.
Differences: both attacks are drawn with equal probability, not by their running error; the optimiser is AdamW; and the
l_inf attack leaves misclassified images unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whywrong.attacks.pgd import PGDConfig, pgd
from whywrong.core.checks import bad_rows, check_images, check_labels
from whywrong.core.config import check_radius
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.core.statistics import Interval, wilson
from whywrong.explain.counterfactuals.solvers.domain import Domain
from whywrong.models.classifier import Classifier
from whywrong.models.copies import copy_of, descend

_ORDER, _FLIP, _ATTACK = 0, 1, 2  # random streams


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """Settings of :func:`finetune`, checked once, when built.

    Attributes:
        epochs: Passes over the training images; at least 1.
        eps_linf: Radius of the l_inf attack, [0, 1] units; 0 disables it.
        eps_l1: Radius of the l_1 attack, [0, 1] units over all channels; 0 disables it; None allows a change of
            1/255 per value on average, as in the paper (12 for 3 x 32 x 32 pixels).
        attack_steps: Gradient steps of an attack; at least 1.
        rate: Highest learning rate of AdamW; it rises over the first tenth of the steps and then falls linearly to
            zero.
        decay: Weight decay.
        batch: Images per training step; at least 2.
        flip: Mirror half of the images in training; not for classes that depend on left and right.
        holdout: Share of the images held out of training, in (0, 0.9], on which agreement is measured.
        seed: Seed of the order of images, attacks, mirroring and the module's own dropout.
    """

    epochs: int = 3
    eps_linf: float = 4 / 255
    eps_l1: float | None = None
    attack_steps: int = 5
    rate: float = 1e-3
    decay: float = 0.01
    batch: int = 64
    flip: bool = False
    holdout: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("attack_steps", 1), ("batch", 2)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.eps_linf != 0:
            check_radius("eps_linf", self.eps_linf)
        if self.eps_l1 is not None and not (0 <= self.eps_l1 < math.inf):
            raise InputError(f"eps_l1 must be at least 0 and finite (l_1 norm of a change), got {self.eps_l1}")
        if self.eps_linf == 0 and self.eps_l1 == 0:
            raise InputError("eps_linf and eps_l1 are both 0: there is no attack to train against")
        if not 0 < self.rate < math.inf:
            raise InputError(f"rate must be positive and finite, got {self.rate}")
        if not 0 <= self.decay < math.inf:
            raise InputError(f"decay must be at least 0, got {self.decay}")
        if not 0 < self.holdout <= 0.9:
            raise InputError(f"holdout must be in (0, 0.9], got {self.holdout}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneStep:
    """Progress of fine-tuning after a training step.

    Attributes:
        epoch: From 1.
        step: From 1, over all epochs.
        steps: Number of steps in total.
        loss: Cross entropy of the attacked batch, nats.
    """

    epoch: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finetuned:
    """A robust copy, and how well it represents the original.

    Attributes:
        classifier: The copy, in evaluation mode; the original is unchanged.
        agreement: Share of held-out images with the same prediction, with its 95 % interval.
        accuracy: Accuracy of the copy on the held-out images.
        accuracy_before: The same for the original.
        robust_accuracy: Accuracy of the copy on the held-out images under the l_inf attack of ``eps_linf`` (20 steps),
            or under the l_1 attack if only that was trained.
        robust_accuracy_before: The same for the original.
        held_out: Images that were not trained on.
        losses: Mean loss of each epoch, nats.
        forwards: Forward passes of the copy and of the original, images.
        backwards: Backward passes of both, images.
        note: The agreement in words, for the report.
    """

    classifier: Classifier
    agreement: Interval
    accuracy: Interval
    accuracy_before: Interval
    robust_accuracy: Interval
    robust_accuracy_before: Interval
    held_out: int
    losses: tuple[float, ...]
    forwards: int
    backwards: int
    note: str


def finetune(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    config: FinetuneConfig | None = None,
    progress: Callable[[FinetuneStep], None] | None = None,
) -> Finetuned:
    """Train a copy of a classifier to withstand attacks.

    Args:
        classifier: Must wrap a plain module; it is never changed.
        x: Images, (N, C, H, W), floating point, in [0, 1]; at least ten.
        y: Their classes, (N,), int64.
        config: Settings; None uses the defaults.
        progress: Called after every training step.

    Returns:
        The copy with its agreement, accuracies and passes.

    Raises:
        InputError: A shape, type or class breaks the contract, or there are fewer than ten images.
        AccessError: The classifier does not wrap a plain module.
        ModelError: The module cannot be copied.
        NonFiniteError: The loss became NaN or infinite; a lower rate may help.
    """
    config = config or FinetuneConfig()
    check_images(x)
    check_labels(y, len(x), None if classifier.classes is None else len(classifier.classes))
    if len(x) < 10:
        raise InputError(f"fine-tuning needs at least 10 images (thousands to be of use), got {len(x)}")
    if bool(bad_rows(x).any()):
        row = int(bad_rows(x).nonzero()[0])
        raise InputError(f"image {row} has values that are not finite or outside [0, 1]; leave it out")
    robust = copy_of(classifier)
    order = keyed_uniform(row_keys(config.seed, 1), (len(x),), _ORDER)[0].argsort()
    held, train = order.split([max(1, round(config.holdout * len(x))), len(x) - max(1, round(config.holdout * len(x)))])
    start = classifier.forwards, classifier.backwards
    losses = _train(robust, x[train], y[train], config, progress)
    before, right_before, robust_before = _measure(classifier, x[held], y[held], config)
    after, right, robust_after = _measure(robust, x[held], y[held], config)
    agreement = wilson(int((before == after).sum()), len(held))
    return Finetuned(
        classifier=robust,
        agreement=agreement,
        accuracy=right,
        accuracy_before=right_before,
        robust_accuracy=robust_after,
        robust_accuracy_before=robust_before,
        held_out=len(held),
        losses=losses,
        forwards=robust.forwards + classifier.forwards - start[0],
        backwards=robust.backwards + classifier.backwards - start[1],
        note=f"the copy agrees with the original on {agreement.value:.0%} of {len(held)} held-out images "
        f"(95 % interval {agreement.low:.0%} to {agreement.high:.0%}): what it shows is its own and the original's "
        "only as far as that",
    )


def _train(
    robust: Classifier, x: Tensor, y: Tensor, config: FinetuneConfig, progress: Callable[[FinetuneStep], None] | None
) -> tuple[float, ...]:
    """Train the copy and return the mean loss of each epoch."""
    module = robust.module
    assert module is not None
    batches = len(x) // config.batch or 1
    steps = batches * config.epochs
    optimizer = torch.optim.AdamW(module.parameters(), lr=config.rate, weight_decay=config.decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _slope(step, steps))
    losses, step = [], 0
    with _own_randomness(robust.device, config.seed), torch.inference_mode(False), torch.enable_grad():
        for epoch in range(config.epochs):
            keys = row_keys(config.seed + 1 + epoch, len(x))
            total = 0.0
            for rows in keyed_uniform(keys[:1], (len(x),), _ORDER)[0].argsort().chunk(batches):
                changed = _attacked(robust, _mirrored(x[rows], keys[rows], config), y[rows], keys[rows], config, step)
                loss = _descend(robust, module, optimizer, changed, y[rows])
                schedule.step()
                step += 1
                total += loss / batches
                if progress is not None:
                    progress(FinetuneStep(epoch=epoch + 1, step=step, steps=steps, loss=loss))
            losses.append(total)
    return tuple(losses)


def _descend(robust: Classifier, module: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    """Take one optimiser step on attacked images, with the module in training mode.

    Returns the loss before the step.
    """
    module.train()
    try:
        loss = nn.functional.cross_entropy(robust.ask(x), y.to(robust.device))
        descend(robust, optimizer, loss, len(x))
    finally:
        module.eval()
    return float(loss.detach())


def _attacked(robust: Classifier, x: Tensor, y: Tensor, keys: Tensor, config: FinetuneConfig, step: int) -> Tensor:
    """Attack images with the attack drawn for this step.

    The copy is attacked in evaluation mode.
    """
    radius_l1 = _eps_l1(config, x)
    if config.eps_linf and radius_l1:
        inf = bool(keyed_uniform(row_keys(config.seed, 1), (1,), _ATTACK + step)[0] < 0.5)
    else:
        inf = bool(config.eps_linf)
    return _linf(robust, x, y, keys, config, config.attack_steps) if inf else l1_attack(
        robust, x, y, radius_l1, config.attack_steps
    )  # fmt: skip


def _linf(robust: Classifier, x: Tensor, y: Tensor, keys: Tensor, config: FinetuneConfig, steps: int) -> Tensor:
    size = min(2 * config.eps_linf, 2.5 * config.eps_linf / steps)
    settings = PGDConfig(eps=config.eps_linf, steps=steps, step_size=size, stop_early=False)
    return pgd(robust, x, y, keys=keys, config=settings).x_adv


def l1_attack(classifier: Classifier, x: Tensor, y: Tensor, eps: float, steps: int) -> Tensor:
    """Attack images by Frank-Wolfe steps in the l_1 ball and the pixel range.

    Images are (B, C, H, W).

    The first step goes to the best vertex of the ball for the gradient at the image, later ones by 2 / (t + 2) toward
    the best vertex for their gradient. Every iterate lies in the ball; the one with the highest loss is returned.
    """
    domain = Domain.around(x, torch.full((len(x),), eps, device=x.device), 1.0)
    best, best_loss, z = x, torch.full((len(x),), -torch.inf, device=x.device), x

    def loss_of(logits: Tensor, rows: slice) -> Tensor:
        return nn.functional.cross_entropy(logits, y[rows].to(logits.device), reduction="none")

    for step in range(steps):
        _, loss, grad = classifier.gradient(z, loss_of)
        better = loss > best_loss
        best, best_loss = torch.where(better.view(-1, 1, 1, 1), z, best), torch.where(better, loss, best_loss)
        corner, _ = domain.best(grad)
        z = z + (corner - z) * (2 / (step + 2))
    loss = loss_of(classifier.logits(z), slice(None))
    return torch.where((loss > best_loss).view(-1, 1, 1, 1), z, best)


def _measure(classifier: Classifier, x: Tensor, y: Tensor, config: FinetuneConfig) -> tuple[Tensor, Interval, Interval]:
    """Return predicted classes, clean accuracy, and accuracy under attack."""
    predicted = classifier.predict(x)
    if config.eps_linf:
        changed = _linf(classifier, x, y, row_keys(config.seed, len(x), x.device), config, 20)
    else:
        changed = l1_attack(classifier, x, y, _eps_l1(config, x), 20)
    withstood = (classifier.predict(changed) == y) & (predicted == y)
    return predicted, wilson(int((predicted == y).sum()), len(x)), wilson(int(withstood.sum()), len(x))


def _eps_l1(config: FinetuneConfig, x: Tensor) -> float:
    return x[0].numel() / 255 if config.eps_l1 is None else config.eps_l1


def _mirrored(x: Tensor, keys: Tensor, config: FinetuneConfig) -> Tensor:
    if not config.flip:
        return x
    return torch.where(keyed_uniform(keys, (1, 1, 1), _FLIP).to(x.device) < 0.5, x.flip(3), x)


def _slope(step: int, steps: int) -> float:
    """Return the learning rate as a share of the highest.

    It rises over the first tenth of the steps, then falls to zero.
    """
    rise = max(1, steps // 10)
    return (step + 1) / rise if step < rise else (steps - step) / max(1, steps - rise)


@contextmanager
def _own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the module's own dropout and preserve the global random generators."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
