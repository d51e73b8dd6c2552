"""The search for spurious features over the classes of a model: components, evidence, pictures, repair.

Components are found in one set of images and judged on another: ``--reference`` and DATA, or two parts of DATA where
there is no reference. What a page or a table needs is kept in a :class:`Search`; nothing is written here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from whywrong.core.errors import DataError, InputError, ModelError
from whywrong.core.label_match import find_class
from whywrong.data.decoding import DecodeOptions
from whywrong.data.sources.base import Source
from whywrong.explain.counterfactuals.guidance import WAYS, Way
from whywrong.explain.counterfactuals.named import check_named
from whywrong.explain.counterfactuals.solvers.maximize import check_exponent
from whywrong.explain.spurious.change_mass import FEWEST
from whywrong.explain.spurious.features import Features
from whywrong.explain.spurious.harmful import Harm, HarmfulConfig, harmful
from whywrong.explain.spurious.levels import Levels, levels_of
from whywrong.explain.spurious.neural_pca import ClassComponents, NeuralPCAConfig, class_components
from whywrong.explain.spurious.spufix import Start
from whywrong.explain.spurious.spuriosity import Spuriosity, spuriosity
from whywrong.models.classifier import Classifier
from whywrong.models.layers.last_layer import find_last_layer
from whywrong.runs.labelled import LabelledSource, Settled
from whywrong.runs.progress import Progress
from whywrong.runs.spurious.reading import Pool, read_pool, split_by_name

_BESIDE = 20_000  # images of other classes, at most, that say what their level is
COPY = "copy"  # the guide that is a fine-tuned copy, and no model's name
EXACT = 1e-4  # largest residual of the split of a logit, as a share of its absolute terms


@dataclass(frozen=True, slots=True, kw_only=True)
class SpuriousConfig:
    """Settings of the search for spurious features.

    Attributes:
        classes: Names, wnids or indices of the classes to search; none are all.
        components: Components kept of each class, those of the largest variance.
        min_images: Fewest images of a class from which components are taken.
        holdout: Share of DATA that judges the components where there are no reference images, in (0, 1).
        start: From where a component counts when it is taken away: ``others`` or, as published, ``class``.
        min_carriers: Fewest held-out images of other classes that must carry a component before it is judged.
        level: Chance of a false confirmation over all components together.
        ends: Share of a class's held-out images in each end of its spuriosity ranking, in (0, 0.5].
        top: Images shown of each component.
        shown_classes: Most classes drawn on the page; the table has all.
        shown_components: Components drawn of each class, beside those found harmful.
        refit: With labels, also fit the last layer again on images that show little of the spurious components.
        refit_share: Share of each repaired class's images that it is fitted on, those that show least, in (0, 1).
        refit_pull: How strongly the head is held where it is; at small values the images alone decide.
        changes: Also change images of other classes into each class (the counterfactual route): for each class and
            image, ``changed_steps`` + 6 forward and backward passes.
        changed_classes: Most classes that images are changed into, those first that the page shows first.
        changed_images: Images changed into each class, at least 20; as many others test what came again.
        changed_steps: Steps of a search.
        changed_p: Exponent of the norm that bounds a change, in [1, inf].
        guide: Help for a model that is not robust: ``copy`` fine-tunes a robust copy on up to 640 of the images in
            which components are found; any other text names a robust model of the same classes and input size, as
            ``load_classifier`` takes it; empty is none.
        guide_way: How a named model guides: ``cone`` or ``ensemble``.
    """

    classes: tuple[str, ...] = ()
    components: int = 10
    min_images: int = 20
    holdout: float = 0.5
    start: Start = "others"
    min_carriers: int = 10
    level: float = 0.05
    ends: float = 0.25
    top: int = 8
    shown_classes: int = 24
    shown_components: int = 5
    refit: bool = False
    refit_share: float = 0.5
    refit_pull: float = 1e-3
    changes: bool = False
    changed_classes: int = 12
    changed_images: int = 24
    changed_steps: int = 20
    changed_p: float = 1.5
    guide: str = ""
    guide_way: Way = "cone"

    def __post_init__(self) -> None:
        _ = self.pca, self.harm  # both check themselves
        check_exponent(self.changed_p)
        if self.changed_images < FEWEST:
            raise InputError(f"changed_images must be at least {FEWEST}, got {self.changed_images}")
        if self.guide_way not in WAYS:
            raise InputError(f"guide_way must be one of {', '.join(WAYS)}, got {self.guide_way!r}")
        if self.guide and not self.changes:
            raise InputError(f'guide "{self.guide}" helps to change images: ask for changes, too')
        if not 0 < self.holdout < 1:
            raise InputError(f"holdout must be in (0, 1), got {self.holdout}")
        if self.start not in ("others", "class"):
            raise InputError(f'start must be "others" or "class", got {self.start!r}')
        if not 0 < self.refit_share < 1:
            raise InputError(f"refit_share must be in (0, 1), got {self.refit_share}")
        if not 0 < self.refit_pull < float("inf"):
            raise InputError(f"refit_pull must be positive and finite, got {self.refit_pull}")
        if not 0 < self.ends <= 0.5:
            raise InputError(f"ends must be in (0, 0.5], got {self.ends}")
        for name in ("top", "shown_classes", "shown_components", "changed_classes", "changed_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def pca(self) -> NeuralPCAConfig:
        """Settings of the neural PCA."""
        return NeuralPCAConfig(components=self.components, min_images=self.min_images)

    @property
    def harm(self) -> HarmfulConfig:
        """Settings of the test for harm."""
        return HarmfulConfig(min_carriers=self.min_carriers, level=self.level, start=self.start)


@dataclass(frozen=True, slots=True, eq=False)
class ClassSearch:
    """What was found in one class.

    Attributes:
        components: Its neural PCA.
        levels: From the images in which it was found.
        harm: Of each component, on held-out images.
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
        """Numbers of the components whose harm is confirmed, from 0."""
        return [number for number, harm in enumerate(self.harm) if harm.verdict == "harmful"]


