"""The counterfactual route over several classes, which changes images of other classes into each.

Components show how the images of a class differ; this shows what the model would add to an image to predict the class.
It costs one search per image and class, so it is optional (``changes``) and reports how many classes it was made for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.statistics import Interval
from whywrong.data.batches import to_tensor
from whywrong.data.items import LoadedItem
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext, AnalysisWorker, Kept
from whywrong.explain.counterfactuals.config import default_radius
from whywrong.explain.counterfactuals.finetune import FinetuneConfig, Finetuned, finetune
from whywrong.explain.counterfactuals.ladder import Guide, choose_guide, gradient_coherence
from whywrong.explain.counterfactuals.named import helper_words, named_helper
from whywrong.explain.counterfactuals.trust import TrustConfig
from whywrong.explain.spurious.change_mass import FEWEST, ClassChange
from whywrong.explain.spurious.config import COPY, SpuriousConfig
from whywrong.explain.spurious.examples import shown_classes
from whywrong.explain.spurious.route import Route, RouteConfig, changes_into
from whywrong.explain.spurious.search import Pool, Search
from whywrong.explain.spurious.transplant import Transplant, transplant
from whywrong.models.classifier import Classifier
from whywrong.models.copies import copy_of

_COPY_IMAGES = 640  # largest number of reference images for training a robust copy
_COPY_EPOCHS = 2
_ANGLE = 60.0  # degrees, of the cone
_CHANGED = ("changed_images", "changed_steps", "changed_p", "guide", "guide_way")  # settings of a change


@dataclass(frozen=True, slots=True, eq=False)
class ClassChanges:
    """The counterfactual route into one class.

    Attributes:
        index: The class.
        route: Its counterfactuals and their common features.
        rows: Rows of the held-out images that were changed.
        x: (N, C, H, W), float32, these images.
        read_as: Number of counterfactuals that the searched classifier predicts as the class; if a copy of it is
            explained, this shows how well the copy represents it.
        others: Effect of each medoid's change on held-out images that it was not made for.
        forwards, backwards: Passes of all classifiers except the auxiliary one.
    """

    index: int
    route: Route
    rows: list[int]
    x: Tensor
    read_as: int
    others: list[Transplant]
    forwards: int
    backwards: int


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """The counterfactual route over the selected classes.

    Attributes:
        guide: The chosen rung of the ladder.
        coherence: Median cosine of the classifier's own gradients under small noise, at unchanged images.
        classes: Results by class index.
        left_out: Reasons for missing results by class index.
        wanted: Number of classes with components, from which the classes were chosen.
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
        """Whether the changes show what the model looks for; otherwise they are noise."""
        return self.guide.drawable


@dataclass(frozen=True, slots=True, eq=False)
class TrainingImages:
    """Images for training a robust copy.

    Attributes:
        images: Name of their set.
        entries: The images.
        label: (N,), int64, class of each.
    """

    images: str
    entries: list[Entry]
    label: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RobustCopy:
    """A robust copy as stored, with its weights and measurements.

    Attributes:
        state: Weights by name.
        measured: Agreement, accuracy before and after, and robust accuracy before and after.
        held_out: Number of images held out of training.
        losses: Mean loss of each epoch, nats.
        passes: Forward and backward, of the copy and of the original.
        note: The agreement in words.
    """

    state: dict[str, Tensor]
    measured: list[Interval]
    held_out: int
    losses: list[float]
    passes: tuple[int, int]
    note: str


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Images whose gradients are examined, and the class they are changed into."""

    index: int
    entries: list[Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Help:
    """Information for the choice of guidance.

    Attributes:
        coherence: Median cosine of the classifier's own gradients under small noise.
        helper: The same for the named auxiliary classifier; NaN without one.
        copy: The robust copy; None without one.
    """

    coherence: float
    helper: float
    copy: Kept | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ClassToEnter:
    """A class, and the images to change into it."""

    index: int
    help: Help
    rows: list[int]
    entries: list[Entry]


@dataclass(frozen=True, slots=True, eq=False)
class CropsToTry:
    """Recurring crops of the changes into a class, and images that took no part.

    Attributes:
        change: Summary of the changes, with the crops.
        entries: The images.
        tested: Crops tested in all, over all classes.
    """

    change: ClassChange
    entries: list[Entry]
    tested: int


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """Effect of a class's crops on other images, and its forward passes."""

    others: list[Transplant] = field(default_factory=list)
    forwards: int = 0


