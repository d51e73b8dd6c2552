"""What a claim is: a function of classifiers, data and a config that ends in an effect, an interval and a verdict.

A claim is one line in ``core/registry.py``; its function is ``claim(models, data, config) -> ClaimResult``, in
which ``models`` is a sequence of classifiers and ``data`` an object like :class:`LabelledImages`. Where its line says
so in ``takes``, the function gets ``judges``, ``progress`` or ``memory`` as keyword arguments too; the memory names
all claims of the call under ``claims``, so that the first one can measure what the others will ask for.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from whywrong.core.config import config_dict, make_config
from whywrong.core.errors import InputError, WhyWrongError
from whywrong.core.registry import Claim, claims, resolve
from whywrong.models import Classifier

Verdict = Literal["holds", "does not hold", "undecided"]


class LabelledImages(Protocol):
    """Images with labels, prepared for one classifier at a time."""

    def batches(self, classifier: Classifier) -> Iterator[tuple[Tensor, Tensor, Sequence[str]]]:
        """Images (B, C, H, W) in [0, 1] at the input size of ``classifier``, classes (B,) int64, item ids."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class TensorImages:
    """Labelled images that are in memory: ``x`` (N, C, H, W) in [0, 1] and ``y`` (N,) int64."""

    x: Tensor
    y: Tensor
    batch_size: int = 64

    def batches(self, classifier: Classifier) -> Iterator[tuple[Tensor, Tensor, Sequence[str]]]:
        """The same images for every classifier; row numbers serve as item ids."""
        for start in range(0, len(self.x), self.batch_size):
            rows = slice(start, start + self.batch_size)
            x = self.x[rows]
            yield x, self.y[rows], [str(start + i) for i in range(len(x))]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """The outcome of one claim on one model (or pair) and one set of images.

    Attributes:
        name: Name of the claim, ``family.number``.
        title: The claim in one sentence.
        effect: The number on which the verdict rests.
        effect_name: What that number is, with its unit.
        interval: Its 95 % interval.
        n: Errors it was measured on.
        verdict: ``holds``, ``does not hold``, or ``undecided`` where the interval covers the bound.
        sentence: The outcome in words and numbers.
        numbers: Everything else that was measured, by name.
        samples: Values behind the figure, one list a curve.
        drawing: What a figure of its own needs beside them; plain values.
        pictures: Images and maps for that figure, by name, any shape; they stay out of :meth:`to_dict`.
        config: Settings of the claim.
        models: Identities of the classifiers.
        judges: Identities of the judges, where it took any.
    """

    name: str
    title: str
    effect: float
    effect_name: str
    interval: tuple[float, float]
    n: int
    verdict: Verdict
    sentence: str
    numbers: Mapping[str, float | int | str | None] = field(default_factory=dict)
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)
    drawing: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Tensor] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    models: Sequence[str] = ()
    judges: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; numbers that are not finite become null."""
        fields = (entry.name for entry in dataclasses.fields(self) if entry.name != "pictures")
        return _plain({name: getattr(self, name) for name in fields})


@dataclass(frozen=True, slots=True)
class SkippedClaim:
    """A claim of a family that was not tested.

    Attributes:
        name, title: Of the claim.
        reason: Why not.
        failed: It was tried and stopped with an error; otherwise something that it needs was not given.
    """

    name: str
    title: str
    reason: str
    failed: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"name": self.name, "title": self.title, "skipped": self.reason, "failed": self.failed}


@dataclass(frozen=True, slots=True)
class ClaimProgress:
    """How far a claim is.

    Attributes:
        stage: What it is doing, in a few words.
        done, total: Steps of the stage.
        errors, failed: As runs report them; 0 where nothing is counted.
        passes: Images sent through the model in this stage, where counted.
    """

    stage: str
    done: int
    total: int
    errors: int = 0
    failed: int = 0
    passes: int = 0


def run_claim(
    name: str,
    models: Sequence[Classifier],
    data: LabelledImages,
    settings: Mapping[str, Any] | None = None,
    *,
    judges: Sequence[Classifier] = (),
    progress: Callable[[ClaimProgress], None] | None = None,
) -> ClaimResult:
    """Test one registered claim.

    Args:
        name: As in ``inverted.1``.
        models: As many classifiers as the claim compares.
        data: Labelled images.
        settings: Settings of the claim; unknown ones are refused with the nearest.
        judges: Further classifiers, for a claim that takes them.
        progress: Told how far a long claim is.

    Raises:
        InputError: No such claim, another number of models, judges where none are taken, or a setting that breaks its
            contract.
    """
    known = claims()
    if name not in known:
        listed = "; ".join(f"{claim.name}: {claim.title}" for claim in known.values())
        raise InputError(f'no claim "{name}"; there are: {listed}')
    claim = known[name]
    if len(models) != claim.models:
        raise InputError(f"claim {name} takes {claim.models} model(s), got {len(models)}")
    _check_judges(name, [claim], judges)
    config = make_config(resolve(claim.config), settings or {}, name)
    return _run(claim, config, models, data, judges=judges, progress=progress, memory={"claims": (name,)})


def run_claims(
    family: str,
    models: Sequence[Classifier],
    data: LabelledImages,
    settings: Mapping[str, Any] | None = None,
    *,
    judges: Sequence[Classifier] = (),
    progress: Callable[[ClaimProgress], None] | None = None,
) -> Iterator[ClaimResult | SkippedClaim]:
    """Test all claims of a family, one after the other; everything is checked before the first.

    Args:
        family: As in ``inverted``.
        models: One classifier, or two; claims about one take the first, and claims about two need both.
        data: Labelled images.
        settings: Each goes to the claims that have it.
        judges: Further classifiers, for the claims that take them.
        progress: Told how far a long claim is.

    Yields:
        A result for each claim, or why there is none.

    Raises:
        InputError: No such family, more than two models or none, judges where no claim takes them, or a setting that
            no claim has or that breaks its contract.
    """
    chosen = claims_of(family)
    if not 1 <= len(models) <= 2:
        raise InputError(f"{family}.all takes one model or two, got {len(models)}")
    _check_judges(f"{family}.all", chosen, judges)
    configs = _family_configs(family, chosen, settings or {})
    return _run_all(chosen, configs, models, data, judges, progress)


def claims_of(family: str) -> list[Claim]:
    """The claims of a family, in the order of the registry.

    Raises:
        InputError: No such family; names those there are.
    """
    known = claims().values()
    chosen = [claim for claim in known if claim.name.partition(".")[0] == family]
    if not chosen:
        families = sorted({claim.name.partition(".")[0] for claim in known})
        raise InputError(f'no family of claims "{family}"; there are: {", ".join(families)}')
    return chosen


def _run_all(
    chosen: Sequence[Claim],
    configs: Sequence[Any],
    models: Sequence[Classifier],
    data: LabelledImages,
    judges: Sequence[Classifier],
    progress: Callable[[ClaimProgress], None] | None,
) -> Iterator[ClaimResult | SkippedClaim]:
    memory: dict[Any, Any] = {"claims": tuple(claim.name for claim in chosen)}
    for claim, config in zip(chosen, configs, strict=True):
        if claim.models > len(models):
            yield SkippedClaim(claim.name, claim.title, "it compares two models; name the second with --model2", False)
            continue
        try:
            yield _run(claim, config, models[: claim.models], data, judges=judges, progress=progress, memory=memory)
        except WhyWrongError as error:  # the other claims may still be tested
            yield SkippedClaim(claim.name, claim.title, " ".join(str(error).split()), True)


def _run(claim: Claim, config: Any, models: Sequence[Classifier], data: LabelledImages, **inputs: Any) -> ClaimResult:
    taken = {name: value for name, value in inputs.items() if name in claim.takes}
    result: ClaimResult = resolve(claim.function)(models, data, config, **taken)
    return dataclasses.replace(
        result,
        name=claim.name,
        title=claim.title,
        config=config_dict(config),
        models=[model.identity for model in models],
        judges=[judge.identity for judge in taken.get("judges", ())],
    )


def _family_configs(family: str, chosen: Sequence[Claim], settings: Mapping[str, Any]) -> list[Any]:
    """The config of each claim, made of the settings that it has."""
    classes = [resolve(claim.config) for claim in chosen]
    names = [[field.name for field in dataclasses.fields(one)] for one in classes]
    known = sorted({name for some in names for name in some})
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise InputError(f'no claim of {family} has a setting "{key}"; nearest: "{near[0]}"')
    return [
        make_config(one, {key: value for key, value in settings.items() if key in mine}, claim.name)
        for claim, one, mine in zip(chosen, classes, names, strict=True)
    ]


def _check_judges(name: str, chosen: Sequence[Claim], judges: Sequence[Classifier]) -> None:
    if judges and not any("judges" in claim.takes for claim in chosen):
        taking = ", ".join(claim.name for claim in claims().values() if "judges" in claim.takes)
        raise InputError(f"{name} takes no judges; claims that do: {taking or 'none'}")


def decide(low: float, high: float, bound: float, *, above: bool = True) -> Verdict:
    """Compare an interval with a bound; ``above`` asks for effects at or above it, else below it."""
    if math.isnan(low) or math.isnan(high):
        return "undecided"
    if above:
        return "holds" if low >= bound else "does not hold" if high < bound else "undecided"
    return "holds" if high < bound else "does not hold" if low >= bound else "undecided"


def both(*verdicts: Verdict) -> Verdict:
    """One verdict over parts that must all hold."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "undecided" if "undecided" in verdicts else "holds"