@dataclass(slots=True)
class Search:
    """A finished search.

    Attributes:
        config: Its settings.
        settled: What the classifier and DATA agree on.
        search: Images in which components were found.
        held_out: Images that judged them.
        referenced: Whether the former are reference images, and not a part of DATA.
        shared: Images of DATA that are among the reference images too, and therefore judged nothing.
        classes: Class index to what was found in it.
        left_out: Class index to the reason why nothing was.
        basis: 12 hexadecimal digits that say which search the numbers of the components belong to.
        failed: Key and reason of the items that could not be used.
    """

    config: SpuriousConfig
    settled: Settled
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
        """Components searched, over all classes."""
        return sum(len(found.components) for found in self.classes.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes of the model."""
        return self.settled.classes.names

    @property
    def counts(self) -> Mapping[int, int]:
        """Class index to the number of its components."""
        return {index: len(found.components) for index, found in self.classes.items()}


def search_spurious(
    classifier: Classifier,
    source: Source,
    reference: Source | None = None,
    *,
    config: SpuriousConfig | None = None,
    decode_options: DecodeOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Search:
    """Find the components of every class and judge them on held-out images.

    Args:
        classifier: Must grant access to its layers and end in a linear layer.
        source: Labelled images, DATA.
        reference: Labelled images that the classifier was trained on, or like those; None takes a part of DATA.
        config: Settings; None takes the defaults.
        decode_options: How files are decoded.
        progress: Told how far the search is, after every batch and class.

    Raises:
        InputError: A class that the model does not have, or one asked for that has too few images.
        AccessError: The classifier does not let us see its layers.
        ModelError: It has no linear last layer.
        DataError: No image can be used, or every class has too few.
    """
    config = config or SpuriousConfig()
    tell = progress or (lambda _: None)
    with classifier:
        images = LabelledSource(source, decode_options)
        settled = images.settle(classifier)
        spec = settled.spec
        find_last_layer(classifier, (spec.channels, spec.height, spec.width))  # refuses before anything is read
        if config.guide not in ("", COPY):
            check_named(classifier, config.guide, (), (spec.channels, spec.height, spec.width))
        asked = [find_class(text, settled.classes) for text in config.classes]
        if reference is None:
            pool = read_pool(classifier, images, settled, _teller(tell, "read"))
            first, second = split_by_name(pool, config.holdout)
            search, held_out, shared, failed = pool.take(first), pool.take(second), 0, pool.failed
        else:
            beside = LabelledSource(reference, decode_options)
            search = read_pool(classifier, beside, beside.settle(classifier), _teller(tell, "reference"))
            held_out = read_pool(classifier, images, settled, _teller(tell, "read"))
            failed = [*search.failed, *held_out.failed]
            held_out, shared = _without(held_out, set(search.image_ids))
        classes, left_out = _components(classifier, search, asked, config, tell)
        _require_some(classes, left_out, asked, settled.classes.names)
    found = Search(config, settled, search, held_out, reference is not None, shared, {}, left_out, "", failed)
    searched = sum(len(components) for components, _ in classes.values())
    for index, (components, levels) in classes.items():
        found.classes[index] = _judge(components, levels, held_out.features, searched, config)
    found.basis = _basis(classifier, search, config)
    return found


def _teller(tell: Callable[[Progress], None], stage: str) -> Callable[[int, int, int], None]:
    return lambda done, total, failed: tell(Progress(stage, done, total, 0, failed))


def _without(pool: Pool, image_ids: set[str]) -> tuple[Pool, int]:
    fresh = [row for row, image_id in enumerate(pool.image_ids) if image_id not in image_ids]
    if not fresh:
        raise DataError(
            "every image of DATA is among the reference images, and none is left to judge by; give other images, or no "
            "reference: a part of DATA is then held out"
        )
    return pool.take(torch.tensor(fresh)), len(pool) - len(fresh)


def _components(
    classifier: Classifier,
    pool: Pool,
    asked: Sequence[int],
    config: SpuriousConfig,
    tell: Callable[[Progress], None],
) -> tuple[dict[int, tuple[ClassComponents, Levels]], dict[int, str]]:
    spec = pool.settled.spec
    last = find_last_layer(classifier, (spec.channels, spec.height, spec.width))
    weight, bias = last.weight.cpu(), last.bias.cpu()
    features = pool.features
    beside = features[slice(None, None, -(-len(features) // _BESIDE))]  # spread over the listing
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
        tell(Progress("components", done, len(wanted), 0, 0))
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
    """Settings that draw nothing and judge nothing are left out: the numbers of the components stay the same."""
    spec = {name: str(value) for name, value in pool.images.source.spec.to_dict().items() if name != "path"}
    counts = torch.bincount(pool.features.label, minlength=1).tolist()
    ids = hashlib.sha256("".join(pool.image_ids).encode()).hexdigest()
    text = json.dumps([classifier.identity, spec, counts, ids, asdict(config.pca)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
