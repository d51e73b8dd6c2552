"""Search for components of every class, judged on held-out images; features are computed once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from whywrong.core.errors import DataError, InputError, ModelError
from whywrong.core.label_match import find_class
from whywrong.data.items import LoadedItem
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext, AnalysisWorker, ImageSet
from whywrong.explain.spurious.config import SpuriousConfig
from whywrong.explain.spurious.features import Features, image_features
from whywrong.explain.spurious.harmful import Harm, harmful
from whywrong.explain.spurious.levels import Levels, levels_of
from whywrong.explain.spurious.neural_pca import ClassComponents, class_components
from whywrong.explain.spurious.spuriosity import Spuriosity, spuriosity
from whywrong.models.classifier import Classifier
from whywrong.models.layers.last_layer import find_last_layer

_BESIDE = 20_000  # largest number of images of other classes that determine their level
EXACT = 1e-4  # largest accepted residual of the split of a logit, as a share of its absolute terms


@dataclass(slots=True, eq=False)
class Pool:
    """Features of the labelled images of one set.

    Attributes:
        images: Name of the set.
        features: Features of the N images that could be used.
        entries: Entry of each image.
        image_ids: Identity of each image.
        failed: Key and reason of every other item.
    """

    images: ImageSet
    features: Features
    entries: list[Entry]
    image_ids: list[str]
    failed: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.entries)

    def take(self, rows: Tensor) -> Pool:
        """Select some of the images."""
        chosen = rows.tolist()
        return Pool(
            self.images,
            self.features[rows],
            [self.entries[row] for row in chosen],
            [self.image_ids[row] for row in chosen],
            self.failed,
        )


@dataclass(frozen=True, slots=True, eq=False)
class PoolPart:
    """Features and entries of a range of images, and the images that could not be read or used."""

    features: Features | None
    entries: list[Entry]
    image_ids: list[str]
    unread: list[tuple[str, str]]
    unusable: list[tuple[str, str]]


def pool_part(worker: AnalysisWorker, entries: tuple[Entry, ...]) -> PoolPart:
    """Compute and keep the features of a range of images, with one pass each."""
    features: list[Features] = []
    kept: list[LoadedItem] = []
    unread: list[tuple[str, str]] = []
    unusable: list[tuple[str, str]] = []
    for batch in worker.batches(entries):
        unread += [(failed.entry.key, failed.reason) for failed in batch.failed]
        rows = (batch.y >= 0).nonzero().flatten()
        if not len(rows):
            continue
        items = [batch.items[row] for row in rows.tolist()]
        found, reasons = image_features(worker.classifier, batch.x[rows], batch.y[rows])
        features.append(found)
        kept += [item for row, item in enumerate(items) if row not in reasons]
        unusable += [(items[row].entry.key, reason) for row, reason in sorted(reasons.items())]
    whole = Features.cat(features) if features else None
    return PoolPart(whole, [item.entry for item in kept], [item.image_id for item in kept], unread, unusable)


def read_pool(context: AnalysisContext, images: str, step: str) -> Pool:
    """Compute the features of all labelled images of a set.

    Raises:
        DataError: No labelled image could be read or used.
    """
    parts = list(context.over_images(step, pool_part, images=images, settings=()))
    unread = [pair for part in parts for pair in part.unread]
    failed = unread + [pair for part in parts for pair in part.unusable]
    features = [part.features for part in parts if part.features is not None]
    entries = [entry for part in parts for entry in part.entries]
    if not entries:
        first = f"; the first: {failed[0][0]}: {failed[0][1]}" if failed else ""
        what = "could be used" if features else "could be read"
        raise DataError(f"{context.images[images].title}: no labelled image {what}{first}")
    image_ids = [image_id for part in parts for image_id in part.image_ids]
    return Pool(context.images[images], Features.cat(features), entries, image_ids, failed)


def split_by_name(pool: Pool, share: float) -> tuple[Tensor, Tensor]:
    """Split a pool into two parts, the second with about ``share`` of the images.

    Returns int64 rows of both.

    The part of an image does not depend on the rest of the set, and identical images stay together.
    """
    second = torch.tensor([int(image_id[:8], 16) / 2**32 < share for image_id in pool.image_ids])
    return (~second).nonzero().flatten(), second.nonzero().flatten()


@dataclass(frozen=True, slots=True, eq=False)
class ClassSearch:
    """Result for one class.

    Attributes:
        components: Its neural PCA.
        levels: Levels from the images in which the components were found.
        harm: Harm of each component, on held-out images.
        bias: Spuriosity of each component, on held-out images of the class.
        own: Rows of the held-out images of the class.
    """

    components: ClassComponents
    levels: Levels
    harm: Sequence[Harm]
    bias: Sequence[Spuriosity]
    own: Tensor

    @property
    def harmful(self) -> list[int]:
        """Numbers of the components confirmed as harmful, from 0."""
        return [number for number, harm in enumerate(self.harm) if harm.verdict == "harmful"]


@dataclass(slots=True)
class Search:
    """A finished search.

    Attributes:
        config: Its settings.
        search: Images in which components were found.
        held_out: Images that judge them.
        referenced: Whether ``search`` holds reference images, not a part of DATA.
        shared: Number of images of DATA that are also reference images and were therefore not used to judge.
        classes: Results by class index.
        left_out: Reasons for missing results by class index.
        basis: 12 hexadecimal digits that identify the search that the numbers of the components belong to.
        failed: Key and reason of the items that could not be used.
    """

    config: SpuriousConfig
    search: Pool
    held_out: Pool
    referenced: bool
    shared: int
    classes: dict[int, ClassSearch]
    left_out: dict[int, str]
    basis: str
    failed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def searched(self) -> int:
        """Number of components searched, over all classes."""
        return sum(len(found.components) for found in self.classes.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes of the model."""
        return self.held_out.images.classes.names

    @property
    def counts(self) -> Mapping[int, int]:
        """Number of components by class index."""
        return {index: len(found.components) for index, found in self.classes.items()}


