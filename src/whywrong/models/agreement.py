"""Whether two classifiers are the same, or may be asked about the same images and classes."""

from __future__ import annotations

from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier


def same_classifier(first: Classifier, second: Classifier) -> bool:
    """Test whether two classifiers are the same.

    They are if they share the object, the module, or the weights and preprocessing.
    """
    return first is second or first.model is second.model or first.identity == second.identity


def check_inputs_agree(classifier: Classifier, other: Classifier, what: str) -> None:
    """Refuse a second classifier known to take images of another size.

    ``what`` names it in the message.

    Raises:
        InputError: Channels, height or width differ.
    """
    sizes = [(spec.channels, spec.height, spec.width) for spec in (classifier.preprocess, other.preprocess) if spec]
    if len(set(sizes)) > 1:
        ours, theirs = (" x ".join(map(str, size)) for size in sizes)
        raise InputError(f"{what} takes images of {theirs}, the explained classifier {ours}; both must take the same")


def check_classes_agree(classifier: Classifier, other: Classifier, what: str) -> None:
    """Refuse a second classifier whose classes differ from the explained one.

    ``what`` names it in the message.

    Nothing is checked if one of the two does not know its classes yet. Names that are only numbers are ignored.

    Raises:
        InputError: The number or the names of the classes differ.
    """
    if classifier.classes is None or other.classes is None:
        return
    ours, theirs = tuple(classifier.classes.names), tuple(other.classes.names)
    if len(ours) != len(theirs):
        raise InputError(f"{what} has {len(theirs)} classes, the explained classifier {len(ours)}")
    counted = tuple(str(i) for i in range(len(ours)))
    if counted not in (ours, theirs) and ours != theirs:
        row = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
        raise InputError(
            f'class {row} of {what} is "{theirs[row]}", that of the explained classifier "{ours[row]}"; '
            "both must have the same classes in the same order"
        )
