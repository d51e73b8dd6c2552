"""Find the image and label of a sample, and read labels in the forms that data sets use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whywrong.core.errors import BadItemError, DataError, InputError
from whywrong.data.objects.pixels import is_image, is_tensor
from whywrong.data.sources.label_values import UNLABELLED, label_text, one_hot_classes

_LABELS = ("label", "labels", "target", "class", "y")

Key = int | str


@dataclass(frozen=True, slots=True)
class Parts:
    """Location of image and label in a sample, as positions of a tuple or keys of a mapping.

    Attributes:
        image: None if the sample is the image.
        label: None without labels.
    """

    image: Key | None
    label: Key | None

    def split(self, sample: Any) -> tuple[Any, Any]:
        """Return the image and label of a sample.

        The label is None if there is none.

        Raises:
            BadItemError: The sample lacks a part that the first one has.
        """
        try:
            image = sample if self.image is None else sample[self.image]
            return image, None if self.label is None else sample[self.label]
        except (KeyError, IndexError, TypeError) as error:
            raise BadItemError(f"the sample is not like the first one ({type(error).__name__}: {error})") from None


def find_parts(sample: Any, where: str, image_column: Key | None, label_column: Key | None) -> tuple[Parts, list[str]]:
    """Find image and label in the first sample of a data set.

    Args:
        sample: (image, label, ...), a mapping with both, or an image.
        where: Description of the data set, for messages.
        image_column, label_column: Position or key, if the user gives it; ``none`` for images without labels.

    Returns:
        The parts, and notes on ignored parts.

    Raises:
        InputError: There is no image, no label, or more than one candidate; the message names the argument to pass.
    """
    if isinstance(sample, Mapping) and not is_image(sample):
        parts: dict[Key, Any] = dict(sample)
    elif isinstance(sample, (tuple, list)):
        parts = dict(enumerate(sample))
    elif is_image(sample) or sample is None:
        parts = {}
    else:
        raise InputError(f"{where}: expected (image, label) or a mapping with both, got {type(sample).__name__}")
    image = None if not parts else _find_image(parts, where, image_column)
    rest = {key: value for key, value in parts.items() if key != image and _is_label(value)}
    label = _find_label(rest, where, parts, label_column)
    left = [str(key) for key in parts if key not in (image, label)]
    if left and isinstance(sample, (tuple, list)):
        return Parts(image, label), [
            f"the samples have {len(parts)} parts: part {image} is taken for the image, part {label} for the label "
            "(label_column=... names another)"
        ]
    return Parts(image, label), []


def _find_image(parts: Mapping[Key, Any], where: str, column: Key | None) -> Key:
    if column is not None:
        return _named(parts, where, "image", column)
    found = [key for key, value in parts.items() if is_image(value)]
    if len(found) == 1:
        return found[0]
    what = f"images may be in {', '.join(map(str, found))}" if found else f"there is no image among {_described(parts)}"
    raise InputError(f"{where}: {what}; say which part holds the image with image_column=...")


def _find_label(rest: Mapping[Key, Any], where: str, parts: Mapping[Key, Any], column: Key | None) -> Key | None:
    if column == UNLABELLED and UNLABELLED not in parts:
        return None
    if column is not None:
        return _named(parts, where, "label", column)
    known = [key for key in rest if key in _LABELS] or [key for key in rest if key == 1]
    if len(rest) == 1 or len(known) == 1:
        return next(iter(rest)) if len(rest) == 1 else known[0]
    if rest:
        raise InputError(
            f"{where}: labels may be in {', '.join(map(str, rest))}; say which part holds one with label_column=..."
        )
    held = _described(parts) if len(parts) > 1 else "an image"
    raise InputError(
        f'{where} holds {held} and no label: let it yield (image, label), or pass label_column="{UNLABELLED}" for '
        "images without labels"
    )


def _named(parts: Mapping[Key, Any], where: str, what: str, column: Key) -> Key:
    for key in parts:
        if str(key) == str(column):
            return key
    raise InputError(
        f"{where}: no part {column!r} for the {what}; it has {', '.join(map(str, parts)) or 'an image only'}"
    )


def _described(parts: Mapping[Key, Any]) -> str:
    return ", ".join(f"{key} ({type(value).__name__})" for key, value in parts.items())[:200]


def _is_label(value: Any) -> bool:
    if isinstance(value, np.ndarray) or is_tensor(value):
        return value.ndim <= 1
    return isinstance(value, (int, float, str, bytes, np.generic)) and not is_image(value)


def read_label(value: Any, names: Sequence[str] | None, where: str) -> str:
    """Read a label of any form that data sets use.

    It is an index or a name, a tensor or array of one number, or a one-hot vector.

    Args:
        value: Label as given by the data set.
        names: Class names, if the data set states them; integer labels then index them.
        where: Location of the label, for messages.

    Returns:
        The name, or the index as text.

    Raises:
        DataError: The label is missing, a mixture of classes, negative, fractional, or beyond the names.
    """
    if isinstance(value, np.ndarray) or is_tensor(value):
        value = _scalar(value if isinstance(value, np.ndarray) else np.asarray(value.detach().cpu()), where)
    text = label_text(value, where)
    if names is None or isinstance(value, (str, bytes)):
        return text
    index = int(text)
    if index >= len(names):
        raise DataError(f"{where}: label {index} is beyond the data set's {len(names)} class names")
    return names[index]


def _scalar(value: np.ndarray, where: str) -> Any:
    if value.size == 1:
        return value.item()
    if value.ndim == 1:
        classes = one_hot_classes(value[None])
        if classes is not None:
            return int(classes[0])
    raise DataError(
        f"{where}: the label is a vector of {value.size} numbers that is not one-hot; give the index of one class"
    )
