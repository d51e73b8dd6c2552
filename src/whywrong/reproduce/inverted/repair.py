"""Claim 5 of the inverted attack: training with the fixes helps the model, beyond training with the errors themselves.

Source: Haffar, Jebreel, Domingo-Ferrer and Sánchez 2021, DOI 10.1007/978-3-030-85529-1_26 (abstract: the regions are
used to adjust model and data; no figure is stated); the arms and their comparison are ours, docs/methods/inverted.md.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from whywrong.attacks.inverted import InvertedConfig, invert
from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.randomness import item_keys, keyed_uniform
from whywrong.core.statistics import exact_share
from whywrong.models.answers import read_scores
from whywrong.models.classifier import Classifier
from whywrong.reproduce.error_batches import error_batches
from whywrong.reproduce.inverted.paired import paired, percent, rate
from whywrong.reproduce.inverted.pools import correct_images
from whywrong.reproduce.protocol import ClaimResult, LabelledImages, both, claim_result, verdicts_of

ARMS = ("replay", "errors", "fixes")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairClaimConfig:
    """Settings of the claim ``inverted.5``.

    Attributes:
        limit: Largest number of errors, the first in the order of the data; None uses all of them.
        correct: Most correctly classified images; half of them are trained on, half measure what is lost.
        steps: Training steps of each arm.
        batch: Images per step.
        replay: Share of a batch that are correctly classified images.
        rate: Learning rate of SGD with momentum 0.9.
        keep: Weight of the divergence from the old model on these images.
        seed: Seed of the split, the order and the keys of the images.
    """

    limit: int | None = None
    correct: int = 1000
    steps: int = 60
    batch: int = 32
    replay: float = 0.75
    rate: float = 1e-3
    keep: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("limit", 2), ("correct", 2), ("steps", 1), ("batch", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} must be at least {least}, got {value}")
        if not 0 < self.replay < 1:
            raise InputError(f"replay must be a share in (0, 1), got {self.replay}")
        if not 0 < self.rate <= 1:
            raise InputError(f"rate must be in (0, 1], got {self.rate}")
        if not 0 <= self.keep <= 100:
            raise InputError(f"keep must be in [0, 100], got {self.keep}")


def fixes_help(models: Sequence[Classifier], data: LabelledImages, config: RepairClaimConfig) -> ClaimResult:
    """Test claim 5, that training with fixes corrects more held-out errors.

    It is compared with replay and with training on the errors themselves. Half of the errors are trained on and half
    are held out. All arms take equal steps from the same weights; they differ in what a quarter of each batch is.
    Nothing of the caller's model changes.
    """
    classifier = models[0]
    classifier.require(Access.GRADIENTS, "training with fixes")
    with classifier:
        x, y, fix, has_fix, held = _errors(classifier, data, config)
        right_x, right_y = correct_images(classifier, data, config.correct, config.seed)
    fit = has_fix & ~held
    half = len(right_x) // 2
    after: dict[str, np.ndarray] = {name: np.zeros(int(held.sum()), bool) for name in ARMS}
    kept: dict[str, np.ndarray] = {name: np.ones(len(right_x) - half, bool) for name in ARMS}
    if bool(fit.any()) and bool(held.any()) and half:
        replay = right_x[:half], right_y[:half]
        extra = {"replay": replay, "errors": (x[fit], y[fit]), "fixes": (fix[fit], y[fit])}
        for name in ARMS:
            trained = _train(classifier, replay, extra[name], config)
            after[name] = (trained.predict(x[held]) == y[held]).cpu().numpy()
            kept[name] = (trained.predict(right_x[half:]) == right_y[half:]).cpu().numpy()
    return _result(after, kept, int(fit.sum()))


def _result(after: dict[str, np.ndarray], kept: dict[str, np.ndarray], trained: int) -> ClaimResult:
    n = len(after["fixes"]) if trained else 0
    share = exact_share(int(after["fixes"].sum()), n)
    parts = [paired(after["fixes"], after[name]) for name in ("replay", "errors")]
    verdict = both(*verdicts_of(parts))
    numbers: dict[str, float | None] = {"trained_on": trained}
    for name in ARMS:
        numbers[f"corrected_{name}"] = rate(after[name])
        numbers[f"lost_{name}"] = rate(~kept[name])
    sentence = (
        f"of {n:,} held-out errors, training with fixes of {trained:,} others corrects {percent(share.value)}, with "
        f"these errors themselves {percent(float(after['errors'].mean()))}, with neither "
        f"{percent(float(after['replay'].mean()))}; of the correct images "
        f"{percent(float((~kept['fixes']).mean()))} are lost."
        if n
        else "too few errors or correct images to train and to hold out: nothing to measure."
    )
    return claim_result(
        share,
        effect_name="share of held-out errors that training with fixes corrects",
        n=n,
        verdict=verdict if n else "undecided",
        sentence=sentence,
        numbers=numbers,
        samples={"corrected": after["fixes"].tolist()},
    )


def _errors(
    classifier: Classifier, data: LabelledImages, config: RepairClaimConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Collect the errors, their classes, their fixes, whether there is one, and whether they are held out."""
    parts: list[tuple[Tensor, ...]] = []
    for x, y, ids in error_batches(classifier, data, limit=config.limit):
        keys = item_keys(config.seed, ids, "inverted")
        plain = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        result = invert(classifier, x, y, keys=keys, detail=plain, config=InvertedConfig(polish_other=0))
        held = keyed_uniform(keys.to(x.device), ()) < 0.5
        parts.append((x, y, result.fix_u8.to(x) / 255, result.u8_fixed.to(x.device), held))
    if not parts:
        none = torch.zeros(0, dtype=torch.bool)
        return torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0), none, none
    x, y, fix, has_fix, held = (torch.cat(column) for column in zip(*parts, strict=True))
    return x, y, fix, has_fix, held