def search_spurious(context: AnalysisContext, config: SpuriousConfig) -> Search:
    """Find the components of every class and judge them on held-out images.

    Args:
        context: Components are found in its set ``reference``, or in a part of ``data`` if missing, and judged on
            ``data``.
        config: Settings.

    Raises:
        InputError: A requested class is unknown to the model, or has too few images.
        AccessError: The classifier grants no access to its layers.
        ModelError: It has no linear last layer.
        DataError: No image can be used, or every class has too few.
    """
    classifier, data = context.classifier, context.images["data"]
    asked = [find_class(text, data.classes) for text in config.classes]
    if "reference" in context.images:
        search, held_out = read_pool(context, "reference", "reference"), read_pool(context, "data", "read")
        failed = [*search.failed, *held_out.failed]
        held_out, shared = _without(held_out, set(search.image_ids))
    else:
        pool = read_pool(context, "data", "read")
        first, second = split_by_name(pool, config.holdout)
        search, held_out, shared, failed = pool.take(first), pool.take(second), 0, pool.failed
    classes, left_out = _components(context, search, asked, config)
    _require_some(classes, left_out, asked, data.classes.names)
    referenced = "reference" in context.images
    found = Search(config, search, held_out, referenced, shared, {}, left_out, "", failed)
    searched = sum(len(components) for components, _ in classes.values())
    for index, (components, levels) in classes.items():
        found.classes[index] = _judge(components, levels, held_out.features, searched, config)
    found.basis = _basis(classifier, search, config)
    return found


def _without(pool: Pool, image_ids: set[str]) -> tuple[Pool, int]:
    fresh = [row for row, image_id in enumerate(pool.image_ids) if image_id not in image_ids]
    if not fresh:
        raise DataError(
            "every image of DATA is among the reference images, and none is left to judge by; give other images, or no "
            "reference: a part of DATA is then held out"
        )
    return pool.take(torch.tensor(fresh)), len(pool) - len(fresh)


def _components(
    context: AnalysisContext, pool: Pool, asked: Sequence[int], config: SpuriousConfig
) -> tuple[dict[int, tuple[ClassComponents, Levels]], dict[int, str]]:
    spec = pool.images.spec
    last = find_last_layer(context.classifier, (spec.channels, spec.height, spec.width))
    weight, bias = last.weight.cpu(), last.bias.cpu()
    features = pool.features
    beside = features[slice(None, None, -(-len(features) // _BESIDE))]  # evenly spaced over the set
    wanted = sorted(set(asked)) or list(range(len(weight)))
    found: dict[int, tuple[ClassComponents, Levels]] = {}
    left_out: dict[int, str] = {}
    for done, index in enumerate(wanted, start=1):
        own = features[features.label == index]
        if len(own) < config.min_images:
            left_out[index] = f"{len(own)} images, fewer than {config.min_images}"
            continue
        components = class_components(
            own.phi, own.logits[:, index], weight[index], float(bias[index]), index, config=config.pca
        )
        if not components.residual <= EXACT:
            raise ModelError(
                f"the components of class {index} miss its logit by {components.residual:.2g} of its terms, at most "
                f"{EXACT:g} is allowed: something comes behind the last linear layer of this model"
            )
        others = components.alphas(beside.phi64)[beside.label != index]
        found[index] = components, levels_of(components.alphas(own.phi), others)
        context.progress("components", done, len(wanted))
    return found, left_out


def _require_some(found: Mapping[int, object], left_out: Mapping[int, str], asked: Sequence[int], names: Sequence[str]):
    short = [index for index in asked if index in left_out]
    if short:
        raise InputError(f'class "{names[short[0]]}": {left_out[short[0]]}; give more images, or lower min_images')
    if not found:
        raise DataError(
            "every class has too few images to take components from ("
            + next(iter(left_out.values()), "none")
            + "): give more with --reference, or lower --set min_images"
        )


def _judge(
    components: ClassComponents, levels: Levels, held_out: Features, searched: int, config: SpuriousConfig
) -> ClassSearch:
    own = (held_out.label == components.index).nonzero().flatten()
    alpha = components.alphas(held_out.phi64[own])
    right = held_out.predicted[own] == components.index
    return ClassSearch(
        components,
        levels,
        harmful(components, levels, held_out, searched=searched, config=config.harm),
        [spuriosity(alpha[:, number], right, share=config.ends) for number in range(len(components))],
        own,
    )


def _basis(classifier: Classifier, pool: Pool, config: SpuriousConfig) -> str:
    """Compute the identity of a search.

    Settings that only affect drawing or judging are excluded: the numbers of the components stay the same.
    """
    spec = {name: str(value) for name, value in pool.images.source.to_dict().items() if name != "path"}
    counts = torch.bincount(pool.features.label, minlength=1).tolist()
    ids = hashlib.sha256("".join(pool.image_ids).encode()).hexdigest()
    text = json.dumps([classifier.identity, spec, counts, ids, asdict(config.pca)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
