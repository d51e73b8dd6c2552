"""The images that show a component: those of the class that have most of it, and others that carry it, with maps."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from whywrong.core.errors import ModelError
from whywrong.data.batches import to_tensor
from whywrong.explain.spurious.features import ComponentMaps, component_maps
from whywrong.explain.spurious.harmful import taken_away
from whywrong.models.classifier import Classifier
from whywrong.runs.progress import Progress
from whywrong.runs.spurious.reading import Pool
from whywrong.runs.spurious.search import ClassSearch, Search

CARRIERS = 6  # images of other classes shown with each component
SIDE = 160  # pixels; larger inputs are reduced to it


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One image shown with one component.

    Attributes:
        index: Class k.
        number: The component, from 0.
        group: ``top``, an image of the class among those where components were found, or ``carrier``, a held-out image
            of another class.
        rank: From 0 within its group.
        item_id, key: The item.
        label, predicted: Classes.
        alpha: What the component adds to the logit of the class here, logits.
        probability: Of class k.
        caused: For a carrier: read as the class, and no longer so once the component is taken away.
        picture: What the model sees, PNG or JPEG.
        width, height: Of the model's input, pixels.
        map: (h, w), float32, logits a cell; None where the model has no places.
        exact: Whether the map adds up to alpha.
        outside: Share of the map's positive part outside the object; NaN where no object is known.
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


def examples(
    classifier: Classifier, search: Search, progress: Callable[[Progress], None] | None = None
) -> list[Example]:
    """Pictures for the page.

    Raises:
        DataError: An image cannot be read again.
    """
    plan = {index: _plan(search, search.classes[index]) for index in shown_classes(search)}
    pools = {"top": search.search, "carrier": search.held_out}
    wanted = {
        group: {row for chosen in plan.values() for rows in chosen[group].values() for row in rows} for group in pools
    }
    total, found = sum(map(len, wanted.values())), []
    tell = progress or (lambda _: None)
    seen: dict[str, dict[int, _Seen]] = {group: {} for group in pools}
    for group, pool in pools.items():
        for row, item in pool.load(wanted[group]):
            seen[group][row] = _Seen(item.pixels, item.mask, small_picture(item.pixels))
            tell(Progress("pictures", sum(map(len, seen.values())), total, 0, 0))
    with classifier:
        for done, (index, chosen) in enumerate(plan.items(), start=1):
            for group, pool in pools.items():
                found += _draw(classifier, search, search.classes[index], pool, chosen[group], seen[group], group)
            tell(Progress("maps", done, len(plan), 0, 0))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """One image at the model's input: pixels (C, H, W) uint8, its object (H, W) if known, and its small copy."""

    pixels: np.ndarray
    mask: np.ndarray | None
    picture: bytes


def shown_classes(search: Search) -> list[int]:
    """Classes to draw: those with the most images that a harmful component misleads first, then by share read as the
    class, then by index."""

    def weight(index: int) -> tuple[float, float, int]:
        harm = search.classes[index].harm
        misled = max((one.share.value for one in harm if one.verdict == "harmful"), default=0.0)
        return -misled, -max((one.caused for one in harm), default=0), index

    return sorted(search.classes, key=weight)[: search.config.shown_classes]


def shown_components(search: Search, found: ClassSearch) -> list[int]:
    """Numbers of the components to draw of a class."""
    return sorted({*range(min(search.config.shown_components, len(found.components))), *found.harmful})


def _plan(search: Search, found: ClassSearch) -> dict[str, dict[int, list[int]]]:
    """Group, then number of the component, to rows of the pool of that group."""
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


def _draw(
    classifier: Classifier,
    search: Search,
    found: ClassSearch,
    pool: Pool,
    chosen: dict[int, list[int]],
    seen: dict[int, _Seen],
    group: str,
) -> list[Example]:
    rows = sorted({row for some in chosen.values() for row in some})
    if not rows:
        return []
    components = found.components
    x = to_tensor([seen[row].pixels for row in rows], pool.settled.spec)
    maps = _maps(classifier, x, found)
    alpha = components.alphas(pool.features.phi[torch.tensor(rows)])
    chance = pool.features.logits[torch.tensor(rows)].double().softmax(1)[:, components.index]
    drawn = []
    for number, some in chosen.items():
        for rank, row in enumerate(some):
            at = rows.index(row)
            grid = None if maps is None else maps.maps[at, number].numpy()
            label, predicted = int(pool.features.label[row]), int(pool.features.predicted[row])
            taken = taken_away(alpha[at : at + 1, number], found.levels, number, search.config.start)
            logits = pool.features.logits[row].clone()
            logits[components.index] -= float(taken)
            drawn.append(
                Example(
                    index=components.index,
                    number=number,
                    group=group,
                    rank=rank,
                    item_id=pool.entries[row].item_id,
                    key=pool.entries[row].key,
                    label=label,
                    predicted=predicted,
                    alpha=float(alpha[at, number]),
                    probability=float(chance[at]),
                    caused=predicted == components.index != label and int(logits.argmax()) != components.index,
                    picture=seen[row].picture,
                    width=x.shape[3],
                    height=x.shape[2],
                    map=grid,
                    exact=maps is not None and maps.exact,
                    outside=_outside(grid, seen[row].mask),
                )
            )
    return drawn


def _maps(classifier: Classifier, x: Tensor, found: ClassSearch) -> ComponentMaps | None:
    try:
        return component_maps(classifier, x, found.components)
    except ModelError:  # no layer that knows places; the components themselves need none
        return None


def _outside(grid: np.ndarray | None, mask: np.ndarray | None) -> float:
    if grid is None or mask is None:
        return float("nan")
    positive = torch.from_numpy(grid).clamp_min(0)[None, None]
    spread = torch.nn.functional.interpolate(positive, size=mask.shape, mode="nearest")[0, 0].double()
    total = float(spread.sum())
    return 1 - float(spread[torch.from_numpy(mask)].sum()) / total if total > 0 else float("nan")


def small_picture(pixels: np.ndarray) -> bytes:
    """What the model sees, small: exact for tiny inputs."""
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