def error_batches(
    classifier: Classifier, data: LabelledImages, *, limit: int | None, batch_size: int = 64
) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
    """The images that the classifier gets wrong, in batches of ``batch_size``, at most ``limit`` in all.

    Rows whose answer is not finite are left out: they are failures of the model and not errors.
    """
    held: list[tuple[Tensor, Tensor, list[str]]] = []
    waiting, found = 0, 0
    for x, y, ids in data.batches(classifier):
        logits, _ = classifier.logits_or_faults(x)  # NaN in the rows at fault
        wrong = ((logits.argmax(1) != y) & logits.isfinite().all(1)).nonzero().flatten()
        if limit is not None:
            wrong = wrong[: limit - found]
        found += len(wrong)
        if len(wrong):
            held.append((x[wrong], y[wrong], [str(ids[i]) for i in wrong.tolist()]))
            waiting += len(wrong)
        full = limit is not None and found >= limit
        if held and (waiting >= batch_size or full):
            yield _join(held)
            held, waiting = [], 0
        if full:
            return
    if held:
        yield _join(held)


def _join(held: list[tuple[Tensor, Tensor, list[str]]]) -> tuple[Tensor, Tensor, list[str]]:
    images, labels, ids = zip(*held, strict=True)
    return torch.cat(images), torch.cat(labels), [name for part in ids for name in part]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
