"""Test whether a component is harmful, on held-out images of other classes that carry it.

Source: Neuhaus et al. 2023, arXiv 2212.04871: a feature is harmful if images that show it without the class are
predicted as the class. Here such images are counted among held-out images, with an interval that corrects for the
number of components searched (ours, docs/methods/spurious.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.statistics import Interval, wilson
from whywrong.explain.spurious.features import Features
from whywrong.explain.spurious.levels import Levels
from whywrong.explain.spurious.neural_pca import ClassComponents
from whywrong.explain.spurious.spufix import Start

Verdict = Literal["harmful", "not confirmed", "too few carriers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmfulConfig:
    """Settings of :func:`harmful`.

    Attributes:
        min_carriers: Held-out images of other classes that must carry a component before it is judged.
        level: Probability of a false confirmation, over all components searched.
        start: Level from which a component is removed, as for :func:`make_fix`.
    """

    min_carriers: int = 10
    level: float = 0.05
    start: Start = "others"

    def __post_init__(self) -> None:
        if self.min_carriers < 1:
            raise InputError(f"min_carriers must be at least 1, got {self.min_carriers}")
        if not 0 < self.level < 1:
            raise InputError(f"level must be in (0, 1), got {self.level}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """Effect of one component on held-out images of other classes.

    Attributes:
        carriers: Number of images of other classes that carry it.
        read_as: Number of carriers predicted as the class.
        caused: Number of these whose prediction changes if the component is removed.
        share: ``caused`` of ``carriers``, with its 95 % Wilson interval.
        adjusted_low: Lower end of that share at the level corrected for the number of components searched.
        base: Share predicted as the class among the images of other classes that do not carry it.
        adjusted_base: Upper end of ``base`` at the same level.
        searched: Number of components searched.
        verdict: ``harmful`` if ``adjusted_low`` exceeds ``adjusted_base``.
        accuracy_change: Accuracy on all held-out images with the component removed, minus accuracy before.
        own_change: The same for the images of the class.
    """

    carriers: int
    read_as: int
    caused: int
    share: Interval
    adjusted_low: float
    base: float
    adjusted_base: float
    searched: int
    verdict: Verdict
    accuracy_change: float
    own_change: float


def harmful(
    components: ClassComponents,
    levels: Levels,
    held_out: Features,
    *,
    searched: int,
    config: HarmfulConfig | None = None,
) -> list[Harm]:
    """Judge whether each component of one class is harmful.

    Args:
        components: Neural PCA of the class.
        levels: Levels from the images in which the components were found.
        held_out: Images of all classes that were not used to find them.
        searched: Number of components searched over all classes.
        config: Settings; None uses the defaults.

    Raises:
        InputError: ``searched`` is below the number of components of this class.
    """
    config = config or HarmfulConfig()
    if searched < len(components):
        raise InputError(f"{searched} components searched in all, this class alone has {len(components)}")
    index = components.index
    alpha = components.alphas(held_out.phi64)
    own = held_out.label == index
    read_as = held_out.predicted == index
    z = NormalDist().inv_cdf(1 - config.level / searched)
    found = []
    for number in range(len(components)):
        after = held_out.without(index, taken_away(alpha[:, number], levels, number, config.start))
        carries = ~own & (alpha[:, number] >= levels.bar[number])
        caused = carries & read_as & (after != index)
        found.append(_judge(carries, caused, read_as, own, after, held_out, z, searched, config))
    return found


def _judge(
    carries: Tensor,
    caused: Tensor,
    read_as: Tensor,
    own: Tensor,
    after: Tensor,
    held_out: Features,
    z: float,
    searched: int,
    config: HarmfulConfig,
) -> Harm:
    carriers, hits = int(carries.sum()), int(caused.sum())
    free = ~own & ~carries
    base = wilson(int((free & read_as).sum()), int(free.sum()), z)
    low = wilson(hits, carriers, z).low
    change = (after == held_out.label).double() - (held_out.predicted == held_out.label).double()
    verdict: Verdict = "harmful" if low > base.high else "not confirmed"
    if carriers < config.min_carriers:
        verdict = "too few carriers"
    return Harm(
        carriers=carriers,
        read_as=int((carries & read_as).sum()),
        caused=hits,
        share=wilson(hits, carriers),
        adjusted_low=low,
        base=base.value,
        adjusted_base=base.high,
        searched=searched,
        verdict=verdict,
        accuracy_change=float(change.mean()) if len(change) else 0.0,
        own_change=float(change[own].mean()) if bool(own.any()) else float("nan"),
    )


def taken_away(alpha: Tensor, levels: Levels, number: int, start: Start) -> Tensor:
    """Compute the logits that SpuFix removes for a component.

    Takes its contribution ``alpha`` (N,), returns (N,).
    """
    return (alpha - (levels.others[number] if start == "others" else 0.0)).clamp_min(0)
