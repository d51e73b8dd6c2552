"""Settings of relevance maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from whywrong.core.errors import InputError
from whywrong.explain.relevance.rules import Rules

RULES = ("auto", "epsilon", "gamma", "z_plus", "alpha_beta")
FIRST = ("auto", "same", "z_box", "flat", "w_square")
CONTRASTS = ("pair", "clrp1", "clrp2")
STARTS = ("abs_logit", "logit_relu", "softmax", "logit_minus_mean")
UNIT = ("z_plus", "alpha_beta")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelevanceConfig:
    """Settings of :func:`relevance`, checked once, when built.

    Attributes:
        rule: ``epsilon``, ``gamma``, ``z_plus`` or ``alpha_beta``. ``auto`` takes ``epsilon`` for models with attention
            or layer normalisation, ``z_plus`` for ``clrp1`` and ``clrp2``, and ``gamma`` otherwise.
        first: Rule of the first layer: ``same`` as ``rule``, ``z_box``, ``flat`` or ``w_square``. ``auto`` takes
            ``same`` for ``epsilon`` and ``z_box`` otherwise.
        attention: ``attn`` shares relevance between the weights and the values of attention (AttnLRP), ``cp`` takes the
            weights as constants (CP-LRP).
        contrast: ``pair`` compares the wrong class with the true one; ``clrp1`` compares each class with all others,
            ``clrp2`` with its own negated weights.
        start: Relevance of the other classes in ``clrp1``: ``abs_logit``, ``logit_relu``, ``softmax`` or
            ``logit_minus_mean``.
        epsilon: Stabiliser of the epsilon rule, in the unit of a layer's outputs; 0 or more.
        gamma: Weight of the positive contributions in the gamma rule; more than 0.
        alpha: Weight of the positive contributions in the alpha-beta rule; at least 1, beta is alpha - 1.
        cells: Most cells per side of the stored maps, each the sum of its pixels; 0 keeps every pixel.
        tolerance: Largest share of the larger logit (of the unit start, for ``z_plus`` and ``alpha_beta``) that a map
            may miss.

    Example:
        >>> import whywrong as ww
        >>> ww.RelevanceConfig(rule="z_plus").contrast
        'pair'
    """

    rule: Literal["auto", "epsilon", "gamma", "z_plus", "alpha_beta"] = "auto"
    first: Literal["auto", "same", "z_box", "flat", "w_square"] = "auto"
    attention: Literal["attn", "cp"] = "attn"
    contrast: Literal["pair", "clrp1", "clrp2"] = "pair"
    start: Literal["abs_logit", "logit_relu", "softmax", "logit_minus_mean"] = "abs_logit"
    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    cells: int = 56
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        for name, known in (
            ("rule", RULES),
            ("first", FIRST),
            ("attention", ("attn", "cp")),
            ("contrast", CONTRASTS),
            ("start", STARTS),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"relevance.{name} must be {', '.join(known)}, got {getattr(self, name)!r}")
        if self.contrast != "pair" and self.rule not in ("auto", *UNIT):
            raise InputError(
                f"relevance.contrast={self.contrast} needs a rule that splits contributions by their sign, "
                f"z_plus or alpha_beta, got {self.rule}"
            )
        if not 0 <= self.epsilon < float("inf"):
            raise InputError(f"relevance.epsilon must be 0 or more, got {self.epsilon}")
        if not 0 < self.gamma < float("inf"):
            raise InputError(f"relevance.gamma must be more than 0, got {self.gamma}")
        if not 1 <= self.alpha < float("inf"):
            raise InputError(f"relevance.alpha must be at least 1, got {self.alpha}")
        if isinstance(self.cells, bool) or not isinstance(self.cells, int) or self.cells < 0:
            raise InputError(f"relevance.cells must be a whole number, 0 or more, got {self.cells!r}")
        if not 0 < self.tolerance <= 1:
            raise InputError(f"relevance.tolerance must be in (0, 1], a share, got {self.tolerance}")

    def rules(self, *, transformer: bool) -> Rules:
        """Resolve ``auto`` for a model with or without attention or layer normalisation."""
        rule = self.rule
        if rule == "auto":
            rule = "z_plus" if self.contrast != "pair" else "epsilon" if transformer else "gamma"
        first = self.first
        if first == "auto":
            first = "same" if rule == "epsilon" else "z_box"
        return Rules(
            name=rule,
            first=first,
            attention=self.attention,
            epsilon=self.epsilon,
            gamma=self.gamma,
            alpha=self.alpha,
        )
