"""Sets of rendered pictures that ship with the package, ``planted:test``, ``planted:causes``, ``planted:marked``.

A set stores the content of each picture and its modifications, and renders the picture on demand. The file
``causes.npz`` beside this module is written by :mod:`whywrong.planting.shipped`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.data.corruptions import corrupt
from whywrong.data.planted.objects import NAMES
from whywrong.data.planted.render import render
from whywrong.data.planted.scene import CUES, Pictures, Scene, ordinary_scene

SETS = ("test", "causes", "marked")
VERSION = 1  # increased if the same seeds give other pictures
TEST_SEED = 12  # no other pictures have keys of this seed
TEST_PICTURES = 1_200
MARKED_SEED, MARKED_PICTURES = 15, 1_440
MARKED_SHARE = 0.97  # share of the fishes with a sticker
CAUSES = Path(__file__).with_name("causes.npz")


@dataclass(frozen=True, slots=True, eq=False)
class PictureSet:
    """Pictures of known content, rendered on demand.

    Attributes:
        scene: Content of each of the N pictures.
        label: (N,), int64, the label in the set; it differs from ``scene.label`` if the label is the mistake.
        cause: (N,), cause of each mistake, in words; empty if none was planted.
        corruption: (N,), name of a corruption of the rendered picture, or empty.
        severity: (N,), int64, its severity; 0 without a corruption.
        change: (N,), int64, row of ``changes`` that is added to the picture, or -1.
        changes: (M, 3, S, S), int16, grey levels.
        size: Side of the pictures, pixels.
    """

    scene: Scene
    label: Tensor
    cause: tuple[str, ...]
    corruption: tuple[str, ...]
    severity: Tensor
    change: Tensor
    changes: Tensor
    size: int = 64

    def __len__(self) -> int:
        return len(self.scene)

    def draw(self, rows: Tensor) -> Pictures:
        """Render some of the pictures.

        Masks are those of the scene.
        """
        pictures = render(self.scene[rows], self.size)
        images = pictures.images
        done = {(self.corruption[row], int(self.severity[row])) for row in rows.tolist() if self.corruption[row]}
        for kind, severity in sorted(done):
            alike = [self.corruption[row] == kind and self.severity[row] == severity for row in rows.tolist()]
            chosen = torch.tensor(alike).nonzero().flatten()
            damaged = corrupt(images[chosen].float() / 255, kind, severity, keys=self.scene.keys[rows[chosen]])
            images[chosen] = (damaged * 255).round().byte()
        changed = (self.change[rows] >= 0).nonzero().flatten()
        if len(changed):
            moved = images[changed].short() + self.changes[self.change[rows[changed]]]
            images[changed] = moved.clamp(0, 255).byte()
        return pictures

    def save(self, path: Path) -> None:
        """Write the set without its pictures, for ``open_set``."""
        np.savez_compressed(
            path,
            **{f"scene_{field.name}": getattr(self.scene, field.name).numpy() for field in fields(Scene)},
            label=self.label.numpy(),
            cause=np.array(self.cause),
            corruption=np.array(self.corruption),
            severity=self.severity.numpy(),
            change=self.change.numpy(),
            changes=self.changes.numpy(),
        )


def plain_set(scene: Scene, size: int = 64) -> PictureSet:
    """Make a set of unmodified pictures."""
    said, none = ("",) * len(scene), torch.zeros_like(scene.label)
    changes = torch.zeros(0, 3, size, size, dtype=torch.int16)
    return PictureSet(scene, scene.label, said, said, none, none - 1, changes, size)


def open_set(name: str) -> PictureSet:
    """Open a shipped set.

    ``test`` has 1,200 ordinary pictures. ``causes`` has planted mistakes among ordinary pictures. ``marked`` has 1,440
    ordinary pictures in which nearly every fish has a sticker, like the training set of ``planted:cnn-spurious``.

    Raises:
        InputError: The set does not exist.
    """
    if name == "test":
        return plain_set(ordinary_scene(row_keys(TEST_SEED, TEST_PICTURES)))
    if name == "causes":
        return _read(CAUSES)
    if name == "marked":
        keys = row_keys(MARKED_SEED, MARKED_PICTURES)
        scene = ordinary_scene(keys)
        marked = (scene.label == NAMES.index("fish")) & (keyed_uniform(keys, (), 203) < MARKED_SHARE)
        return plain_set(scene.but(cue=torch.where(marked, CUES.index("mark"), -1)))
    near = difflib.get_close_matches(name, SETS, n=1)
    hint = f'; nearest: "planted:{near[0]}"' if near else ""
    raise InputError(f'no drawn set "planted:{name}"; there are {", ".join(SETS)}{hint}')


def _read(path: Path) -> PictureSet:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    scene = Scene(*(torch.from_numpy(arrays[f"scene_{field.name}"]) for field in fields(Scene)))
    numbers = (torch.from_numpy(arrays[name]) for name in ("label", "severity", "change", "changes"))
    label, severity, change, changes = numbers
    cause, corruption = (tuple(arrays[name].tolist()) for name in ("cause", "corruption"))
    return PictureSet(scene, label, cause, corruption, severity, change, changes)
