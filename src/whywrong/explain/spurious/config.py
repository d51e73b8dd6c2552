"""Settings of the search for spurious features."""

from __future__ import annotations

from dataclasses import dataclass

from whywrong.core.errors import InputError
from whywrong.explain.counterfactuals.guidance import WAYS, Way
from whywrong.explain.counterfactuals.named import check_named
from whywrong.explain.counterfactuals.solvers.maximize import check_exponent
from whywrong.explain.spurious.change_mass import FEWEST
from whywrong.explain.spurious.harmful import HarmfulConfig
from whywrong.explain.spurious.neural_pca import NeuralPCAConfig
from whywrong.explain.spurious.spufix import Start
from whywrong.models.classifier import Classifier
from whywrong.models.layers.last_layer import find_last_layer

COPY = "copy"  # the value of ``guide`` for a fine-tuned copy, not the name of a model


@dataclass(frozen=True, slots=True, kw_only=True)
class SpuriousConfig:
    """Settings of the search for spurious features.

    Attributes:
        classes: Names, wnids or indices of the classes to search; empty searches all.
        components: Components kept per class, those of the largest variance.
        min_images: Smallest number of images of a class that is searched.
        holdout: Share of DATA that judges the components if there are no reference images, in (0, 1).
        start: Level from which a component is removed: ``others`` or, as published, ``class``.
        min_carriers: Held-out images of other classes that must carry a component before it is judged.
        level: Probability of a false confirmation over all components together.
        ends: Share of a class's held-out images at each end of its spuriosity ranking, in (0, 0.5].
        top: Images shown per component.
        shown_classes: Largest number of classes drawn on the page; the table has all.
        shown_components: Components drawn per class, besides those found harmful.
        refit: With labels, also refit the last layer on images that show little of the spurious components.
        refit_share: Share of each repaired class's images used for the refit, those that show least, in (0, 1).
        refit_pull: Strength of the regularisation toward the original head; at small values only the images matter.
        changes: Also change images of other classes into each class (the counterfactual route): for each class and
            image, ``changed_steps`` + 6 forward and backward passes.
        changed_classes: Largest number of classes that images are changed into, in the order of the page.
        changed_images: Images changed into each class, at least 20; as many others test recurring changes.
        changed_steps: Steps per search.
        changed_p: Exponent of the norm that bounds a change, in [1, inf].
        guide: Guidance for a model that is not robust: ``copy`` fine-tunes a robust copy on up to 640 of the images in
            which components are found; any other text names a robust model of the same classes and input size, as for
            ``load_classifier``; empty is none.
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

    def check_models(self, classifier: Classifier, shape: tuple[int, int, int]) -> None:
        """Refuse a classifier or a guide that does not fit, before any image is read.

        Raises:
            AccessError: The classifier grants no access to its layers.
            ModelError: It has no linear last layer.
            InputError: The guide does not fit.
        """
        find_last_layer(classifier, shape)
        if self.guide not in ("", COPY):
            check_named(classifier, self.guide, (), shape)

    @property
    def pca(self) -> NeuralPCAConfig:
        """Settings of the neural PCA."""
        return NeuralPCAConfig(components=self.components, min_images=self.min_images)

    @property
    def harm(self) -> HarmfulConfig:
        """Settings of the test for harm."""
        return HarmfulConfig(min_carriers=self.min_carriers, level=self.level, start=self.start)
