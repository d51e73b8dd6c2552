"""Set up a run before the first batch: methods and settings, input, classes, health, batch size."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.classes import ClassList
from whywrong.core.config import config_hash, make_config
from whywrong.core.errors import AccessError, BadItemError, DataError, InputError
from whywrong.core.input_spec import InputSpec
from whywrong.core.registry import DEPTHS, Depth, find_method, methods, resolve
from whywrong.data.decoding import DecodeOptions
from whywrong.data.files import to_text
from whywrong.data.items import load_item
from whywrong.data.sources.base import Source, spread
from whywrong.models.batch_size import plan_batch_size
from whywrong.models.checks.health import HealthReport, probe
from whywrong.models.classifier import Classifier
from whywrong.runs.work.context import as_input
from whywrong.runs.work.tasks import MethodSpec

_PROBED = 64  # images of the health probe, spread over the listing
_ENOUGH = 16  # with fewer readable ones among them, more of the listing is tried
_TRIED = 1024  # most items tried


def choose_steps(
    depth: Depth, names: Sequence[str] | None, options: Mapping[str, Mapping[str, Any]]
) -> list[MethodSpec]:
    """Choose the methods to run, with their settings.

    Raises:
        InputError: An unknown depth, method or setting, or settings of a method that does not run.
    """
    if depth not in DEPTHS:
        raise InputError(f'depth must be one of {", ".join(DEPTHS)}, got "{depth}"')
    if isinstance(names, str) or not isinstance(options, Mapping):
        raise InputError(
            'methods must be a list of names, as ["NAME"], and options settings by method, as {"NAME": {...}}; got '
            f"{names!r} and {options!r}"
        )
    if names is None:
        reached = DEPTHS[: DEPTHS.index(depth) + 1]
        chosen = [m for m in methods().values() if m.depth in reached]
    else:
        chosen = [find_method(name) for name in dict.fromkeys(names)]
    known = [method.name for method in chosen]
    for name in options:
        if name not in known:
            raise InputError(f'settings for "{name}", which does not run{_remedy(name, known)}')
    steps = []
    for method in sorted(chosen, key=lambda method: "fixes" in method.takes):  # after those that store fixes
        config = make_config(resolve(method.config), options.get(method.name, {}), method.name)
        steps.append(MethodSpec(method=method, config=config, hash=config_hash(config)))
    return steps


def _remedy(name: str, known: Sequence[str]) -> str:
    """Say what to do about settings of a method that does not run: run it, or correct the name."""
    if name in methods():
        there, shallowest = ",".join([*known, name]), methods()[name].depth
        if shallowest is None:
            return f": it only runs if it is named: --methods {there}"
        return f": it belongs to --depth {shallowest}, or name it with --methods {there}"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f'; nearest: "{near[0]}"' if near else ""


def check_models(steps: Sequence[MethodSpec], classifier: Classifier, spec: InputSpec) -> None:
    """Let settings that name further models check them before the first batch.

    Raises:
        InputError, AccessError, ModelError: A named model is not suitable.
    """
    for step in steps:
        check = getattr(step.config, "check_models", None)
        if check is not None:
            check(classifier, (spec.channels, spec.height, spec.width))


def filter_by_access(
    steps: Sequence[MethodSpec], access: Access, *, explicit: bool
) -> tuple[list[MethodSpec], dict[str, str]]:
    """Split steps into those that the access allows, and the reason for each other.

    Raises:
        AccessError: A method requested by name needs more.
    """
    granted = [step for step in steps if step.method.access <= access]
    refused = {
        step.method.name: f"needs access to {step.method.access.name}, this classifier grants {access.name}"
        for step in steps
        if step.method.access > access
    }
    if refused and explicit:
        raise AccessError("; ".join(f"{name} {reason}" for name, reason in refused.items()))
    return granted, refused


def result_schema(step: MethodSpec) -> pa.Schema | None:
    """Return the columns of a method's result, if its class declares them.

    Otherwise None, and the first result sets them.
    """
    function = resolve(step.method.function)
    try:
        result = typing.get_type_hints(function).get("return")
    except NameError:  # annotated with a name that only type checkers know
        return None
    schema = getattr(result, "schema", None)
    return schema() if callable(schema) else None


class Sample:
    """A few images, spread over the listing, loaded on first use."""

    def __init__(self, source: Source, spec: InputSpec, options: DecodeOptions) -> None:
        self._source, self._spec, self._options = source, spec, options
        self._loaded: tuple[Tensor, list[str | None]] | None = None

    def images(self) -> tuple[Tensor, list[str | None]]:
        """Return images (B, C, H, W) in [0, 1] and their labels as written in the data.

        Raises:
            DataError: None of them can be read.
        """
        if self._loaded is None:
            total, reason = len(self._source), ""
            pixels, labels = [], []
            for count in (_PROBED, _TRIED):  # more of the listing if few of the first choice can be read
                pixels, labels = [], []
                for entry in spread(self._source.entries(), total, min(count, total)):
                    try:
                        pixels.append(load_item(self._source, entry, self._spec, self._options).pixels)
                        labels.append(entry.label)
                    except BadItemError as error:
                        reason = reason or f"{to_text(entry.key)}: {error.reason}"
                    if len(pixels) == _PROBED:
                        break
                if len(pixels) >= min(_ENOUGH, total):
                    break
            if not pixels:
                tried = min(_TRIED, total)
                raise DataError(f"none of {tried:,} images spread over all {total:,} can be read; the first: {reason}")
            self._loaded = as_input(pixels), labels
        return self._loaded

    def health(self, classifier: Classifier, classes: Mapping[str, int]) -> HealthReport:
        """Run the health probe, on the labelled images if there are enough of them."""
        x, labels = self.images()
        rows = [row for row, label in enumerate(labels) if label is not None]
        if not rows:
            return probe(classifier, x.to(classifier.device))
        y = torch.tensor([classes[label] for label in labels if label is not None], device=classifier.device)
        return probe(classifier, x[rows].to(classifier.device), y)

    def batch_size(self, classifier: Classifier) -> int:
        """Return the number of images per pass, planned by the model's loader or here."""
        if classifier.recipe is not None:
            return classifier.batch_size
        return plan_batch_size(classifier, self.images()[0][:1])


