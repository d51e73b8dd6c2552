"""The counterfactual route over classes: images of other classes changed into each class that is looked at.

Beside the components, which say what the images of a class differ in, this says what the model would add to an image to
read it as the class. It costs a search an image and class, so that it is asked for (``changes``), and says how many
classes it was made for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.data.batches import to_tensor
from whywrong.explain.counterfactuals.config import default_radius
from whywrong.explain.counterfactuals.finetune import FinetuneConfig, FinetuneStep, finetune
from whywrong.explain.counterfactuals.guidance import Way
from whywrong.explain.counterfactuals.ladder import Guide, choose_guide, gradient_coherence
from whywrong.explain.counterfactuals.named import helper_words, named_helper
from whywrong.explain.counterfactuals.trust import TrustConfig
from whywrong.explain.spurious.change_mass import FEWEST
from whywrong.explain.spurious.route import Route, RouteConfig, changes_into
from whywrong.explain.spurious.transplant import Transplant, transplant
from whywrong.models.classifier import Classifier
from whywrong.runs.progress import Progress
from whywrong.runs.spurious.pictures import shown_classes
from whywrong.runs.spurious.reading import Pool
from whywrong.runs.spurious.search import COPY, Search

_COPY_IMAGES = 640  # reference images, at most, on which a robust copy is trained
_COPY_EPOCHS = 2
_ANGLE = 60.0  # degrees, of the cone


@dataclass(frozen=True, slots=True, eq=False)
class ClassChanges:
    """The route into one class.

    Attributes:
        index: The class.
        route: Its counterfactuals and what they have in common.
        rows: Rows of the held-out images that were changed.
        x: (N, C, H, W), float32, these images.
        read_as: How many of the counterfactuals the searched classifier reads as the class; where a copy of it is
            explained, that is how far the copy speaks for it.
        others: Of each medoid, what its change does to held-out images that it was not made for.
        forwards, backwards: Passes of all classifiers that took part, but for the helper's.
    """

    index: int
    route: Route
    rows: Sequence[int]
    x: Tensor
    read_as: int
    others: Sequence[Transplant]
    forwards: int
    backwards: int


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """The route over the classes that were looked at.

    Attributes:
        guide: The rung of the ladder that was taken.
        coherence: Median cosine of the classifier's own gradients under small noise, at images as they are.
        classes: Class index to what was found.
        left_out: Class index to the reason why nothing was.
        wanted: Classes with components, of which those above were chosen.
        eps: Radius of the searches.
    """

    guide: Guide
    coherence: float
    classes: dict[int, ClassChanges]
    left_out: dict[int, str]
    wanted: int
    eps: float

    @property
    def readable(self) -> bool:
        """Whether the changes may be drawn as what the model looks for; without it they are noise."""
        return self.guide.drawable


def change_classes(
    classifier: Classifier, search: Search, progress: Callable[[Progress], None] | None = None
) -> Changes:
    """Change held-out images of other classes into each class, and test what came again on others.

    Args:
        classifier: The searched one; grants gradients.
        search: Finished; its config says how many classes and images.
        progress: Told after every step of a copy's training, and after every class.

    Raises:
        InputError: The helper cannot serve, or no class has enough images.
        AccessError, NotDifferentiableError: No gradient reaches the pixels.
        DataError: An image cannot be read again.
    """
    tell = progress or (lambda _: None)
    config, pool = search.config, search.held_out
    chosen = shown_classes(search)[: config.changed_classes]
    taken = {index: _rows(pool, index, 2 * config.changed_images) for index in chosen}
    short = {index: len(rows) for index, rows in taken.items() if len(rows) < config.changed_images}
    left_out = {index: f"{n} images of other classes, fewer than {config.changed_images}" for index, n in short.items()}
    if len(left_out) == len(chosen):
        lower = f", or lower --set changed_images (at least {FEWEST})" if max(short.values()) >= FEWEST else ""
        raise InputError(f"changes: {next(iter(left_out.values()))}; give more images{lower}")
    pixels = _load(pool, sorted({row for rows in taken.values() for row in rows}), tell)
    spec = pool.settled.spec
    first = next(rows for index, rows in taken.items() if index not in left_out)
    with classifier:
        sample = to_tensor([pixels[row][0] for row in first[: config.changed_images]], spec)
        index = next(index for index in chosen if index not in left_out)
        target = torch.full((len(sample),), index, dtype=torch.int64)
        cosine = gradient_coherence(classifier, sample, target)
        coherence = float(cosine.nanmedian())
        guide = _guide(classifier, search, sample, target, coherence, tell)
        routes: dict[int, ClassChanges] = {}
        kept = [index for index in chosen if index not in left_out]
        for done, index in enumerate(kept, start=1):
            routes[index] = _change(classifier, search, guide, index, taken[index], pixels)
            tell(Progress("changes", done, len(kept), 0, 0))
        tested = sum(len(one.route.change.rows) for one in routes.values())
        for index in kept:
            routes[index] = _tried(classifier, search, routes[index], taken[index], pixels, tested)
    eps = default_radius(config.changed_p, spec.channels * spec.height * spec.width)
    return Changes(guide, coherence, routes, left_out, len(search.classes), eps)


def _rows(pool: Pool, index: int, most: int) -> list[int]:
    """Held-out images neither of the class nor read as it, in an order that nothing but the images decides."""
    fits = (pool.features.label != index) & (pool.features.predicted != index)
    rows = fits.nonzero().flatten().tolist()
    unique: dict[str, int] = {}
    for row in rows:
        unique.setdefault(pool.image_ids[row], row)
    return [unique[name] for name in sorted(unique)][:most]


_Pixels = dict[int, tuple[np.ndarray, np.ndarray | None]]


def _load(pool: Pool, rows: Sequence[int], tell: Callable[[Progress], None]) -> _Pixels:
    """Pixels (C, H, W) uint8 and object (H, W) or None, by row of the pool."""
    pixels: _Pixels = {}
    for row, item in pool.load(rows):
        pixels[row] = item.pixels, item.mask
        tell(Progress("images to change", len(pixels), len(rows), 0, 0))
    return pixels


def _guide(
    classifier: Classifier,
    search: Search,
    sample: Tensor,
    target: Tensor,
    coherence: float,
    tell: Callable[[Progress], None],
) -> Guide:
    """The helper that was asked for, or what the classifier's own gradient is worth."""
    config = search.config
    if not config.guide:
        return choose_guide(classifier, coherence=coherence)
    if config.guide != COPY:
        return _led(classifier, config.guide, config.guide_way, sample, target)
    pool = search.search
    order = sorted(range(len(pool)), key=lambda row: pool.image_ids[row])[:_COPY_IMAGES]
    loaded = list(pool.load(order))
    x = to_tensor([item.pixels for _, item in loaded], pool.settled.spec)
    y = pool.features.label[torch.tensor([row for row, _ in loaded])]

    def told(step: FinetuneStep) -> None:
        tell(Progress("robust copy", step.step, step.steps, 0, 0))

    copy = finetune(classifier, x, y, config=FinetuneConfig(epochs=_COPY_EPOCHS), progress=told)
    return choose_guide(classifier, copy=copy)


