"""Independent classifiers as judges of a counterfactual, and the controls that their opinion is measured against.

A judge sees an image and its counterfactual and tells by how much the log-probability of the target rose. A rise
means little by itself: any change moves it. So the judge is asked about controls of the same norm too, and agrees only
where the rise is beyond nearly all that controls bring. The controls are, in this order of preference,

``plain_counterfactuals``
    Counterfactuals of other, ordinary classifiers for the same image into the same class. The threshold of an
    image is the mean over its own controls, plus the 95th percentile of how far single controls lie above the others of
    their image, over all images of the batch. With one such classifier, the percentile of all its rises.
``paired``
    The same, asked for image by image, so that the threshold of one image knows nothing of the others in its batch:
    the shuffled controls below, and the counterfactuals of ordinary classifiers for this image. The highest of their
    95th percentile and these counts ``stretch`` times.
``permuted``
    Where no ordinary classifiers are given: the change itself with its pixels shuffled. They are weaker than
    counterfactuals of an ordinary classifier, so that the 95th percentile counts ``stretch`` times.

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
from whywrong.explain.counterfactuals.guidance import check_classes_agree, check_inputs_agree, same_classifier
from whywrong.explain.counterfactuals.objectives import ClassObjective, log_probability
from whywrong.explain.counterfactuals.solvers.domain import Domain
from whywrong.explain.counterfactuals.solvers.maximize import maximize
from whywrong.models.classifier import Classifier

ControlKind = Literal["none", "permuted", "paired", "plain_counterfactuals"]
FEWEST_CONTROLS = 20  # below that there is no 95th percentile to speak of
_LEAST_SPREAD = 1e-3  # nats; what differs by less than that is rounding


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opinion:
    """What J judges say about B counterfactuals.

    Attributes:
        rise: (B, J), nats, log-probability of the target at the counterfactual minus that at the image.
        centre: (B, J), nats, the middle of the rises under the controls.
        threshold: (B, J), nats, what the rise must exceed.
        agrees: (B, J), bool, whether it does.
        flips: (B, J), bool, whether the judge reads the counterfactual as its target.
        score: (B,), the least convinced judge: rise above ``centre``, in units of ``threshold - centre``; above 1
            exactly where every judge agrees. NaN without judges.
        kind: Which controls were used.
        controls: Rises under controls that stand behind a threshold.
        judge_forwards: (B,), int64, passes of all judges together.
        control_forwards: (B,), int64, passes of ordinary classifiers, for their counterfactuals, without those of the
            explained one.
        control_backwards: (B,), int64.
        own_passes: (2, B), int64, forward and backward passes of the explained classifier, where it is its own control.
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
    """Refuse judges that are no independent judges, and ordinary classifiers that are no controls.

    Args:
        classifier: The explained one.
        judges: Who is to judge.
        aux: Who helped in the search, if anybody did.
        plain: Ordinary classifiers whose counterfactuals are the controls; the explained one only where
            the search was guided.
        guided: Whether it was.

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
        keys: (B,), int64, seed the shuffled controls.
        plain: Ordinary classifiers. Give all counterfactuals in one call then: their controls share one threshold.
        plain_vces: Counterfactuals of further ordinary classifiers for the same images into the same classes, that are
            there already; (B, C, H, W) each, of any norm.
        paired: Compare each image with its own controls alone, shuffled ones among them.
        p: Norm in which controls are as large as the change, in [1, inf].
        controls: Shuffled controls an image, where there are too few others.
        stretch: How many times the percentile of shuffled controls counts.
        quantile: Share of the controls that a rise must exceed.
        steps: Steps of a control's search.
        explained: Whose passes are counted apart, where it is among ``plain``.
    """
    base, _ = read_target(judges, x, target)
    log_p, flips = read_target(judges, vce, target)
    rise = log_p - base
    number = len(plain) + len(plain_vces)
    spent = torch.zeros((2, 2, len(x)), dtype=torch.int64, device=x.device)  # of others, of the explained one
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
    """What the rise of an image is to be compared with, from the rises under L controls of each of B images.

    Images differ in how easily anything moves them into a class; that part is taken from the image's own controls, the
    spread from all of them together.

    Args:
        rises: (L, B, J), nats.
        quantile: Share of the controls that lie below the threshold.

    Returns:
        Centre and threshold, (B, J) each. With two controls or more, the mean of an image's controls, and that plus
        the quantile over all images of a control minus the mean of the other controls of its image; with one, median
        and quantile of all rises.
    """
    number = len(rises)
    if number == 1:
        centre = rises[0].nanquantile(0.5, dim=0).expand_as(rises[0])
        return centre, rises[0].nanquantile(quantile, dim=0).expand_as(centre)
    centre = rises.mean(0)
    above = (rises - centre) * (number / (number - 1))  # a control minus the mean of the others
    # An image to which a judge gives no finite answer has no threshold, and does not touch that of the others.
    return centre, centre + above.flatten(0, 1).nanquantile(quantile, dim=0)


def permuted(x: Tensor, vce: Tensor, keys: Tensor, draw: int, p: float) -> Tensor:
    """(B, C, H, W): images with their change put on other pixels at random, and made as large as it was.

    A pixel moves with all its channels. Where a moved change leaves the pixel range it is cut, and the whole is scaled
    until its norm is that of the change again, as far as the range allows.
    """
    change = (vce - x).flatten(2)
    order = keyed_uniform(keys, (change.shape[2],), draw).argsort(dim=1)
    moved = change.gather(2, order[:, None].expand_as(change)).view_as(x)
    return as_large(x, x + moved, vce, p)


def plain_counterfactuals(
    plain: Sequence[Classifier], x: Tensor, vce: Tensor, target: Tensor, *, p: float, steps: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Counterfactuals of ordinary classifiers, as large as those under trial, into the same classes.

    Returns:
        L times (B, C, H, W), and L times forward and backward passes (2, B) int64.
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
    """Log-probabilities of the target (B, J), nats, and whether it is what each judge reads from ``z`` (B, J) bool."""
    logits = [judge.logits(z) for judge in judges]
    if not logits:
        return z.new_zeros((len(z), 0)), torch.zeros((len(z), 0), dtype=torch.bool, device=z.device)
    log_p = torch.stack([log_probability(scores, target) for scores in logits], 1)
    return log_p, torch.stack([scores.argmax(1) == target for scores in logits], 1)


def as_large(x: Tensor, changed: Tensor, vce: Tensor, p: float) -> Tensor:
    """``changed`` scaled away from ``x``, within the pixel range, until it is as far from it as ``vce`` in l_p."""
    norm = Domain.around(x, x.new_ones(len(x)), p).norm(vce)
    filled = Domain.around(x, norm.clamp_min(1e-12), p).filled(changed)
    return torch.where((norm > 0).view(-1, 1, 1, 1), filled, x)
