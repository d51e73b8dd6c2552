"""Is a component harmful? Images that carry it and are not of its class, on images that took no part in finding it.

Source: Neuhaus et al. 2023, arXiv 2212.04871: a feature is harmful if images that show it and not the class are read
as the class. Here this is counted on held-out images, with an interval that allows for the number of components that
were searched (ours, docs/methods/spurious.md).
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
        min_carriers: Fewest held-out images of other classes that must carry a component before it is judged.
        level: Chance of a false confirmation, over all components searched together.
        start: From where a component counts when it is taken away, as in :func:`make_fix`.
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
    """What one component does to held-out images of other classes.

    Attributes:
        carriers: Images of other classes that carry it.
        read_as: Carriers that the model reads as the class.
        caused: Those among them that it no longer reads so once the component is taken away.
        share: ``caused`` of ``carriers``, with its 95 % Wilson interval.
        adjusted_low: Lower end of that share at the level that allows for the number of components searched.
        base: Share of the images of other classes that do not carry it and are read as the class.
        adjusted_base: Upper end of ``base`` at the same level.
        searched: Components that were searched.
        verdict: ``harmful`` if ``adjusted_low`` lies above ``adjusted_base``.
        accuracy_change: Accuracy on all held-out images with the component taken away, minus accuracy before.
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
    """Judge every component of one class.

    Args:
        components: Neural PCA of the class.
        levels: From the images in which the components were found.
        held_out: Images of all classes that took no part in finding them.
        searched: Components searched in all, over all classes.
        config: Settings; None takes the defaults.

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
    """(N,), logits that SpuFix takes from the class for one component that adds ``alpha`` (N,)."""
    return (alpha - (levels.others[number] if start == "others" else 0.0)).clamp_min(0)