def _train(
    classifier: Classifier, replay: tuple[Tensor, Tensor], extra: tuple[Tensor, Tensor], config: RepairClaimConfig
) -> Classifier:
    """Train a copy of the model on replayed and further images; normalisation layers keep their statistics."""
    assert classifier.module is not None
    net = copy.deepcopy(classifier.module).eval()
    for parameter in net.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    trained = Classifier(
        net,
        classes=classifier.classes,
        preprocess=classifier.preprocess,
        output=classifier.output,
        device=classifier.device,
        batch_size=classifier.batch_size,
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=config.rate, momentum=0.9)
    generator = torch.Generator().manual_seed(config.seed)
    old = max(1, round(config.replay * config.batch))
    for _ in range(config.steps):
        rows = torch.randint(len(replay[0]), (old,), generator=generator)
        more = torch.randint(len(extra[0]), (config.batch - old,), generator=generator)
        x = torch.cat([replay[0][rows], extra[0][more]]).to(classifier.device)
        y = torch.cat([replay[1][rows], extra[1][more]]).to(classifier.device)
        before = classifier.logits(x[:old]).log_softmax(1)
        optimizer.zero_grad()
        with torch.enable_grad():
            scores = _scores(net, trained, x)
            loss = nn.functional.cross_entropy(scores, y)
            drift = nn.functional.kl_div(scores[:old].log_softmax(1), before, reduction="batchmean", log_target=True)
            (loss + config.keep * drift).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    return trained


def _scores(net: nn.Module, classifier: Classifier, x: Tensor) -> Tensor:
    """Compute scores that can be differentiated by the weights; in a classifier they are frozen."""
    spec = classifier.preprocess
    if spec is not None and spec.mean is not None and spec.std is not None:
        mean, std = (x.new_tensor(values).view(1, -1, 1, 1) for values in (spec.mean, spec.std))
        x = (x - mean) / std
    dtype = next(net.parameters()).dtype
    return read_scores(net(x.to(dtype)), classifier.output, len(x))
