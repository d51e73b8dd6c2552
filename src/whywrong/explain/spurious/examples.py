"""Example images of a component, with maps.

They are the images of the class with the most of it, and images of other classes that carry it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from whywrong.core.errors import ModelError
from whywrong.data.batches import to_tensor
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext, AnalysisWorker
from whywrong.explain.spurious.features import ComponentMaps, Features, component_maps
from whywrong.explain.spurious.harmful import taken_away
from whywrong.explain.spurious.levels import Levels
from whywrong.explain.spurious.neural_pca import ClassComponents
from whywrong.explain.spurious.search import ClassSearch, Pool, Search
from whywrong.models.classifier import Classifier

CARRIERS = 6  # images of other classes shown with each component
SIDE = 160  # pixels; larger inputs are reduced to it


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An image shown with one component.

    Attributes:
        index: Class k.
        number: The component, from 0.
        group: ``top``, an image of the class among those where components were found, or ``carrier``, a held-out image
            of another class.
        rank: From 0 within its group.
        item_id, key: Identity of the item.
        label, predicted: Class indices.
        alpha: Contribution of the component to the logit of the class, logits.
        probability: Probability of class k.
        caused: For a carrier: predicted as the class, but not once the component is removed.
        picture: The input of the model, PNG or JPEG.
        width, height: Size of the model's input, pixels.
        map: (h, w), float32, logits per cell; None if the model has no spatial layer.
        exact: Whether the map adds up to alpha.
        outside: Share of the map's positive part outside the object; NaN if no object is known.
    """

    index: int
    number: int
    group: str
    rank: int
    item_id: str
    key: str
    label: int
    predicted: int
    alpha: float
    probability: float
    caused: bool
    picture: bytes
    width: int
    height: int
    map: np.ndarray | None
    exact: bool
    outside: float


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Images of one set to show with the components of a class.

    Attributes:
        group: ``top`` or ``carrier``.
        images: Name of the set.
        entries: Entries of the images, each once, in the order of the set.
        features: Features of the images.
        rows: Images shown with each component, by its number, as ordered rows of ``entries``.
    """

    group: str
    images: str
    entries: list[Entry]
    features: Features
    rows: dict[int, list[int]]


@dataclass(frozen=True, slots=True, eq=False)
class ShownClass:
    """A class whose components are drawn."""

    components: ClassComponents
    levels: Levels
    chosen: list[Chosen]


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """The pictures of one class."""

    shown: list[Example]


def examples(context: AnalysisContext, search: Search) -> list[Example]:
    """Draw pictures for the page, class by class.

    Raises:
        DataError: An image cannot be read again.
    """
    units = []
    for index in shown_classes(search):
        found = search.classes[index]
        plan = _plan(search, found)
        pools = (("top", search.search, "reference"), ("carrier", search.held_out, "data"))
        chosen = [
            _chosen(group, pool, name if search.referenced else "data", plan[group]) for group, pool, name in pools
        ]
        units.append(ShownClass(found.components, found.levels, chosen))
    return [one for drawn in context.over("pictures", draw_class, units, settings=("start",)) for one in drawn.shown]


def draw_class(worker: AnalysisWorker, unit: ShownClass) -> Examples:
    """Read the images of one class again and draw them with their maps."""
    return Examples([one for chosen in unit.chosen for one in _draw(worker, unit, chosen)])


def shown_classes(search: Search) -> list[int]:
    """Select the classes to draw.

    They are ordered by the number of images misled by a harmful component (largest first), share predicted as the
    class, and index.
    """

    def weight(index: int) -> tuple[float, float, int]:
        harm = search.classes[index].harm
        misled = max((one.share.value for one in harm if one.verdict == "harmful"), default=0.0)
        return -misled, -max((one.caused for one in harm), default=0), index

    return sorted(search.classes, key=weight)[: search.config.shown_classes]


def shown_components(search: Search, found: ClassSearch) -> list[int]:
    """Select the components of a class to draw, by number."""
    return sorted({*range(min(search.config.shown_components, len(found.components))), *found.harmful})


def _plan(search: Search, found: ClassSearch) -> dict[str, dict[int, list[int]]]:
    """Return rows of the pool of each group by component number, per group."""
    index = found.components.index
    inside, held_out = search.search, search.held_out
    own = (inside.features.label == index).nonzero().flatten()
    own_alpha = found.components.alphas(inside.features.phi[own])
    alpha = found.components.alphas(held_out.features.phi64)
    tops: dict[int, list[int]] = {}
    carriers: dict[int, list[int]] = {}
    for number in shown_components(search, found):
        tops[number] = own[own_alpha[:, number].topk(min(search.config.top, len(own))).indices].tolist()
        bar = found.levels.bar[number]
        rows = ((held_out.features.label != index) & (alpha[:, number] >= bar)).nonzero().flatten()
        read_as = held_out.features.predicted[rows] == index
        order = (alpha[rows, number] + 1e6 * read_as).argsort(descending=True, stable=True)
        carriers[number] = rows[order][:CARRIERS].tolist()
    return {"top": tops, "carrier": carriers}


def _chosen(group: str, pool: Pool, images: str, plan: dict[int, list[int]]) -> Chosen:
    rows = sorted({row for some in plan.values() for row in some})
    places = {row: at for at, row in enumerate(rows)}
    taken = {number: [places[row] for row in some] for number, some in plan.items()}
    return Chosen(group, images, [pool.entries[row] for row in rows], pool.features[torch.tensor(rows).long()], taken)


def _draw(worker: AnalysisWorker, unit: ShownClass, chosen: Chosen) -> list[Example]:
    if not chosen.entries:
        return []
    components, features = unit.components, chosen.features
    items = list(worker.load(chosen.entries, chosen.images, photo_side=2 * SIDE))
    x = to_tensor([item.pixels for item in items], worker.images[chosen.images].spec)
    maps = _maps(worker.classifier, x, components)
    pictures = [small_picture(item.pixels) for item in items]
    alpha = components.alphas(features.phi)
    chance = features.logits.double().softmax(1)[:, components.index]
    drawn = []
    for number, rows in chosen.rows.items():
        taken = taken_away(alpha[:, number], unit.levels, number, worker.config.start)
        for rank, row in enumerate(rows):
            grid = None if maps is None else maps.maps[row, number].numpy()
            label, predicted = int(features.label[row]), int(features.predicted[row])
            logits = features.logits[row].clone()
            logits[components.index] -= float(taken[row])
            drawn.append(
                Example(
                    index=components.index,
                    number=number,
                    group=chosen.group,
                    rank=rank,
                    item_id=chosen.entries[row].item_id,
                    key=chosen.entries[row].key,
                    label=label,
                    predicted=predicted,
                    alpha=float(alpha[row, number]),
                    probability=float(chance[row]),
                    caused=predicted == components.index != label and int(logits.argmax()) != components.index,
                    picture=pictures[row],
                    width=x.shape[3],
                    height=x.shape[2],
                    map=grid,
                    exact=maps is not None and maps.exact,
                    outside=_outside(grid, items[row].mask),
                )
            )
    return drawn


def _maps(classifier: Classifier, x: Tensor, components: ClassComponents) -> ComponentMaps | None:
    try:
        return component_maps(classifier, x, components)
    except ModelError:  # no spatial layer; the components themselves need none
        return None


def _outside(grid: np.ndarray | None, mask: np.ndarray | None) -> float:
    if grid is None or mask is None:
        return float("nan")
    positive = torch.from_numpy(grid).clamp_min(0)[None, None]
    spread = torch.nn.functional.interpolate(positive, size=mask.shape, mode="nearest")[0, 0].double()
    total = float(spread.sum())
    return 1 - float(spread[torch.from_numpy(mask)].sum()) / total if total > 0 else float("nan")


def small_picture(pixels: np.ndarray) -> bytes:
    """Encode the input of the model as a small picture.

    Tiny inputs are encoded exactly.
    """
    array = np.moveaxis(pixels, 0, -1)
    image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array[..., :3])
    buffer = io.BytesIO()
    if max(image.size) <= 64:
        image.save(buffer, "PNG")
        return buffer.getvalue()
    scale = min(1.0, SIDE / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
