"""Claim 2 of the inverted attack: with a surrogate, a black box can be fixed too, less often than a white one.

Source: Haffar, Jebreel, Domingo-Ferrer and Sánchez 2021, DOI 10.1007/978-3-030-85529-1_26 (only its abstract could be
read, so the bounds are the two figures stated there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whywrong.attacks.black_box import BlackBoxConfig, black_box
from whywrong.attacks.inverted import InvertedConfig, invert
from whywrong.attacks.surrogates.distil import distil
from whywrong.attacks.surrogates.models import Surrogate
from whywrong.attacks.surrogates.named import named_surrogate
from whywrong.attacks.surrogates.train import FEWEST, DistilConfig
from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.randomness import item_keys
from whywrong.core.statistics import exact_share, mean, mean_p, share_p
from whywrong.models.classifier import Classifier
from whywrong.reproduce.error_batches import error_batches
from whywrong.reproduce.inverted.paired import paired, percent
from whywrong.reproduce.inverted.pools import correct_images
from whywrong.reproduce.protocol import (
    ClaimResult,
    LabelledImages,
    Part,
    both,
    bounds_in_words,
    claim_result,
    verdicts_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlackBoxClaimConfig:
    """Settings of the claim ``inverted.2``.

    Attributes:
        limit: Largest number of errors, the first in the order of the data; None uses all of them.
        own: Model that you trained on the same data, which is then the surrogate.
        bank: Other models, which are then the surrogate.
        distilled: File of a distilled surrogate. If no tier is named, one is distilled from ``training`` answers.
        training: Correctly classified images that the black box is asked about to distil a surrogate.
        epochs: Most passes over them.
        queries: Most changed images that are asked about each error, all along directions of the surrogate.
        recrafts: How often a direction is computed again.
        success: Share of errors that must be fixed; the paper states 0.7308.
        most: Mean queries, over all errors, that it must stay below; the paper states 8.73.
        labels_only: Read labels only.
        seed: Seed of the surrogate and of the keys of the images.
    """

    limit: int | None = None
    own: str = ""
    bank: tuple[str, ...] = ()
    distilled: str = ""
    training: int = 2000
    epochs: int = 40
    queries: int = 20
    recrafts: int = 6
    success: float = 0.7308
    most: float = 8.73
    labels_only: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit must be at least 1, got {self.limit}")
        if self.training < FEWEST:
            raise InputError(f"training must be at least {FEWEST} images, got {self.training}")
        if not 0 < self.success < 1:
            raise InputError(f"success must be a share in (0, 1), got {self.success}")
        if self.queries < 1 or self.most < 1:
            raise InputError(f"queries and most must be at least 1, got {self.queries} and {self.most}")
        self.search()  # checks the rest
        DistilConfig(epochs=self.epochs)

    def search(self) -> BlackBoxConfig:
        """Build the settings of the search, along directions of the surrogate only."""
        return BlackBoxConfig(
            own=self.own,
            bank=self.bank,
            distilled=self.distilled,
            queries=self.queries,
            recrafts=self.recrafts,
            labels_only=self.labels_only,
            tail="none",
            seed=self.seed,
        )


def surrogate_suffices(models: Sequence[Classifier], data: LabelledImages, config: BlackBoxClaimConfig) -> ClaimResult:
    """Test claim 2, that a surrogate fixes many errors of a black box.

    It does so with few queries, and less often than gradients do.

    Every error counts; one without a fix counts with all queries it used. Both sides are asked about whole grey levels.
    """
    classifier = models[0]
    surrogate = named_surrogate(config.own, config.bank, config.distilled, classifier)
    fixed, white, queries = np.empty(0, bool), np.empty(0, bool), np.empty(0)
    with classifier:
        if surrogate is None:
            surrogate = _distil(classifier, data, config)
        for x, y, ids in error_batches(classifier, data, limit=config.limit):
            keys = item_keys(config.seed, ids, "black_box")
            result = black_box(classifier, x, y, surrogate=surrogate, keys=keys, config=config.search())
            fixed = np.append(fixed, result.fixed.cpu().numpy())
            queries = np.append(queries, result.queries.cpu().numpy())
            if classifier.access >= Access.GRADIENTS:
                white = np.append(white, _white_box(classifier, x, y, keys))
    n, hits, allowed = len(fixed), int(fixed.sum()), (0.0, float(config.queries))
    success, cost = exact_share(hits, n), mean(queries, bounds=allowed, seed=config.seed)
    parts = [
        Part(success, share_p(hits, n, config.success) if n else 1.0, config.success),
        Part(cost, mean_p(queries, config.most, bounds=allowed, seed=config.seed) if n else 1.0, config.most, False),
    ]
    if len(white):
        parts.append(paired(white, fixed))
    return claim_result(
        success,
        effect_name="share of errors fixed behind the black box",
        n=n,
        verdict=both(*verdicts_of(parts)),
        sentence=_sentence(n, hits, cost.value, bounds_in_words(cost.low, cost.high, "{:.3g}"), white, surrogate),
        numbers={
            "tier": surrogate.tier,
            "fixed": hits,
            "mean_queries_all": cost.value,
            "mean_queries_fixed": float(queries[fixed].mean()) if hits else None,
            "training_queries": surrogate.queries,
            "training_queries_per_error": surrogate.queries / n if n else None,
            "agreement": None if surrogate.card is None else surrogate.card.agreement,
            "white_box_fixed": int(white.sum()) if len(white) else None,
        },
        samples={"queries": queries.tolist()},
    )


def _distil(classifier: Classifier, data: LabelledImages, config: BlackBoxClaimConfig) -> Surrogate:
    images, _ = correct_images(classifier, data, config.training, config.seed)
    if len(images) < FEWEST:
        raise InputError(
            f"a surrogate is trained on at least {FEWEST} correctly classified images, the data hold {len(images)}; "
            "give more images, or name a model with own, bank or distilled"
        )
    settings = DistilConfig(epochs=config.epochs, labels_only=config.labels_only, seed=config.seed)
    return distil(classifier, images.to(classifier.device), config=settings)


def _white_box(classifier: Classifier, x: Tensor, y: Tensor, keys: Tensor) -> np.ndarray:
    """Whether each error is fixed in whole grey levels with gradients, (n,) bool."""
    plain = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    settings = InvertedConfig(polish=0, polish_other=0, tighten=0)
    return invert(classifier, x, y, keys=keys, detail=plain, config=settings).u8_fixed.cpu().numpy()


def _sentence(n: int, hits: int, cost: float, bounds: str, white: np.ndarray, surrogate: Surrogate) -> str:
    if n == 0:
        return "no errors: nothing to measure."
    text = (
        f"{hits:,} of {n:,} errors fixed ({percent(hits / n)}) with {cost:.3g} queries on average ({bounds}); "
        f"surrogate: {surrogate.tier}"
    )
    if surrogate.queries:
        text += f", {surrogate.queries:,} training queries"
    if not len(white):
        return f"{text}; gradients are not granted, so that the white box was not compared."
    return f"{text}; with gradients {int(white.sum()):,} are fixed."
