"""Plant mistakes with known causes, each verified: right without the cause, wrong with it."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import BadItemError, DataError, InputError
from whywrong.core.randomness import item_keys, keyed_bits
from whywrong.data.batches import to_tensor
from whywrong.data.items import load_item
from whywrong.data.planted import Scene
from whywrong.data.sources.base import Entry
from whywrong.data.sources.planted import PlantedSource
from whywrong.models.classifier import Classifier
from whywrong.planting import adversarial, damage, drawn, labels, occlusion
from whywrong.planting.subjects import CAUSES, LEVELS, Kind, Proposal, Subjects
from whywrong.runs.diagnose import Progress
from whywrong.runs.labelled import LabelledSource, Settled

KINDS: tuple[Kind, ...] = (*labels.KINDS, *damage.KINDS, *adversarial.KINDS, *drawn.KINDS, *occlusion.KINDS)
_CHUNK = 48  # images worked on together; few enough that a quota is not overshot by much


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantConfig:
    """Settings of :func:`plant`, checked once, when built.

    Attributes:
        causes: Causes to plant, of ``CAUSES``; empty for all that these images allow.
        kinds: Kinds to plant, of ``KINDS``; empty for all of the causes.
        per_cause: Verified mistakes wanted of each cause; at least 1.
        strength: Level 1..5 at which to plant; None takes the smallest that makes the image wrong.
        tries: Most images tried for each mistake wanted; at least 1.
        on_object: Cover only objects whose mask or box is known.
        seed: Seeds every choice.
    """

    causes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    per_cause: int = 100
    strength: int | None = None
    tries: int = 20
    on_object: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, chosen, known in (
            ("cause", self.causes, CAUSES),
            ("kind", self.kinds, tuple(dict.fromkeys(kind.name for kind in KINDS))),
        ):
            for one in chosen:
                if one not in known:
                    near = difflib.get_close_matches(one, known, n=1)
                    hint = f'; nearest: "{near[0]}"' if near else ""
                    raise InputError(f'no {name} "{one}"; there are {", ".join(known)}{hint}')
        for name in ("per_cause", "tries"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.strength is not None and not 1 <= self.strength <= LEVELS:
            raise InputError(f"strength must be in 1..{LEVELS}, got {self.strength}")


@dataclass(slots=True)
class Tally:
    """How far planting has come.

    Attributes:
        wanted: Mistakes wanted of each cause.
        planted: Verified mistakes by cause.
        tried: Images tried by cause.
        right: Images that the classifier reads as labelled, and ``read``, those it was asked about.
        refused: Causes that were left out, with the reason.
    """

    wanted: int
    planted: Counter[str] = field(default_factory=Counter)
    tried: Counter[str] = field(default_factory=Counter)
    right: int = 0
    read: int = 0
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """Verified mistakes of one kind.

    Attributes:
        cause, kind: Why they are wrong.
        keys: Key of each image in the source.
        original: (B, C, H, W), uint8, read as ``true``.
        image: (B, C, H, W), uint8, not read as ``label``.
        true: (B,), int64, class of the original.
        label: (B,), int64, class that the planted label says; another than ``true`` where the label is the mistake.
        predicted: (B,), int64, what the classifier reads in ``image``.
        level: (B,), int64, strength 1..5; 0 where the kind has none.
        strength: The same in words.
        objects: (B, H, W), bool, the object; None where the data has no masks.
        random_keys: (B,), int64, key of every random choice.
        scene: The scene of ``image``, where it was drawn.
        severity: (B,), int64, of the corruption done, else 0.
    """

    cause: str
    kind: str
    keys: tuple[str, ...]
    original: Tensor
    image: Tensor
    true: Tensor
    label: Tensor
    predicted: Tensor
    level: Tensor
    strength: tuple[str, ...]
    objects: Tensor | None
    random_keys: Tensor
    scene: Scene | None
    severity: Tensor

    def words(self, row: int) -> str:
        """The cause of one of them, in words."""
        what = f"{self.kind.replace('_', ' ')}, {self.strength[row]}" if self.strength[row] else self.kind
        return f"{self.cause} ({what})"

    def first(self, count: int) -> Planted:
        """The first ``count`` of them."""
        rows: dict[str, Any] = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        for name, values in rows.items():
            if isinstance(values, (Tensor, tuple, Scene)):
                rows[name] = values[slice(count)]
        return Planted(**rows)


def plant(
    classifier: Classifier,
    data: LabelledSource,
    settled: Settled,
    *,
    config: PlantConfig | None = None,
    tally: Tally | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Iterator[Planted]:
    """Plant mistakes, cause by cause, until as many as wanted are verified or the tries are used up.

    Args:
        classifier: Whose mistakes they shall be.
        data: Labelled images.
        settled: What ``data.settle(classifier)`` gave.
        config: Settings.
        tally: Filled while planting goes on.
        progress: Told the cause and how many of its mistakes are there, after every step.

    Yields:
        Verified mistakes; never more of a cause than wanted, and never one that was not verified.

    Raises:
        InputError: A cause or kind that these images or this classifier do not allow was asked for by name.
        DataError: Too few images are read as labelled, or masks that were asked for are missing.
    """
    config = config or PlantConfig()
    tally = tally or Tally(config.per_cause)
    kinds = _choose(classifier, data, config, tally)
    with classifier:
        right = _right(classifier, data, settled, config, tally)
        for cause in CAUSES:
            if some := [kind for kind in kinds if kind.cause == cause]:
                yield from _cause(classifier, data, settled, right, some, config, tally, progress)


def _choose(classifier: Classifier, data: LabelledSource, config: PlantConfig, tally: Tally) -> list[Kind]:
    """The kinds to plant, of the causes and kinds asked for."""
    is_drawn = isinstance(data.source, PlantedSource)
    chosen = []
    for kind in KINDS:
        if (config.causes and kind.cause not in config.causes) or (config.kinds and kind.name not in config.kinds):
            continue
        reason = ""
        if kind.drawn and not is_drawn:
            reason = "needs pictures that whywrong draws, such as planted:test"
        elif kind.gradients and classifier.access < Access.GRADIENTS:
            reason = f"needs access to GRADIENTS, this classifier grants {classifier.access.name}"
        if not reason:
            chosen.append(kind)
        elif kind.name in config.kinds:
            raise InputError(f"{kind.cause} {kind.name} {reason}")
        else:
            tally.refused.setdefault(kind.cause, reason)
    for kind in chosen:
        tally.refused.pop(kind.cause, None)
    for cause in config.causes:
        if all(kind.cause != cause for kind in chosen):
            raise InputError(f"{cause} {tally.refused.get(cause, 'has none of these kinds')}")
    return chosen


def _right(
    classifier: Classifier, data: LabelledSource, settled: Settled, config: PlantConfig, tally: Tally
) -> list[Entry]:
    """Entries that the classifier reads as labelled."""
    limit = max(2_000, config.per_cause * config.tries)
    right: list[Entry] = []
    for x, y, items in data.read(classifier, settled, limit=limit):
        tally.read += len(y)
        hit = (classifier.predict(x) == y).tolist()
        right += [item.entry for item, ok in zip(items, hit, strict=True) if ok]
    tally.right = len(right)
    if not right:
        raise DataError(
            f"the classifier reads none of {tally.read} images as they are labelled; a planted mistake needs an image "
            "that is right without it. `whywrong check` tells whether model and labels are wired up"
        )
    if len(right) < config.per_cause:
        raise DataError(
            f"{config.per_cause} mistakes a cause need as many images that are read as labelled, and there are "
            f"{len(right)} (of {tally.read}): give more images or ask for fewer mistakes"
        )
    return right


def _cause(
    classifier: Classifier,
    data: LabelledSource,
    settled: Settled,
    right: Sequence[Entry],
    kinds: Sequence[Kind],
    config: PlantConfig,
    tally: Tally,
    progress: Callable[[Progress], None] | None,
) -> Iterator[Planted]:
    cause = kinds[0].cause
    keys = item_keys(config.seed, [entry.item_id for entry in right], "order")
    order = keyed_bits(keys, (), CAUSES.index(cause)).argsort()  # other images for every cause
    right = [right[at] for at in order.tolist()][: config.per_cause * config.tries]
    for start in range(0, len(right), _CHUNK):
        subjects, names = _subjects(classifier, data, settled, right[start : start + _CHUNK], config)
        for number, kind in enumerate(kinds):
            # Every kind may take its share of what is still wanted, so that the first ones do not take it all.
            share = math.ceil((tally.wanted - tally.planted[cause]) / (len(kinds) - number))
            rows = torch.arange(number, len(subjects), len(kinds))
            if kind.name == "covered" and config.on_object:
                rows = _with_object(subjects, rows)
            tally.tried[cause] += len(rows)
            for planted in _kind(kind, subjects, names, rows, config):
                some = planted.first(share)
                share -= len(some.true)
                tally.planted[cause] += len(some.true)
                yield some
                if share == 0:
                    break
            if progress is not None:
                progress(Progress(cause, tally.planted[cause], tally.wanted, 0, 0))
            if tally.planted[cause] == tally.wanted:
                return


def _kind(
    kind: Kind, subjects: Subjects, keys: tuple[str, ...], rows: Tensor, config: PlantConfig
) -> Iterator[Planted]:
    """Mistakes of one kind among ``rows``, from weak to strong."""
    levels = range(1, LEVELS + 1) if config.strength is None else (config.strength,)
    for level in levels if kind.graded else (1,):
        if not len(rows):
            return
        some = subjects.at(rows)
        proposal = kind.propose(some, level)
        image = (proposal.x.clamp(0, 1) * 255).round().byte()
        predicted = subjects.classifier.predict(image.float() / 255)
        wrong = (predicted != proposal.label) & (predicted >= 0)
        if proposal.must is not None:
            wrong &= (proposal.must < 0) | (predicted == proposal.must)
        if bool(wrong.any()):
            hit = wrong.nonzero().flatten()
            yield _planted(
                kind, some, tuple(keys[row] for row in rows.tolist()), proposal, image, predicted, hit, level
            )
        rows = rows[~wrong]


def _planted(
    kind: Kind,
    some: Subjects,
    keys: tuple[str, ...],
    proposal: Proposal,
    image: Tensor,
    predicted: Tensor,
    hit: Tensor,
    level: int,
) -> Planted:
    return Planted(
        cause=kind.cause,
        kind=kind.name,
        keys=tuple(keys[row] for row in hit.tolist()),
        original=(some.x[hit] * 255).round().byte(),
        image=image[hit],
        true=some.y[hit],
        label=proposal.label[hit],
        predicted=predicted[hit],
        level=torch.full_like(hit, level if kind.graded else 0),
        strength=(proposal.strength,) * len(hit),
        objects=None if some.objects is None else some.objects[hit],
        random_keys=some.keys[hit],
        scene=None if some.scene is None else (proposal.scene or some.scene)[hit],
        severity=torch.full_like(hit, proposal.severity),
    )


def _subjects(
    classifier: Classifier, data: LabelledSource, settled: Settled, entries: Sequence[Entry], config: PlantConfig
) -> tuple[Subjects, tuple[str, ...]]:
    """The images of some entries, ready to work on."""
    scene, objects = None, None
    classes = torch.tensor(sorted(set(settled.labels.values())))
    if isinstance(data.source, PlantedSource):
        rows = torch.tensor([int(entry.key.rpartition("/")[2]) for entry in entries])
        pictures = data.source.pictures.draw(rows)
        x, objects, scene = pictures.images.float() / 255, pictures.object, data.source.pictures.scene[rows]
        keys = scene.keys
    else:
        entries, pixels, masks = _load(data, settled, entries)
        x = to_tensor(pixels, settled.spec)
        keys = item_keys(config.seed, [entry.item_id for entry in entries], "plant")
        if any(mask is not None for mask in masks):
            nothing = np.zeros(x.shape[2:], dtype=bool)
            objects = torch.from_numpy(np.stack([nothing if mask is None else mask for mask in masks]))
    y = torch.tensor([settled.labels[str(entry.label)] for entry in entries], dtype=torch.int64)
    subjects = Subjects(classifier, x, y, classifier.logits(x), keys, classes, objects, scene)
    return subjects, tuple(entry.key for entry in entries)


def _load(
    data: LabelledSource, settled: Settled, entries: Sequence[Entry]
) -> tuple[list[Entry], list[np.ndarray], list[np.ndarray | None]]:
    kept, pixels, masks = [], [], []
    for entry in entries:
        try:
            item = load_item(data.source, entry, settled.spec, data.options)
        except BadItemError:  # it was there a moment ago; one image less to try
            continue
        kept.append(entry)
        pixels.append(item.pixels)
        masks.append(item.mask)
    return kept, pixels, masks


def _with_object(subjects: Subjects, rows: Tensor) -> Tensor:
    if subjects.objects is None:
        raise DataError("on_object needs masks or boxes of the objects, and the data has none: see --boxes")
    return rows[subjects.objects[rows].flatten(1).any(1)]
