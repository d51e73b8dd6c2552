"""Independent classifiers that judge counterfactuals, and the controls they are compared with.

A judge compares an image with its counterfactual by the rise of the log-probability of the target. A rise means little
by itself, because any change causes one. The judge therefore also sees controls of the same norm, and agrees only if
the rise exceeds nearly all rises of controls. The controls are, in this order of preference,

``plain_counterfactuals``
    Counterfactuals of other, ordinary classifiers for the same image into the same class. The threshold of an
    image is the mean over its own controls, plus the 95th percentile of how far single controls lie above the others of
    their image, over all images of the batch. With one such classifier, the percentile of all its rises.
``paired``
    The same per image, so that the threshold of an image does not depend on the rest of its batch: the shuffled
    controls below, and the counterfactuals of ordinary classifiers for this image. The highest of their 95th
    percentile and these, multiplied by ``stretch``.
``permuted``
    Used if no ordinary classifiers are given: the change itself with its pixels shuffled. Such controls are weaker
    than counterfactuals of an ordinary classifier, so the 95th percentile is multiplied by ``stretch``.

Judges take no part in the search: the explained classifier and its auxiliary are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform
from whywrong.explain.counterfactuals.objectives import ClassObjective, log_probability
from whywrong.explain.counterfactuals.solvers.domain import Domain
from whywrong.explain.counterfactuals.solvers.maximize import maximize
from whywrong.models.agreement import check_classes_agree, check_inputs_agree, same_classifier
from whywrong.models.classifier import Classifier

ControlKind = Literal["none", "permuted", "paired", "plain_counterfactuals"]
FEWEST_CONTROLS = 20  # fewer do not determine a 95th percentile
_LEAST_SPREAD = 1e-3  # nats; smaller differences are rounding


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opinion:
    """Judgements of J judges about B counterfactuals.

    Attributes:
        rise: (B, J), nats, log-probability of the target at the counterfactual minus that at the image.
        centre: (B, J), nats, the middle of the rises under the controls.
        threshold: (B, J), nats, what the rise must exceed.
        agrees: (B, J), bool, whether the rise exceeds the threshold.
        flips: (B, J), bool, whether the judge predicts the counterfactual as its target.
        score: (B,), the least convinced judge: rise above ``centre``, in units of ``threshold - centre``; above 1
            exactly if every judge agrees. NaN without judges.
        kind: Which controls were used.
        controls: Number of control rises that determine a threshold.
        judge_forwards: (B,), int64, passes of all judges together.
        control_forwards: (B,), int64, passes of ordinary classifiers for their counterfactuals, excluding the explained
            one.
        control_backwards: (B,), int64.
        own_passes: (2, B), int64, forward and backward passes of the explained classifier if it is its own control.
    """

    rise: Tensor
    centre: Tensor
    threshold: Tensor
    agrees: Tensor
    flips: Tensor
    score: Tensor
    kind: ControlKind
    controls: int
    judge_forwards: Tensor
    control_forwards: Tensor
    control_backwards: Tensor
    own_passes: Tensor


def check_judges(
    classifier: Classifier,
    judges: Sequence[Classifier],
    aux: Classifier | None = None,
    plain: Sequence[Classifier] = (),
    *,
    guided: bool = False,
) -> None:
    """Refuse judges that are not independent, and unsuitable ordinary classifiers.

    Args:
        classifier: The explained one.
        judges: The judges.
        aux: The auxiliary classifier of the search, if any.
        plain: Ordinary classifiers whose counterfactuals are the controls; the explained one only if the search was
            guided.
        guided: Whether the search was guided.

    Raises:
        InputError: Two of them are the same, or their classes or the size of their images differ.
        AccessError: A judge grants no scores, or an ordinary classifier no gradients.
    """
    for number, judge in enumerate(judges):
        name = f"judge {number + 1}"
        judge.require(Access.SCORES, "judging counterfactuals")
        if same_classifier(judge, classifier):
            raise InputError(f"{name} is the explained classifier; a judge must have no part in the search")
        if aux is not None and same_classifier(judge, aux):
            raise InputError(f"{name} is the auxiliary classifier of the search; a judge must have no part in it")
        if any(same_classifier(judge, other) for other in judges[:number]):
            raise InputError(f"{name} was given twice")
        check_inputs_agree(classifier, judge, name)
        check_classes_agree(classifier, judge, name)
    for number, net in enumerate(plain):
        name = f"ordinary classifier {number + 1}"
        net.require(Access.GRADIENTS, "making controls")
        if any(same_classifier(net, other) for other in (*judges, *plain[:number])):
            raise InputError(f"{name} also judges, or was given twice; controls need others")
        if not guided and same_classifier(net, classifier):
            raise InputError(f"{name} is the explained classifier, a control only where something guided the search")
        check_classes_agree(classifier, net, name)


def ask_judges(
    judges: Sequence[Classifier],
    x: Tensor,
    vce: Tensor,
    target: Tensor,
    keys: Tensor,
    *,
    plain: Sequence[Classifier] = (),
    plain_vces: Sequence[Tensor] = (),
    paired: bool = False,
    p: float = 1.5,
    controls: int = FEWEST_CONTROLS,
    stretch: float = 2.0,
    quantile: float = 0.95,
    steps: int = 30,
    explained: Classifier | None = None,
) -> Opinion:
    """Ask judges about counterfactuals and about controls of the same norm.

    Args:
        judges: Checked by :func:`check_judges`.
        x: (B, C, H, W), originals, float32 in [0, 1].
        vce: (B, C, H, W), their counterfactuals.
        target: (B,), int64.
        keys: (B,), int64, seeds of the shuffled controls.
        plain: Ordinary classifiers. With them, pass all counterfactuals in one call, because their controls share one
            threshold.
        plain_vces: Existing counterfactuals of further ordinary classifiers for the same images and classes; (B, C, H,
            W) each, of any norm.
        paired: Compare each image with its own controls only, including shuffled ones.
        p: Norm in which controls are as large as the change, in [1, inf].
        controls: Shuffled controls per image if there are too few others.
        stretch: Factor of the percentile of shuffled controls.
        quantile: Share of the controls that a rise must exceed.
        steps: Steps of a control's search.
        explained: Classifier whose passes are counted separately if it is among ``plain``.
    """
    base, _ = read_target(judges, x, target)
    log_p, flips = read_target(judges, vce, target)
    rise = log_p - base
    number = len(plain) + len(plain_vces)
    spent = torch.zeros((2, 2, len(x)), dtype=torch.int64, device=x.device)  # of the others, of the explained one
    kind: ControlKind = "none"
    changed: Iterable[Tensor] = ()
    paired = paired and number > 0
    if judges and (paired or number * len(x) >= FEWEST_CONTROLS):
        kind = "plain_counterfactuals"
        made, passes = plain_counterfactuals(plain, x, vce, target, p=p, steps=steps)
        for net, one in zip(plain, passes, strict=True):
            spent[int(explained is not None and same_classifier(net, explained))] += one
        changed = [*made, *(as_large(x, z, vce, p) for z in plain_vces)]
        if paired:
            kind = "paired"
            changed += [permuted(x, vce, keys, draw, p) for draw in range(controls)]
    elif judges and len(x):
        kind = "permuted"
        changed = (permuted(x, vce, keys, draw, p) for draw in range(controls))
    rises = [read_target(judges, z, target)[0] - base for z in changed]
    centre = threshold = torch.full_like(rise, torch.nan)
    if kind == "plain_counterfactuals":
        centre, threshold = paired_threshold(torch.stack(rises), quantile)
    elif kind != "none":
        ordinary = rises[:number] if kind == "paired" else []
        shuffled = torch.stack(rises[len(ordinary) :])  # (M, B, J)
        centre = shuffled.quantile(0.5, dim=0)
        highest = torch.stack([shuffled.quantile(quantile, dim=0), *ordinary]).amax(0)
        threshold = centre + stretch * (highest - centre)
    threshold = torch.maximum(threshold, centre + _LEAST_SPREAD)
    score = (rise - centre) / (threshold - centre)
    return Opinion(
        rise=rise,
        centre=centre,
        threshold=threshold,
        agrees=rise > threshold,
        flips=flips,
        score=score.amin(1) if judges else rise.new_full((len(x),), torch.nan),
        kind=kind,
        controls=len(rises) * (len(x) if kind == "plain_counterfactuals" else 1),
        judge_forwards=torch.full_like(target, len(judges) * (2 + len(rises))),
        control_forwards=spent[0, 0],
        control_backwards=spent[0, 1],
        own_passes=spent[1],
    )


def paired_threshold(rises: Tensor, quantile: float = 0.95) -> tuple[Tensor, Tensor]:
    """Compute the threshold of each image from the rises of its L controls.

    Images differ in how easily any change moves them into a class; that level is taken from the image's own controls,
    the spread from the controls of all B images.

    Args:
        rises: (L, B, J), nats.
        quantile: Share of the controls that lie below the threshold.

    Returns:
        Centre and threshold, (B, J) each. With two or more controls, the centre is the mean of an image's controls; the
        threshold adds the quantile, over all images, of a control minus the mean of the other controls of its image.
        With one control, median and quantile of all rises.
    """
    number = len(rises)
    if number == 1:
        centre = rises[0].nanquantile(0.5, dim=0).expand_as(rises[0])
        return centre, rises[0].nanquantile(quantile, dim=0).expand_as(centre)
    centre = rises.mean(0)
    above = (rises - centre) * (number / (number - 1))  # a control minus the mean of the others
    # An image with a non-finite score of a judge has no threshold, and does not affect those of the others.
    return centre, centre + above.flatten(0, 1).nanquantile(quantile, dim=0)


def permuted(x: Tensor, vce: Tensor, keys: Tensor, draw: int, p: float) -> Tensor:
    """Shuffle the changed pixels of images, keeping the norm of the change.

    Returns (B, C, H, W).

    A pixel moves with all its channels. A moved change that leaves the pixel range is clipped, and the whole is scaled
    back to the norm of the change, as far as the range allows.
    """
    change = (vce - x).flatten(2)
    order = keyed_uniform(keys, (change.shape[2],), draw).argsort(dim=1)
    moved = change.gather(2, order[:, None].expand_as(change)).view_as(x)
    return as_large(x, x + moved, vce, p)


def plain_counterfactuals(
    plain: Sequence[Classifier], x: Tensor, vce: Tensor, target: Tensor, *, p: float, steps: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Compute counterfactuals of ordinary classifiers of the same norm and target.

    Returns:
        L tensors (B, C, H, W), and L tensors of forward and backward passes (2, B) int64.
    """
    spent, changed = [], []
    norm = Domain.around(x, x.new_ones(len(x)), p).norm(vce)
    for net in plain:
        with net:
            found = maximize(ClassObjective(net), x, target, p=p, eps=norm.clamp_min(1e-6), steps=steps)
        spent.append(torch.stack([found.forwards, found.backwards]))
        changed.append(as_large(x, found.z, vce, p))
    return changed, spent


def read_target(judges: Sequence[Classifier], z: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the log-probability of the target for each judge.

    Returns it in nats, (B, J), and whether the judge predicts ``z`` as the target, (B, J) bool.
    """
    logits = [judge.logits(z) for judge in judges]
    if not logits:
        return z.new_zeros((len(z), 0)), torch.zeros((len(z), 0), dtype=torch.bool, device=z.device)
    log_p = torch.stack([log_probability(scores, target) for scores in logits], 1)
    return log_p, torch.stack([scores.argmax(1) == target for scores in logits], 1)


def as_large(x: Tensor, changed: Tensor, vce: Tensor, p: float) -> Tensor:
    """Scale ``changed`` away from ``x`` to the l_p distance of ``vce``.

    The result stays in the pixel range.
    """
    norm = Domain.around(x, x.new_ones(len(x)), p).norm(vce)
    filled = Domain.around(x, norm.clamp_min(1e-12), p).filled(changed)
    return torch.where((norm > 0).view(-1, 1, 1, 1), filled, x)