def _led(classifier: Classifier, name: str, way: Way, sample: Tensor, target: Tensor) -> Guide:
    """A helper by its name; whether it is as robust as a helper must be is measured, and said."""
    helper = named_helper(name, sample, classifier)
    guide = choose_guide(classifier, aux=helper, way=way, angle=_ANGLE)
    cosine, bound = float(gradient_coherence(helper, sample, target).nanmedian()), TrustConfig().coherent
    own = f"its own gradients agree under small noise with a cosine of {cosine:.2f} (bound {bound:g})"
    if not cosine >= bound:
        own += ", so that it is hardly robust and what follows may be noise: name a robust one, or take copy"
    return replace(guide, words=f"{helper_words(name, way, _ANGLE)}; {own}")


def _change(
    classifier: Classifier, search: Search, guide: Guide, index: int, rows: Sequence[int], pixels: _Pixels
) -> ClassChanges:
    config = search.config
    used = rows[: config.changed_images]
    x = to_tensor([pixels[row][0] for row in used], search.held_out.settled.spec)
    masks = [pixels[row][1] for row in used]
    objects = None
    if any(mask is not None for mask in masks):
        blank = torch.zeros(x.shape[2:], dtype=torch.bool)
        objects = torch.stack([blank if mask is None else torch.from_numpy(mask) for mask in masks])
    route = changes_into(
        guide.explained,
        x,
        index,
        objects=objects,
        objective=guide.objective,
        config=RouteConfig(p=config.changed_p, steps=config.changed_steps),
    )
    passes = [int(route.forwards.sum()), int(route.backwards.sum())]
    read_as = round(route.valid.value * len(x))
    if guide.explained is not classifier:
        read_as = int((classifier.predict(route.changed) == index).sum())
        passes[0] += len(x)
    return ClassChanges(index, route, used, x, read_as, (), *passes)


def _tried(
    classifier: Classifier,
    search: Search,
    found: ClassChanges,
    rows: Sequence[int],
    pixels: _Pixels,
    tested: int,
) -> ClassChanges:
    """With the changes of its medoids put on images of other classes that were not changed, where there are any."""
    config = search.config
    fresh = rows[config.changed_images :]
    if not fresh:
        return found
    x = to_tensor([pixels[row][0] for row in fresh], search.held_out.settled.spec)
    before = classifier.forwards
    others = transplant(classifier, x, found.route.change, tested=tested, level=config.level)
    return replace(found, others=others, forwards=found.forwards + classifier.forwards - before)
