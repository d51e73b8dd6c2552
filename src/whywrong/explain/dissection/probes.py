"""Probe images with the masks of their concepts, drawn, annotated or painted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from whywrong.core.errors import InputError
from whywrong.core.randomness import item_keys, keyed_uniform
from whywrong.data.batches import Batch
from whywrong.data.planted.concepts import CONCEPTS, concept_masks
from whywrong.data.planted.sets import open_set
from whywrong.explain.analysis import AnalysisWorker, ImageSet
from whywrong.explain.dissection.config import DissectionConfig
from whywrong.explain.dissection.painting import PAINTED, paint

SIDE = 56  # positions a side at which maps and masks are compared, as in the published code


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Images and the masks of their concepts on the grid of the comparison.

    Attributes:
        x: (B, C, H, W).
        masks: (B, n, P), bool.
        counted: (B, P), bool.
    """

    x: Tensor
    masks: Tensor
    counted: Tensor


def concept_source(config: DissectionConfig, images: ImageSet) -> str:
    """Choose the source of the concepts.

    Raises:
        InputError: ``planted`` was asked for with other images.
    """
    planted = images.source.kind == "planted"
    if config.concepts == "planted" and not planted:
        raise InputError(f"concepts planted needs planted:test, planted:causes or planted:marked, got {images.title}")
    if config.concepts != "auto":
        return config.concepts
    return "planted" if planted else "masks" if images.source.boxes else "painted"


def concept_names(source: str, images: ImageSet) -> tuple[str, ...]:
    """List the names of all concepts of a source."""
    if source == "planted":
        return CONCEPTS
    return PAINTED if source == "painted" else tuple(f"object/{name}" for name in images.classes.names)


def rounds_of(config: DissectionConfig, images: ImageSet) -> int:
    """Compute how often each image is painted, at least 1."""
    if concept_source(config, images) != "painted":
        return 1
    return max(1, math.ceil(len(PAINTED) * config.images_each / max(images.count, 1)))


def grid_side(images: ImageSet) -> int:
    """Return the side of the grid of the comparison, at most that of the images."""
    return min(SIDE, images.spec.height, images.spec.width)


def painted_images(batch: Batch, x: Tensor, turn: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Paint a batch, each image with a concept drawn by its name.

    Returns:
        As :func:`whywrong.explain.dissection.painting.paint`, then the concepts (B,) int64.
    """
    keys = item_keys(seed, [item.entry.item_id for item in batch.items], f"dissection {turn}").to(x.device)
    concept = (keyed_uniform(keys, (), 0) * len(PAINTED)).long().clamp_max(len(PAINTED) - 1)
    return *paint(x, concept, keys), concept


def probe(worker: AnalysisWorker, batch: Batch, turn: int) -> Probe:
    """Make the probe images of a batch, with their masks.

    Args:
        worker: Its config says what the concepts are.
        batch: Images of the data.
        turn: Number of the round of painting.
    """
    images, config = worker.images["data"], worker.config
    source, side = concept_source(config, images), grid_side(images)
    x = batch.x.to(worker.classifier.device)
    names = concept_names(source, images)
    masks = torch.zeros(len(x), len(names), side * side, dtype=torch.bool, device=x.device)
    counted = torch.ones(len(x), side * side, dtype=torch.bool, device=x.device)
    rows = torch.arange(len(x), device=x.device)
    if source == "painted":
        x, mask, certain, concept = painted_images(batch, x, turn, config.seed)
        masks[rows, concept] = _reduced(mask, side)
        counted = _reduced(~certain, side, least=1e-6).logical_not()
    elif source == "masks":
        known = [item.mask is not None for item in batch.items]
        stack = [item.mask if item.mask is not None else np.zeros(x.shape[2:], bool) for item in batch.items]
        mask = torch.from_numpy(np.stack(stack)).to(x.device)
        labelled = (batch.y >= 0).to(x.device)
        masks[rows, batch.y.clamp_min(0).to(x.device)] = _reduced(mask, side) & labelled[:, None]
        counted &= (torch.tensor(known, device=x.device) & labelled)[:, None]
    else:
        for name, mask in _drawn(batch, images).items():
            masks[:, names.index(name)] = _reduced(mask.to(x.device), side)
    return Probe(x, masks, counted)


def _reduced(mask: Tensor, side: int, least: float = 0.5) -> Tensor:
    """Reduce masks (B, H, W) to (B, side * side), set where at least a share ``least`` of a cell is."""
    return (functional.adaptive_avg_pool2d(mask[:, None].float(), side) >= least).flatten(1)


def _drawn(batch: Batch, images: ImageSet) -> dict[str, Tensor]:
    """Draw the masks (B, H, W) of all concepts in planted pictures again, at the input of the model."""
    pictures = open_set(images.source.path)
    rows = torch.tensor([int(item.entry.key.rpartition("/")[2]) for item in batch.items])
    masks = concept_masks(pictures.scene[rows], pictures.draw(rows))
    size = batch.x.shape[2:]
    if tuple(size) == (pictures.size, pictures.size):
        return masks
    return {
        name: torch.stack(
            [
                torch.from_numpy(item.geometry.mask_to_input(one)) if one.any() else torch.zeros(size, dtype=torch.bool)
                for item, one in zip(batch.items, mask.numpy(), strict=True)
            ]
        )
        for name, mask in masks.items()
    }
