"""State of one call of the method, with its arguments and the classifier's predictions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.explain.counterfactuals.config import CounterfactualConfig
from whywrong.explain.counterfactuals.objectives import ClassObjective, Objective
from whywrong.models.classifier import Classifier
from whywrong.models.method_call import MethodCall


class CounterfactualRun(MethodCall):
    """A :class:`MethodCall` with targets, a region and an objective.

    Args:
        classifier, x, y: As for every method.
        config: Settings of the method.
        targets: Classes to reach, (B,) or (B, T), int64; -1 marks an unused entry; None uses the default targets.
        region: (B, H, W), bool, where the image may change; None is everywhere.
        given: Arguments of :class:`MethodCall`: ``keys``, ``detail``, ``masks``.

    Attributes:
        targets: (B, T), int64, or None.
        objective: Objective of the searches; ``joint`` if the config selects it, which needs the class to leave.
        boundary: Objective of the search for the smallest counterfactual: the margin, which is 0 at the decision
            boundary, while the probability also depends on other classes.
        start: (B, K), logits of the unchanged images; NaN if missing.
        predicted: (B,), int64, predicted class; -1 if missing.
    """

    objective: Objective
    boundary: Objective

    def __init__(
        self,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        *,
        config: CounterfactualConfig,
        targets: Tensor | None,
        region: Tensor | None,
        **given: Any,
    ) -> None:
        super().__init__(
            classifier, x, y, method="a counterfactual", access=Access.GRADIENTS, seed=config.seed, skips=True, **given
        )
        self.config, self.joint = config, False
        self.targets = None if targets is None else self._checked(targets)
        self.region = None if region is None else self.flags("region", region, (len(x), *x.shape[2:]))
        self.x = self.x.clone()
        self.x[self.rows] = self.x[self.rows].clamp(0, 1)
        self.start = self.x.new_zeros((len(x), classifier.num_classes if classifier.classes else 0))
        self.predicted = torch.full_like(self.y, -1)

    def begin(self, objective: Objective | None) -> Tensor:
        """Choose the objective, and classify the unchanged images.

        The default objective is that of the config.

        Returns:
            (n,), int64, rows to search for.
        """
        config, joint = self.config, self.config.objective == "joint"
        kind = "log_probability" if joint else config.objective
        self.objective = objective or ClassObjective(self.classifier, kind, config.temperature)
        self.boundary = objective or ClassObjective(self.classifier, "margin", config.temperature)
        self.joint = objective is None and joint
        rows, logits = self.clean_pass()
        if len(self.x) and logits.shape[1]:
            self.start = self.x.new_full((len(self.x), logits.shape[1]), torch.nan)
        self.start[rows] = logits
        self.predicted[rows] = logits.argmax(1) if len(rows) else rows
        return rows

    def _checked(self, targets: Tensor) -> Tensor:
        columns = targets[:, None] if targets.ndim == 1 else targets
        if columns.dtype != torch.int64 or columns.ndim != 2 or len(columns) != len(self.x):
            batch, got = len(self.x), f"{targets.dtype} {tuple(targets.shape)}"
            raise InputError(f"targets must be int64 ({batch},) or ({batch}, T), got {got}")
        for column in columns.unbind(1):
            self.add_classes("target", column.clamp_min(0).where(column >= -1, column))
        return columns
