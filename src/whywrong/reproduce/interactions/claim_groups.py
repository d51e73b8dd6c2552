"""Images and groups of the claims, measured once for all claims of a call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import item_keys
from whywrong.models.classifier import Classifier
from whywrong.reproduce.interactions.config import InteractionsClaimConfig
from whywrong.reproduce.interactions.groups import GROUPS
from whywrong.reproduce.interactions.make_groups import REMEDY, make_groups
from whywrong.reproduce.interactions.measure_groups import MeasuredGroups, measure_groups
from whywrong.reproduce.protocol import ClaimContext, ClaimProgress, LabelledImages

Progress = Callable[[ClaimProgress], None] | None


def measured_groups(
    context: ClaimContext[InteractionsClaimConfig], needed: tuple[str, ...], *, useful: tuple[str, ...] = ()
) -> MeasuredGroups:
    """Measure the groups that a claim needs, and useful ones that are not empty.

    All groups are made if other claims of the same call need more.

    Raises:
        InputError: A needed group is empty; the message says what to do.
    """
    classifier, config, cache = context.classifier, context.config, context.cache
    several = len([name for name in cache.get("claims", ()) if name.startswith("interactions.")]) > 1
    wanted = tuple(name for name in GROUPS if several or name in needed + useful)
    if config.matched_drop is not None and "adv_mis" in wanted and "corrupt_mis" not in wanted:
        wanted = tuple(name for name in GROUPS if name in wanted or name == "corrupt_mis")
    key = ("groups", classifier.identity, config, wanted)
    if key not in cache:
        x, y, ids = first_images(
            classifier, context.data, wrong=config.limit, right=config.pool, progress=context.progress
        )
        keys = item_keys(config.seed, ids, "interactions")
        with classifier:
            groups = make_groups(classifier, x, y, keys=keys, config=config.of_groups(wanted))
            cache[key] = measure_groups(
                classifier, groups, config=config.of_measure(classifier, x), progress=told(context.progress, "measure")
            )
    found: MeasuredGroups = cache[key]
    for name in needed:
        if name not in found.groups:
            raise InputError(f"group {name} is empty: {REMEDY[name]}")
        if len(found.groups[name].group) < 2:
            raise InputError(f"group {name} has one image, which has no interval: {REMEDY[name]}")
    return found


def first_images(
    classifier: Classifier, data: LabelledImages, *, wrong: int, right: int, progress: Progress = None
) -> tuple[Tensor, Tensor, list[str]]:
    """Read the first images that the classifier gets wrong and right.

    Images are read in the order of the data, and no more than needed.

    Args:
        classifier: One pass per image; rows without finite logits are skipped.
        data: Labelled images.
        wrong, right: Largest number of each.
        progress: Called with the number found.

    Raises:
        InputError: There are no images.
    """
    held: list[tuple[Tensor, Tensor, list[str]]] = []
    missing = {False: wrong, True: right}
    with classifier:
        for x, y, ids in data.batches(classifier):
            logits, _ = classifier.logits_or_faults(x)
            hit, finite = (logits.argmax(1).cpu() == y.cpu()), logits.isfinite().all(1).cpu()
            kept = torch.zeros(len(x), dtype=torch.bool)
            for is_right in (False, True):
                rows = ((hit == is_right) & finite).nonzero().flatten()[: missing[is_right]]
                kept[rows] = True
                missing[is_right] -= len(rows)
            rows = kept.nonzero().flatten()
            if len(rows):
                held.append(
                    (x[rows.to(x.device)], y[rows.to(y.device)].cpu(), [str(ids[row]) for row in rows.tolist()])
                )
            if progress is not None:
                progress(ClaimProgress("read", wrong + right - sum(missing.values()), wrong + right))
            if not any(missing.values()):
                break
    if not held:
        raise InputError("no labelled image with a finite answer: nothing to measure")
    images, labels, names = zip(*held, strict=True)
    return torch.cat(images), torch.cat(labels), [name for part in names for name in part]


def told(progress: Progress, stage: str) -> Callable[[int, int, int], None] | None:
    """Adapt a progress callback to steps and passes."""
    if progress is None:
        return None
    return lambda done, total, passes: progress(ClaimProgress(stage, done, total, passes=passes))
