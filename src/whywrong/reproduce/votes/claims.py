"""The claim of the vote attack as a test on any capsule network and data.

Source: Gu, Wu and Tresp 2021, arXiv 2102.10055, of which only the abstract and the code could be read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.attacks.objectives import AttackLoss
from whywrong.attacks.votes import VoteAttackConfig, VoteView, vote_attack, vote_view
from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.core.statistics import Interval, mean, mean_p
from whywrong.models.classifier import Classifier
from whywrong.reproduce.protocol import (
    ClaimContext,
    ClaimResult,
    LabelledImages,
    Part,
    bounds_in_words,
    claim,
    claim_result,
    verdicts_of,
)

NAME = "accuracy under the attack on the output, minus that under the attack on the votes"
# The two attacks of the claim, then what takes them apart: routing without scale, scale without routing, another loss.
ATTACKS: dict[str, tuple[VoteView, AttackLoss]] = {
    "output": ("routed", "ce"),
    "votes": ("votes", "ce"),
    "unrouted": ("uniform", "ce"),
    "scaled": ("scaled", "ce"),
    "output_margin": ("routed", "margin"),
    "votes_margin": ("votes", "margin"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteClaimConfig:
    """Settings of the claims of ``vote``.

    Attributes:
        limit: Most correctly classified images to attack, the first in the order of the data.
        eps: Radius of the linf ball, [0, 1] units.
        steps: Steps of every attack.
        slack: Accuracy by which the attack on the votes may be weaker and still count as strong.
        seed: Seed of the random starts, which all attacks share.
    """

    limit: int = 200
    eps: float = 4 / 255
    steps: int = 20
    slack: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("limit", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.eps <= 1:
            raise InputError(f"eps must be in (0, 1], got {self.eps}")
        if not 0 <= self.slack < 1:
            raise InputError(f"slack must be a share in [0, 1), got {self.slack}")


@claim
def votes_fool_as_often(context: ClaimContext[VoteClaimConfig]) -> ClaimResult:
    """Test V1, that the vote attack lowers the accuracy at least as much as the attack on the output."""
    config, classifier = context.config, context.classifier
    vote_view(classifier)  # refuses models without votes before images are read
    with classifier:
        x, y = _correct(classifier, context.data, config.limit)
        kept: dict[str, Tensor] = {}
        for done, (name, (view, loss)) in enumerate(ATTACKS.items()):
            context.report_progress(f"attack {name.replace('_', ', ')}", done, len(ATTACKS))
            attack = VoteAttackConfig(view=view, loss=loss, eps=config.eps, steps=config.steps, seed=config.seed)
            keys = row_keys(config.seed, len(x), x.device)
            kept[name] = ~vote_attack(classifier, x, y, keys=keys, config=attack).success
        context.report_progress("attack", len(ATTACKS), len(ATTACKS))
    if not len(x):
        nothing = Interval(float("nan"), float("nan"), float("nan"))
        return claim_result(
            nothing,
            effect_name=NAME,
            n=0,
            verdict="undecided",
            sentence="no image is predicted as labelled.",
            numbers={},
        )
    gap = (kept["output"].double() - kept["votes"].double()).cpu().numpy()
    effect = mean(gap, bounds=(-1.0, 1.0))
    part = Part(effect, mean_p(gap, -config.slack, bounds=(-1.0, 1.0)), -config.slack)
    shares = {name: float(rows.double().mean()) for name, rows in kept.items()}
    sentence = (
        f"of {len(x):,} correct images {100 * shares['output']:.3g} % stay correct under the attack on the output, "
        f"{100 * shares['votes']:.3g} % under that on the votes (difference {effect.value:.2g}, "
        f"{bounds_in_words(effect.low, effect.high)}); {100 * shares['scaled']:.3g} % if only the sum of the routed "
        f"votes is scaled, {100 * shares['unrouted']:.3g} % if only routing is left out."
    )
    return claim_result(
        effect,
        effect_name=NAME,
        n=len(x),
        verdict=verdicts_of([part])[0],
        sentence=sentence,
        numbers=shares,
        samples={"difference": gap.tolist()},
    )


def _correct(classifier: Classifier, data: LabelledImages, limit: int) -> tuple[Tensor, Tensor]:
    """Take the first images that are predicted as labelled."""
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for x, y, _ in data.batches(classifier):
        logits, _ = classifier.logits_or_faults(x)
        rows = ((logits.argmax(1) == y) & logits.isfinite().all(1)).nonzero().flatten()
        images.append(x[rows])
        labels.append(y[rows])
        if sum(map(len, labels)) >= limit:
            break
    if not images:
        return torch.zeros(0, 3, 1, 1), torch.zeros(0, dtype=torch.int64)
    return torch.cat(images)[:limit], torch.cat(labels)[:limit]
