"""Auxiliary models named by settings, such as evaluators and surrogates, each loaded once per device."""

from __future__ import annotations

import torch

from whywrong.models.classifier import Classifier

_Shape = tuple[int, int, int]


class KeptModels:
    """Cache of models by name, all on one device.

    All models are removed when the device changes. If there are many models, the oldest are removed first.

    Attributes:
        tried: Pairs of name and input shape (C, H, W) of the classifiers whose gradient was tested.
    """

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._where: tuple[torch.device, str] | None = None
        self._models: dict[str, Classifier] = {}
        self.tried: set[tuple[str, _Shape]] = set()

    def model(self, name: str, beside: Classifier) -> Classifier:
        """Return the model ``name`` on the device of ``beside``, loading it if needed."""
        where = (beside.device, beside.precision)
        if where != self._where:
            self._models.clear()
            self.tried.clear()
            self._where = where
        if name not in self._models:
            loaded = _load(name, *where)
            while len(self._models) >= self._most:
                oldest = next(iter(self._models))
                del self._models[oldest]
                self.tried = {(other, shape) for other, shape in self.tried if other != oldest}
            self._models[name] = loaded
        return self._models[name]


def _load(name: str, device: torch.device, precision: str) -> Classifier:
    from whywrong.models.loading.zoo import load_classifier  # imports timm and torchvision only if needed

    if name.endswith(".onnx"):
        return load_classifier(name)
    classifier = load_classifier(name, device=device, precision=precision)
    # A callable that is not a module chooses its own device, and expects images on the CPU by default.
    return classifier if classifier.module is not None else load_classifier(name)
