"""Content of each picture, and what is known once it is rendered."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform
from whywrong.data.planted.objects import NAMES, TWINS

CUES = ("mark", "tint", "weave")
STYLES = ("photo", "drawing", "silhouette", "inverted", "poster")
PART_NAMES: tuple[str, ...] = (
    "", "back", "band", "bands", "base", "beak", "body", "cabin", "canopy", "cap", "chimney", "collar", "cushion",
    "door", "eaves", "emblem", "eye", "fins", "gill", "gills", "glass", "glow", "handle", "head", "hook", "hubs",
    "inside", "knob", "label", "legs", "lights", "pane", "panels", "posts", "pupil", "rim", "roof", "rung", "seat",
    "shade", "shaft", "skirt", "spots", "stem", "tail", "tip", "trim", "walls", "wheels", "window", "wing",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Content of each picture in a batch; all fields are (B,).

    Attributes:
        keys: int64, key of every random choice.
        label: int64, class of the object, index into ``NAMES``.
        second: int64, class of a second object, or -1.
        extent: float32 in [0, 1], size of the part that distinguishes near-twins; 1 whole, 0 gone. Only mug, tumbler,
            chair and stool have one.
        cue: int64, a cue outside the object, index into ``CUES``, or -1.
        covered: float32 in [0, 1], share of the object's width that is occluded.
        shrink: float32 in (0, 1], factor on the object's size.
        shift: float32 in [0, 1], how far the object is moved out of the picture; at 1 nothing is visible.
        style: int64, index into ``STYLES``; models are trained on photos.
    """

    keys: Tensor
    label: Tensor
    second: Tensor
    extent: Tensor
    cue: Tensor
    covered: Tensor
    shrink: Tensor
    shift: Tensor
    style: Tensor

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, rows: Tensor | slice) -> Scene:
        """Return the scene of some rows."""
        return Scene(*(getattr(self, field.name)[rows] for field in fields(self)))

    def but(self, **changes: Tensor | float) -> Scene:
        """Return the same pictures with some fields changed.

        A number applies to all rows.
        """
        whole = {
            name: value if isinstance(value, Tensor) else torch.full_like(getattr(self, name), value)
            for name, value in changes.items()
        }
        return replace(self, **whole)


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Rendered pictures with everything that is known about them.

    Attributes:
        images: (B, 3, S, S), uint8.
        object: (B, S, S), bool, visible pixels of the object.
        parts: (B, S, S), uint8, index into ``PART_NAMES`` of the part visible at each pixel of the object, else 0.
        slots: (B, S, S), uint8, 1 + colour slot of the visible part, else 0.
        second: (B, S, S), bool, pixels of the second object.
        cue: (B, S, S), bool, pixels of the cue.
        cover: (B, S, S), bool, pixels of the occluder.
        floor: (B, S, S), bool, floor rather than wall.
        textures: (B, 2), int64, textures of wall and floor.
        colours: (B, 8, 3), float32, colours of the object by slot, before lighting.
    """

    images: Tensor
    object: Tensor
    parts: Tensor
    slots: Tensor
    second: Tensor
    cue: Tensor
    cover: Tensor
    floor: Tensor
    textures: Tensor
    colours: Tensor


def make_scene(keys: Tensor, label: Tensor) -> Scene:
    """Make plain scenes with one whole object of class ``label``.

    They are photos without a cue or occluder.

    Args:
        keys: (B,), int64.
        label: (B,), int64, in 0..11.

    Raises:
        InputError: Shapes differ, or a class index is out of range.
    """
    if keys.shape != label.shape or keys.ndim != 1:
        raise InputError(f"keys and labels must both be (B,), got {tuple(keys.shape)} and {tuple(label.shape)}")
    if len(label) and not 0 <= int(label.min()) <= int(label.max()) < len(NAMES):
        raise InputError(f"classes are 0..{len(NAMES) - 1}, got {int(label.min())}..{int(label.max())}")
    absent = torch.full_like(label, -1)
    without = torch.tensor([NAMES.index(less) for _, less in TWINS])
    extent = (~torch.isin(label, without)).float()
    zero, one = torch.zeros(len(keys)), torch.ones(len(keys))
    return Scene(keys, label, absent, extent, absent, zero, one, zero, torch.zeros_like(label))


def ordinary_scene(keys: Tensor) -> Scene:
    """Make ordinary scenes, with all classes in turn.

    Objects vary in size. One in five is partly occluded, and one in ten is cut by the frame. The part that
    distinguishes near-twins is drawn at half to all of its full size.

    Args:
        keys: (B,), int64.
    """
    scene = make_scene(keys, torch.arange(len(keys)) % len(NAMES))
    r = keyed_uniform(keys, (6,), 200)
    return scene.but(
        covered=torch.where(r[:, 0] < 0.20, 0.15 + 0.30 * r[:, 1], 0.0),
        shift=torch.where(r[:, 2] < 0.10, 0.15 + 0.20 * r[:, 3], 0.0),
        shrink=1 - 0.45 * r[:, 4],
        extent=scene.extent * (0.50 + 0.50 * r[:, 5]),
    )
