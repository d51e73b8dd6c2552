"""Class names in the attributes under which libraries store them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from typing import Any

from torch import Tensor, nn

from whywrong.core.class_names import NAME_KEYS, is_placeholder, read_class_names
from whywrong.core.classes import ClassList
from whywrong.core.errors import ModelError, WhyWrongError

_HOLDERS = {
    "config": ("id2label", "label2id", "label_names"),  # Hugging Face
    "pretrained_cfg": ("label_names",),  # timm
    "default_cfg": ("label_names",),
    "meta": ("categories", "classes"),  # torchvision
}


def classes_of(model: Any) -> ClassList | None:
    """Read the class names of a model.

    Searched are ``classes``, ``class_names``, ``class_to_idx``, ``idx_to_class``, ``id2label``, ``label2id`` and
    ``categories`` of the model, ``id2label`` and ``label2id`` of its ``config``, ``label_names`` of its
    ``pretrained_cfg`` and ``categories`` of its ``meta``. A number, function, tensor or submodule of such a name is
    part of the model, not a list of names. The placeholders ``LABEL_0``, ``LABEL_1`` ... are ignored, too. Returns None
    if the model has no class names.

    Raises:
        ModelError: A list of names is malformed, or two lists hold the same names in different orders.
    """
    found: list[tuple[str, ClassList]] = []
    for where, value in _candidates(model):
        try:
            classes = read_class_names(value, f"{where} of the model")
        except WhyWrongError as error:
            raise ModelError(f"{error}; correct it, or pass the names with --classes (classes=...)") from None
        if not is_placeholder(classes):
            found.append((where, classes))
    for where, classes in found[1:]:
        first_where, first = found[0]
        if classes.names != first.names and sorted(classes.names) == sorted(first.names):
            raise ModelError(
                f"{first_where} and {where} of the model give the class names in different orders; pass the right one "
                "with --classes (classes=...)"
            )
    return found[0][1] if found else None


def _candidates(model: Any) -> Iterable[tuple[str, Any]]:
    for name in NAME_KEYS:
        value = getattr(model, name, None)
        if _may_hold_names(value):
            yield name, value
    for holder, names in _HOLDERS.items():
        settings = getattr(model, holder, None)
        for name in names:
            value = settings.get(name) if isinstance(settings, Mapping) else getattr(settings, name, None)
            # timm keeps the pretraining's class names in a network whose head was replaced.
            replaced = name == "label_names" and len(value or ()) != getattr(model, "num_classes", len(value or ()))
            if _may_hold_names(value) and not replaced:
                yield f"{holder}.{name}", value


def _may_hold_names(value: Any) -> bool:
    """Return whether a value is a collection or text, not empty, and not a part of the network."""
    if isinstance(value, (nn.Module, Tensor, type)) or callable(value):
        return False
    return isinstance(value, Iterable) and isinstance(value, Sized) and len(value) > 0


def find_classes(given: Any, *models: Any) -> ClassList | None:
    """Return the given classes, otherwise those that a model or its wrapper stores."""
    if given is not None:
        return read_class_names(given)
    return next((found for model in models if (found := classes_of(model)) is not None), None)
