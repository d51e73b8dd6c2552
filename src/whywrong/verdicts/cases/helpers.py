"""Helpers, other classifiers with the same classes whose predictions are evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError, UnmatchedLabelError
from whywrong.core.label_match import find_class
from whywrong.data.batches import to_tensor
from whywrong.data.geometry import Geometry
from whywrong.data.items import LoadedItem
from whywrong.models.classifier import Classifier

LEAST_MATCHED = 0.9
SAME_ANSWERS = 0.995
_SURE = 10.0  # logit of the answer of a helper that only returns labels
_FEWEST_ANSWERS = 50


@dataclass(frozen=True, slots=True)
class Helper:
    """Mapping from the classes of the model to the outputs of a helper.

    Attributes:
        position: Index among the further models of the analysis.
        title: Name in messages.
        identity: Identity of the helper.
        columns: Output of the helper for each class of the model, -1 if there is none.
    """

    position: int
    title: str
    identity: str
    columns: tuple[int, ...]


def match_helper(helper: Classifier, classes: ClassList, title: str, position: int = 0) -> Helper:
    """Match the classes of a helper to those of the model by name.

    Outputs without names are matched in order if their number equals the number of classes.

    Raises:
        InputError: The helper has less than 90 % of the classes of the model.
    """
    theirs = helper.classes
    if theirs is None or not theirs.named:
        count = None if theirs is None else len(theirs)
        if count != len(classes):
            raise InputError(
                f"helper {title}: it names no classes and has {count} outputs, the model has {len(classes)} classes; "
                "choose a helper that was trained on the same classes"
            )
        return Helper(position, title, helper.identity, tuple(range(len(classes))))
    columns = _columns(classes, theirs)
    matched = sum(column >= 0 for column in columns)
    if matched < LEAST_MATCHED * len(classes):
        missing = next(name for name, column in zip(classes.names, columns, strict=True) if column < 0)
        raise InputError(
            f"helper {title}: it knows {matched} of the {len(classes)} classes of the model, for example not "
            f'"{missing}"; at least 90 % are needed'
        )
    return Helper(position, title, helper.identity, columns)


def _columns(classes: ClassList, theirs: ClassList) -> tuple[int, ...]:
    if classes.names == theirs.names:
        return tuple(range(len(classes)))
    exact = {name: index for index, name in enumerate(theirs.names)}
    wnids = {wnid: index for index, wnid in enumerate(theirs.wnids or ())}
    found = []
    for index, name in enumerate(classes.names):
        wnid = classes.wnids[index] if classes.wnids else ""
        if wnid in wnids or name in exact:
            found.append(wnids.get(wnid, exact.get(name, -1)))
            continue
        try:
            found.append(find_class(name, theirs))
        except UnmatchedLabelError:
            found.append(-1)
    return tuple(found)


def helper_logits(helper: Classifier, match: Helper, x: Tensor, items: Sequence[LoadedItem]) -> Tensor:
    """Compute the logits of a helper for the classes of the model.

    The whole photograph gets the preprocessing of the helper. A class without an output gets the lowest logit.

    Args:
        helper: The helper.
        match: Mapping from classes to outputs of the helper.
        x: (B, C, H, W) images prepared for the model, used if the helper defines no input.
        items: The same images as they were loaded.

    Returns:
        Logits (B, K) float32 on the CPU.
    """
    spec = helper.preprocess
    if spec is not None:
        pixels = [Geometry.plan(*item.image.size, spec).to_input(item.image) for item in items]
        x = to_tensor(pixels, spec)
    x = x.to(helper.device)
    with helper:
        if helper.access >= Access.SCORES:
            theirs = helper.logits(x).cpu()
        else:
            answer = helper.predict(x).cpu()
            theirs = _SURE * torch.nn.functional.one_hot(answer, helper.num_classes).float()
    columns = torch.tensor(match.columns)
    lowest = theirs.min(1, keepdim=True).values
    found = theirs[:, columns.clamp_min(0)]
    return torch.where(columns >= 0, found, lowest)


def repeats_the_model(answers: np.ndarray, predicted: np.ndarray) -> bool:
    """Test whether a helper repeats the predictions of the model.

    Args:
        answers: (N,) int64, classes that the helper predicts for errors and correct images.
        predicted: (N,) int64, classes that the model predicts.
    """
    return len(answers) >= _FEWEST_ANSWERS and float((answers == predicted).mean()) > SAME_ANSWERS
