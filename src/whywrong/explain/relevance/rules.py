"""Rules of layer-wise relevance propagation for one linear map z = W a + b.

Sources: Bach et al. 2015 (epsilon, alpha-beta), Montavon et al. 2017 (z+, zB, w^2) and 2019 (gamma), Lapuschkin et al.
2019 (flat). The form of gamma for outputs of either sign is that of common implementations: an output below zero is
shared with the negative contributions raised.

The relevance R of an output is split over the positive and the negative contributions of the inputs. A rule therefore
is a list of terms ``(positive, negative, s)``: the relevance of input j is the sum over the outputs k of
``s_k (positive c+_jk + negative c-_jk)``, with the contributions ``c_jk = a_j w_jk``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Name = Literal["epsilon", "gamma", "z_plus", "alpha_beta"]
First = Literal["same", "z_box", "flat", "w_square"]
Attention = Literal["attn", "cp"]

Term = tuple[float, float, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Rules of one propagation.

    Attributes:
        name: Rule of convolutions and linear layers.
        first: Rule of the first layer, whose inputs are pixels; ``same`` uses ``name``.
        attention: ``attn`` shares the relevance of attention between weights and values (AttnLRP), ``cp`` takes the
            weights as constants (CP-LRP).
        epsilon: Stabiliser of the epsilon rule, in the unit of the outputs of a layer.
        gamma: Weight of the positive contributions in the gamma rule.
        alpha: Weight of the positive contributions in the alpha-beta rule; beta is alpha - 1.
    """

    name: Name = "epsilon"
    first: First = "same"
    attention: Attention = "attn"
    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0

    @property
    def splits(self) -> bool:
        """Whether the rule treats positive and negative contributions differently."""
        return self.name != "epsilon"

    @property
    def with_bias(self) -> bool:
        """Whether biases take part in the sums and receive relevance.

        The other rules share all relevance between the inputs, if any contribution has the required sign.
        """
        return self.name in ("epsilon", "gamma")


def ratio(relevance: Tensor, total: Tensor) -> Tensor:
    """Divide, with 0 for a total of 0.

    In one pass without a mask, which costs as much as a convolution on a CPU. A score that is not finite is found
    where the relevance starts.
    """
    return (relevance / total).nan_to_num_(0.0, 0.0, 0.0)


def stabilized_share(z: Tensor, epsilon: float) -> Tensor:
    """Return ``z / (z + epsilon sign(z))``, the share of relevance that the epsilon rule passes on."""
    size = z.abs()
    return size.div_(size + epsilon)


def terms(
    rules: Rules, out: Tensor, z: Tensor, positive: Tensor, negative: Tensor | None, *, lossy: bool
) -> tuple[list[Term], Tensor | None]:
    """Apply a rule that splits contributions to the outputs of a layer, for a signal of 1.

    It works in the memory of ``positive`` and ``negative``, because fresh memory costs as much as the arithmetic.

    Args:
        rules: The rule; not ``epsilon``.
        out: Outputs; the relevance for a signal of 1.
        z: Outputs; with the bias if the rule uses it, otherwise without.
        positive: Sum of the positive contributions to each output, with the bias as ``z``.
        negative: Sum of the negative ones. None if the rule does not need it, or relevance is zero where ``z < 0``
            because a ReLU follows.
        lossy: Whether outputs may have relevance that no contribution can take.

    Returns:
        The terms, and the relevance that no contribution could take; None if all of it is taken.
    """
    if rules.name == "z_plus":
        s = ratio(out, positive)
        return [(1.0, 0.0, s)], positive.mul_(s).neg_().add_(out) if lossy else None
    if rules.name == "gamma":  # an output that is not 0 has a contribution of its own sign
        found: list[Term] = [(1 + rules.gamma, 1.0, ratio(z.clamp_min(0), positive.mul_(rules.gamma).add_(z)))]
        if negative is not None:
            found.append((1.0, 1 + rules.gamma, ratio(z.clamp_max(0), negative.mul_(rules.gamma).add_(z))))
        return found, None
    # alpha-beta: an output without negative contributions is shared between the positive ones alone, and one without
    # positive contributions is lost.
    assert negative is not None
    both = (positive > 0) & (negative < 0)
    s_positive = ratio(out, positive) * (1 + (rules.alpha - 1) * both)
    s_negative = ratio((1 - rules.alpha) * out, negative) * both
    lost = out - s_positive * positive - s_negative * negative if lossy else None
    return [(1.0, 0.0, s_positive), (0.0, 1.0, s_negative)], lost
