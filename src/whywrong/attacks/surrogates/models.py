"""Surrogates in three tiers, which a report never merges: own model, bank of models, distilled from answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from whywrong.core.access import Access
from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError
from whywrong.core.input_spec import InputSpec
from whywrong.models.agreement import check_classes_agree
from whywrong.models.classifier import Classifier
from whywrong.models.surrogates.files import SurrogateCard, read_surrogate, write_surrogate
from whywrong.models.surrogates.nets import Ensemble

Tier = Literal["own", "bank", "distilled"]
TIERS: tuple[Tier, ...] = ("own", "bank", "distilled")


@dataclass(frozen=True, slots=True, eq=False)
class Surrogate:
    """Models with gradients that stand in for a black box.

    Attributes:
        tier: ``own``, a model that the user trained on the same labelled data; ``bank``, other models of the same
            classes; ``distilled``, networks trained on answers of the black box.
        models: The models, whose log-probabilities are averaged.
        queries: Images that the black box was asked about to train it; 0 unless ``distilled``.
        module, card: The ensemble and how it was made, if ``distilled``.

    Example:
        >>> import whywrong as ww
        >>> ww.Surrogate.bank([ww.load_classifier("planted:vit")]).queries
        0
    """

    tier: Tier
    models: tuple[Classifier, ...]
    queries: int = 0
    module: Ensemble | None = None
    card: SurrogateCard | None = None

    @classmethod
    def own(cls, model: Classifier) -> Surrogate:
        """Use a model that the user trained on the same labelled data."""
        return cls("own", (model,))

    @classmethod
    def bank(cls, models: Sequence[Classifier]) -> Surrogate:
        """Use other models of the same classes.

        Raises:
            InputError: There are none.
        """
        if not models:
            raise InputError("a bank needs at least one model")
        return cls("bank", tuple(models))

    @classmethod
    def distilled(cls, module: Ensemble, card: SurrogateCard) -> Surrogate:
        """Use networks trained on answers of the black box, see :func:`whywrong.attacks.surrogates.distil.distil`."""
        spec = InputSpec(channels=card.shape[0], height=card.shape[1], width=card.shape[2])
        model = Classifier(module, classes=ClassList(card.classes), preprocess=spec)
        return cls("distilled", (model,), card.queries, module, card)

    @classmethod
    def read(cls, path: str | Path, device: torch.device | str | None = None) -> Surrogate:
        """Read a distilled surrogate that :meth:`write` wrote.

        Raises:
            InputError: The file does not exist.
            ModelError: It is damaged, or not a surrogate.
        """
        module, card = read_surrogate(Path(path))
        return cls.distilled(module if device is None else module.to(device), card)

    def write(self, path: str | Path) -> Path:
        """Write a distilled surrogate to a safetensors file.

        Raises:
            InputError: It was not distilled, or the file has another suffix.
        """
        if self.module is None or self.card is None:
            raise InputError("only a distilled surrogate is written; name the model of another tier instead")
        write_surrogate(Path(path), self.module, self.card)
        return Path(path)

    def check(self, black_box: Classifier, shape: tuple[int, int, int]) -> None:
        """Check that the models fit a black box.

        Args:
            black_box: The black box; classes that it does not know yet are not compared.
            shape: (C, H, W) of the images.

        Raises:
            InputError: A model has other classes, in number, name or order, or another input size.
            AccessError: A model grants no gradients.
        """
        for model in self.models:
            model.require(Access.GRADIENTS, "a surrogate")
            spec = model.preprocess
            if spec is not None and (spec.channels, spec.height, spec.width) != shape:
                raise InputError(
                    f"a surrogate takes images of {spec.channels} x {spec.height} x {spec.width}, the black box those "
                    f"of {' x '.join(map(str, shape))}: it must have the same input size"
                )
            check_classes_agree(black_box, model, "a surrogate")