def change_classes(context: AnalysisContext, search: Search) -> Changes:
    """Change held-out images of other classes into each class.

    Recurring changes are then tested on further images.

    Args:
        context: Its classifier grants gradients.
        search: The finished search; its config sets the number of classes and images.

    Raises:
        InputError: The auxiliary classifier does not fit, or no class has enough images.
        AccessError, NotDifferentiableError: No gradient reaches the pixels.
        DataError: An image cannot be read again.
    """
    config, pool = search.config, search.held_out
    chosen = shown_classes(search)[: config.changed_classes]
    taken = {index: _rows(pool, index, 2 * config.changed_images) for index in chosen}
    short = {index: len(rows) for index, rows in taken.items() if len(rows) < config.changed_images}
    left_out = {index: f"{n} images of other classes, fewer than {config.changed_images}" for index, n in short.items()}
    if len(left_out) == len(chosen):
        lower = f", or lower --set changed_images (at least {FEWEST})" if max(short.values()) >= FEWEST else ""
        raise InputError(f"changes: {next(iter(left_out.values()))}; give more images{lower}")
    kept = [index for index in chosen if index not in left_out]
    used = {index: taken[index][: config.changed_images] for index in kept}
    entries = {index: [pool.entries[row] for row in taken[index]] for index in kept}
    told = _find_help(context, search, Sample(kept[0], entries[kept[0]][: config.changed_images]))
    units = [ClassToEnter(index, told, used[index], entries[index][: config.changed_images]) for index in kept]
    found = {one.index: one for one in context.over("changes", change_class, units, settings=_CHANGED)}
    tested = sum(len(one.route.change.rows) for one in found.values())
    trials = [CropsToTry(found[index].route.change, entries[index][config.changed_images :], tested) for index in kept]
    for index, tried in zip(kept, context.over("crops", try_crops, trials, settings=("level",)), strict=True):
        one = found[index]
        found[index] = replace(one, others=tried.others, forwards=one.forwards + tried.forwards)
    spec = pool.images.spec
    eps = default_radius(config.changed_p, spec.channels * spec.height * spec.width)
    copy = None if told.copy is None else context.read(told.copy)
    guide = _guide(context.classifier, told, copy, config, (spec.channels, spec.height, spec.width))
    return Changes(guide, told.coherence, found, left_out, len(search.classes), eps)


def _rows(pool: Pool, index: int, most: int) -> list[int]:
    """Select held-out images neither of the class nor predicted as it.

    Their order depends on the images only.
    """
    fits = (pool.features.label != index) & (pool.features.predicted != index)
    rows = fits.nonzero().flatten().tolist()
    unique: dict[str, int] = {}
    for row in rows:
        unique.setdefault(pool.image_ids[row], row)
    return [unique[name] for name in sorted(unique)][:most]


def _find_help(context: AnalysisContext, search: Search, sample: Sample) -> Help:
    """Measure the coherence of classifier and helper, and train a copy if configured."""
    (told,) = context.over("gradients", look_at_gradients, [sample], settings=("guide",))
    if search.config.guide != COPY:
        return told
    pool = search.search
    order = sorted(sorted(range(len(pool)), key=lambda row: pool.image_ids[row])[:_COPY_IMAGES])
    label = pool.features.label[torch.tensor(order)]
    images = TrainingImages("reference" if search.referenced else "data", [pool.entries[row] for row in order], label)
    return replace(told, copy=context.once("robust copy", train_copy, images, settings=()))


def look_at_gradients(worker: AnalysisWorker, unit: Sample) -> Help:
    """Measure how well gradients keep their direction under small noise."""
    x = _pixels(worker, list(worker.load(unit.entries)))
    target = torch.full((len(x),), unit.index, dtype=torch.int64)
    coherence = float(gradient_coherence(worker.classifier, x, target).nanmedian())
    if worker.config.guide in ("", COPY):
        return Help(coherence=coherence, helper=math.nan)
    helper = named_helper(worker.config.guide, x, worker.classifier)
    worker.watch(helper)
    return Help(coherence=coherence, helper=float(gradient_coherence(helper, x, target).nanmedian()))