def settle_classes(classifier: Classifier, source: Source, sample: Sample) -> tuple[ClassList, list[str]]:
    """Determine the classes in the order of the logits.

    They come from the classifier, from ``classes.json``, or from the user.

    Returns:
        The classes, and a warning if their order comes from the data.

    Raises:
        InputError: The model does not name its classes, and the labels of the data are not its indices.
    """
    classes = classifier.classes
    if classes is None and classifier.access >= Access.SCORES:
        classifier.logits_or_faults(sample.images()[0][:8])  # the first output tells how many there are
        classes = classifier.classes
    names = source.class_names
    if classifier.sorted_classes:
        return _sorted_classes(classes, names)
    if classes is None:  # labels only, and no class names
        raise InputError(
            "a labels-only classifier does not tell its classes; pass a file with their names in the order of its "
            "labels: --classes FILE (classes=...)"
        )
    records = source.classes_records
    if classes.named or (records is not None and len(records) < len(classes)):
        return classes, []
    if records is not None and len(records) == len(classes):
        return ClassList.from_records(records), []
    ordered = source.facts.classes
    if ordered is not None and len(ordered) == len(classes):
        shown = ", ".join(ordered[:5]) + (" ..." if len(ordered) > 5 else "")
        return ClassList(ordered), [f"the classes of the data set, in its order, are taken for the model's: {shown}"]
    if source.spec.label_by == "index" or all(name.isascii() and name.isdecimal() for name in names):
        return classes, []
    raise InputError(_unknown_order(len(classes), names))


def _sorted_classes(classes: ClassList | None, names: tuple[str, ...]) -> tuple[ClassList, list[str]]:
    if classes is not None and len(classes) != len(names):
        raise InputError(
            f"--classes sorted takes the {len(names)} labels of the data for the classes, but the model has "
            f"{len(classes)} outputs; pass their names with --classes FILE"
        )
    shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
    return ClassList(names), [f"the sorted labels of the data are taken for the model's classes, as asked: {shown}"]


def _unknown_order(count: int, names: tuple[str, ...]) -> str:
    text = (
        f'the model does not name its {count} classes, so labels such as "{to_text(names[0])}" cannot be matched: '
        "pass their names in the order of its outputs with --classes FILE (.txt, .json, .csv) or in a classes.json "
        f"in the folder of the images, or name the class folders 0 to {count - 1}"
    )
    if len(names) == count:
        text += (
            "; if it was trained on these labels in sorted order, as torchvision's ImageFolder sorts them, say so with "
            "--classes sorted"
        )
    return text
