"""Settings of network dissection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier
from whywrong.models.layers.spatial import spatial_layer

Concepts = Literal["auto", "planted", "masks", "painted"]
CONCEPTS: tuple[Concepts, ...] = ("auto", "planted", "masks", "painted")


@dataclass(frozen=True, slots=True, kw_only=True)
class DissectionConfig:
    """Settings of network dissection, checked when built.

    Attributes:
        layer: Name of the layer; empty takes the last spatial one.
        concepts: ``planted`` are the exact masks of pictures that ship with the package, ``masks`` the objects of DATA
            by class, from its masks or boxes, ``painted`` colours, textures and faults painted on the images of DATA.
            ``auto`` takes ``planted`` for such pictures, ``masks`` with a file of boxes, otherwise ``painted``.
        quantile: Share of all positions at which a unit counts as active, in (0, 0.5].
        iou: Intersection over union above which a unit detects a concept, in (0, 1).
        images_each: Images on which each concept is painted.
        permutations: Permutations of the null.
        null_images: Images of the null.
        level: Largest p-value of a detector, in (0, 1).
        errors: Errors whose change is split over units; as many correct images are the control.
        min_errors: Errors of one kind, and as many controls, from which its suspects are searched.
        patched: Units patched per error, those of the largest effect.
        shown_units: Units drawn on the page.
        examples: Images shown per unit.
        seed: Seed of paintings, permutations and random units.
    """

    layer: str = ""
    concepts: Concepts = "auto"
    quantile: float = 0.005
    iou: float = 0.04
    images_each: int = 60
    permutations: int = 200
    null_images: int = 256
    level: float = 0.05
    errors: int = 100
    min_errors: int = 5
    patched: int = 4
    shown_units: int = 24
    examples: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        if self.concepts not in CONCEPTS:
            raise InputError(f"concepts must be one of {', '.join(CONCEPTS)}, got {self.concepts!r}")
        if not 0 < self.quantile <= 0.5:
            raise InputError(f"quantile must be in (0, 0.5], got {self.quantile}")
        for name in ("iou", "level"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} must be in (0, 1), got {getattr(self, name)}")
        for name, least in (("images_each", 1), ("permutations", 19), ("null_images", 2), ("min_errors", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("errors", "patched", "shown_units", "examples"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative, got {getattr(self, name)}")

    def check_models(self, classifier: Classifier, shape: tuple[int, int, int]) -> None:
        """Refuse a classifier without the layer, before any image is read.

        Raises:
            AccessError: The classifier grants no access to its layers.
            ModelError: It has no such layer; the message names the nearest.
        """
        spatial_layer(classifier, shape, self.layer or None)