def train_copy(worker: AnalysisWorker, unit: TrainingImages) -> RobustCopy:
    """Fine-tune a robust copy of the classifier."""
    items = list(worker.load(unit.entries, unit.images))
    x = to_tensor([item.pixels for item in items], worker.images[unit.images].spec)
    made = finetune(
        worker.classifier,
        x,
        unit.label,
        config=FinetuneConfig(epochs=_COPY_EPOCHS),
        progress=lambda step: worker.passed(1),
    )
    assert made.classifier.module is not None
    return RobustCopy(
        state={name: value.detach() for name, value in made.classifier.module.state_dict().items()},
        measured=[
            made.agreement,
            made.accuracy,
            made.accuracy_before,
            made.robust_accuracy,
            made.robust_accuracy_before,
        ],
        held_out=made.held_out,
        losses=list(made.losses),
        passes=(made.forwards, made.backwards),
        note=made.note,
    )


def change_class(worker: AnalysisWorker, unit: ClassToEnter) -> ClassChanges:
    """Change images of other classes into one class."""
    config, items = worker.config, list(worker.load(unit.entries))
    x = _pixels(worker, items)
    if "guide" not in worker.cache:
        copy = None if unit.help.copy is None else worker.read(unit.help.copy)
        worker.cache["guide"] = _guide(worker.classifier, unit.help, copy, config, (x.shape[1], x.shape[2], x.shape[3]))
    guide: Guide = worker.cache["guide"]
    worker.watch(guide.explained)
    objects = None
    if any(item.mask is not None for item in items):
        blank = torch.zeros(x.shape[2:], dtype=torch.bool)
        objects = torch.stack([blank if item.mask is None else torch.from_numpy(item.mask) for item in items])
    route = changes_into(
        guide.explained,
        x,
        unit.index,
        objects=objects,
        objective=guide.objective,
        config=RouteConfig(p=config.changed_p, steps=config.changed_steps),
    )
    passes = [int(route.forwards.sum()), int(route.backwards.sum())]
    read_as = round(route.valid.value * len(x))
    if guide.explained is not worker.classifier:
        read_as = int((worker.classifier.predict(route.changed) == unit.index).sum())
        passes[0] += len(x)
    return ClassChanges(unit.index, route, unit.rows, x, read_as, [], *passes)


def try_crops(worker: AnalysisWorker, unit: CropsToTry) -> Tried:
    """Apply the changes of the medoids to unchanged images of other classes, if any."""
    if not unit.entries:
        return Tried()
    x = _pixels(worker, list(worker.load(unit.entries)))
    before = worker.classifier.forwards
    others = transplant(worker.classifier, x, unit.change, tested=unit.tested, level=worker.config.level)
    return Tried(others, worker.classifier.forwards - before)


def _pixels(worker: AnalysisWorker, items: Sequence[LoadedItem]) -> Tensor:
    return to_tensor([item.pixels for item in items], worker.images["data"].spec)


def _guide(
    classifier: Classifier, told: Help, copy: RobustCopy | None, config: SpuriousConfig, shape: tuple[int, int, int]
) -> Guide:
    """Choose the guidance.

    It is the configured one, or the rung that the classifier's own gradient allows.
    """
    if not config.guide:
        return choose_guide(classifier, coherence=told.coherence)
    if copy is not None:
        return choose_guide(classifier, copy=_rebuilt(classifier, copy))
    helper = named_helper(config.guide, torch.zeros(1, *shape), classifier)
    guide = choose_guide(classifier, aux=helper, way=config.guide_way, angle=_ANGLE)
    bound = TrustConfig().coherent
    own = f"its own gradients agree under small noise with a cosine of {told.helper:.2f} (bound {bound:g})"
    if not told.helper >= bound:
        own += ", so that it is hardly robust and what follows may be noise: name a robust one, or take copy"
    return replace(guide, words=f"{helper_words(config.guide, config.guide_way, _ANGLE)}; {own}")


def _rebuilt(classifier: Classifier, copy: RobustCopy) -> Finetuned:
    robust = copy_of(classifier)
    assert robust.module is not None
    robust.module.load_state_dict(copy.state)
    agreement, accuracy, before, robust_accuracy, robust_before = copy.measured
    return Finetuned(
        classifier=robust,
        agreement=agreement,
        accuracy=accuracy,
        accuracy_before=before,
        robust_accuracy=robust_accuracy,
        robust_accuracy_before=robust_before,
        held_out=copy.held_out,
        losses=tuple(copy.losses),
        forwards=copy.passes[0],
        backwards=copy.passes[1],
        note=copy.note,
    )
