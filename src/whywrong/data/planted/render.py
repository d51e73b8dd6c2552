"""Render pictures of known content, with class, object, parts, cues and every modification.

A :class:`Scene` states the content of each picture, and :func:`render` renders it. Every random choice depends on the
picture's own key only. The same key gives the same bytes in any batch, and if a scene differs in one field, the picture
differs in that alone, so that a planted mistake and its counterfactual form a pair.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_normal, keyed_uniform
from whywrong.data.planted.cues import mark, tint, weave
from whywrong.data.planted.objects import CLASSES, FORMS, MAIN, NAMES, SLOTS, TWINS, Part
from whywrong.data.planted.paint import camera, cast_shadow, paint
from whywrong.data.planted.scene import CUES, PART_NAMES, Pictures, Scene
from whywrong.data.planted.shapes import box, circle, column, ellipse, taper, union
from whywrong.data.planted.styles import restyle
from whywrong.data.planted.surfaces import noise, palette, room

SIZES = (64, 128)
_TWIN_CLASSES = frozenset(name for pair in TWINS for name in pair)
_CHUNK = 32  # pictures per pass, enough to amortise the calls, few enough for the cache


def render(scene: Scene, size: int = 64) -> Pictures:
    """Render a batch of pictures.

    Args:
        scene: Content of each picture.
        size: Side of the pictures, 64 or 128 pixels.

    Raises:
        InputError: The size is not supported.
    """
    if size not in SIZES:
        raise InputError(f"pictures are drawn at {' or '.join(map(str, SIZES))} px, not at {size}")
    n = len(scene)
    plane = torch.zeros(n, size, size, dtype=torch.bool)
    whole = Pictures(
        torch.zeros(n, 3, size, size, dtype=torch.uint8), plane, plane.byte(), plane.byte(), plane.clone(),
        plane.clone(), plane.clone(), plane.clone(), torch.zeros(n, 2, dtype=torch.int64), torch.zeros(n, SLOTS, 3),
    )  # fmt: skip
    for label in scene.label.unique().tolist():
        for rows in (scene.label == label).nonzero().flatten().split(_CHUNK):
            drawn = _render(scene[rows], size)
            for field in fields(Pictures):
                getattr(whole, field.name)[rows] = getattr(drawn, field.name)
    return whole


@dataclass(frozen=True, slots=True, eq=False)
class _Pose:
    """Pose of an object, centre, size, lean, breadth and side, (B,) each, in picture coordinates -1 to 1."""

    x: Tensor
    y: Tensor
    scale: Tensor
    lean: Tensor
    breadth: Tensor
    flip: Tensor

    def frame(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        dx, dy = x - column(self.x), y - column(self.y)
        cos, sin = column(torch.cos(self.lean)), column(torch.sin(self.lean))
        return (dx * cos + dy * sin) * column(self.flip / (self.scale * self.breadth)), (dy * cos - dx * sin) / column(
            self.scale
        )


def _render(scene: Scene, size: int) -> Pictures:
    """Render a batch of one class."""
    keys, batch = scene.keys, len(scene)
    axis = (torch.arange(size) + 0.5) * (2 / size) - 1
    y, x = (plane.expand(batch, size, size) for plane in torch.meshgrid(axis, axis, indexing="ij"))
    r = keyed_uniform(keys, (32,), 1)
    horizon = -0.25 + 0.60 * r[:, 0]
    image, floor, textures = room(keys, x, y, horizon)
    towards = torch.stack([1.6 * r[:, 1] - 0.8, -0.4 - 0.4 * r[:, 2], torch.full((batch,), 0.75)], 1)
    light = torch.nn.functional.normalize(towards, dim=1)

    cue = torch.zeros(batch, size, size)
    cue = weave(image, scene, x, y, floor, cue)
    _clutter(image, keys, x, y, horizon, light, size)

    two = scene.second >= 0
    pose = _pose(r[:, 3:10], horizon, scene.shrink * torch.where(two, 0.72, 1.0))
    beside = torch.where(pose.x > 0, 1.0, -1.0)
    pose = replace(pose, x=torch.where(two, beside * 0.45, pose.x) + scene.shift * beside * (1.0 + 0.75 * pose.scale))
    colours = palette(keys, 2)
    second = torch.zeros(batch, size, size, dtype=torch.bool)
    if bool(two.any()):
        other = _pose(keyed_uniform(keys, (7,), 4), horizon, torch.full((batch,), 0.72))
        other = replace(other, x=-beside * 0.45)
        for label in scene.second[two].unique().tolist():
            rows = (scene.second == label).nonzero().flatten()
            some = _Pose(*(getattr(other, f.name)[rows] for f in fields(_Pose)))
            part = image[rows]
            seen, _ = _draw(
                part,
                NAMES[label],
                keys[rows],
                5,
                some,
                x[rows],
                y[rows],
                light[rows],
                palette(keys[rows], 6),
                size,
                None,
            )
            image[rows], second[rows] = part, seen > 0

    name = NAMES[int(scene.label[0])]
    styled = image.clone() if bool((scene.style > 0).any()) else None
    parts, painted = _draw(image, name, keys, 3, pose, x, y, light, colours, size, scene.extent)
    cover = _cover(image, scene, pose, x, y, light, size)
    cue = tint(image, scene, x, y, mark(image, scene, x, y, light, size, cue))
    images = camera(image, x, y, r[:, 10:16], keyed_normal(keys, (3, size, size), 9))
    if styled is not None:
        images = restyle(images, scene, painted, colours, pose.scale * (size / 2))

    hidden = cover | (cue > 0.5) & (scene.cue == CUES.index("mark"))[:, None, None]
    parts = parts.masked_fill(hidden, 0)
    lookup = torch.tensor([0, *(1 + part.slot for part in painted)])
    names = torch.tensor([0, *(PART_NAMES.index(part.name) for part in painted)])
    return Pictures(
        images, parts > 0, names[parts].byte(), lookup[parts].byte(), second & (parts == 0) & ~hidden, cue > 0.5, cover,
        floor > 0.5, textures, colours,
    )  # fmt: skip


def _pose(r: Tensor, horizon: Tensor, factor: Tensor) -> _Pose:
    """Draw the pose of an object that is on the floor and inside the picture."""
    scale = (0.50 + 0.28 * r[:, 0]) * factor
    foot = (horizon + 0.12 + 0.50 * r[:, 1]).clamp_max(0.93)
    x = (2 * r[:, 5] - 1) * (1 - 0.8 * scale).clamp_min(0) * 0.8
    y = torch.maximum(foot - 0.85 * scale, 0.95 * scale - 1)
    return _Pose(x, y, scale, (r[:, 2] - 0.5) * 0.30, 0.86 + 0.28 * r[:, 3], torch.where(r[:, 4] < 0.5, 1.0, -1.0))


def _draw(
    image: Tensor,
    name: str,
    keys: Tensor,
    draw: int,
    pose: _Pose,
    x: Tensor,
    y: Tensor,
    light: Tensor,
    colours: Tensor,
    size: int,
    extent: Tensor | None,
) -> tuple[Tensor, list[Part]]:
    """Paint one object.

    Returns the number, from 1, of the part visible at each pixel (B, S, S), and the parts.
    """
    u, v = pose.frame(x, y)
    forms = [column(2 * f - 1) for f in keyed_uniform(keys, (FORMS,), draw).unbind(1)]
    if extent is not None and name in _TWIN_CLASSES:
        parts = CLASSES[name](u, v, forms, column(extent))  # type: ignore[call-arg]
    else:
        parts = CLASSES[name](u, v, forms)
    pixels = pose.scale * (size / 2)
    cast_shadow(
        image,
        union(*(part.distance for part in parts)),
        pixels,
        light,
        0.30 + 0.25 * keyed_uniform(keys, (1,), draw + 20)[:, 0],
        3.0,
    )
    contact = torch.sigmoid(ellipse(u, v - 0.86, 0.75, 0.10) * column(-pixels / 1.5))
    image.mul_(1 - 0.45 * contact[:, None])
    covers = paint(image, parts, colours, pixels, light, noise(keys, size, 12, 300 + draw, 2), pose.flip)
    seen = torch.zeros_like(covers[0], dtype=torch.int64)
    for number, cover in enumerate(covers, 1):
        seen.masked_fill_(cover > 0.5, number)
    return seen, parts


def _clutter(image: Tensor, keys: Tensor, x: Tensor, y: Tensor, horizon: Tensor, light: Tensor, size: int) -> None:
    """Add up to three plain objects to the background."""
    for k in range(3):
        q = keyed_uniform(keys, (7,), 50 + k)
        rows = (q[:, 0] < 0.7).nonzero().flatten()
        if not len(rows):
            continue
        q, part = q[rows], image[rows]
        scale = 0.10 + 0.18 * q[:, 3]
        pose = _Pose(
            2 * q[:, 1] - 1, horizon[rows] + 0.04 + 0.35 * q[:, 2] - 0.85 * scale, scale, (q[:, 4] - 0.5) * 0.3,
            0.6 + 0.8 * q[:, 5], torch.ones(len(rows)),
        )  # fmt: skip
        u, v = pose.frame(x[rows], y[rows])
        kind = column((q[:, 6] * 4).long())
        cone, brick = taper(u, v, 0.08, 0.8, 0.85, 0.05), box(u, v, 0.5, 0.85, 0.1)
        body = torch.where(
            kind == 0,
            box(u, v, 0.85, 0.85, 0.12),
            torch.where(kind == 1, circle(u, v, 0.85), torch.where(kind == 2, cone, brick)),
        )
        cast_shadow(part, body, scale * (size / 2), light[rows], torch.full_like(scale, 0.4), 2.5)
        paint(
            part,
            [Part("clutter", body, MAIN, 0.35, 0.2)],
            palette(keys[rows], 60 + k) * 0.8 + 0.08,
            scale * (size / 2),
            light[rows],
            torch.full_like(u, 0.5),
            pose.flip,
        )
        image[rows] = part


def _cover(image: Tensor, scene: Scene, pose: _Pose, x: Tensor, y: Tensor, light: Tensor, size: int) -> Tensor:
    """Cover the object by a plain occluder from the left or the right."""
    rows = (scene.covered > 0).nonzero().flatten()
    hidden = torch.zeros(len(scene), size, size, dtype=torch.bool)
    if not len(rows):
        return hidden
    r = keyed_uniform(scene.keys[rows], (4,), 70)
    side = torch.where(r[:, 0] < 0.5, 1.0, -1.0)
    half = pose.scale[rows] * 0.95
    edge = side * (half - 2 * half * scene.covered[rows])  # picture coordinates, relative to the object's centre
    width = half * scene.covered[rows] + 0.08
    u = x[rows] - column(pose.x[rows] + edge + side * width)
    v = y[rows] - column(pose.y[rows] - 0.05)
    board = box(u, v, column(width), column(pose.scale[rows] * 1.05), 0.06)
    pixels = torch.full((len(rows),), size / 2)
    part = image[rows]
    cast_shadow(part, board, pixels, light[rows], torch.full((len(rows),), 0.35), 2.0)
    cover = paint(
        part,
        [Part("cover", board, MAIN, 0.08, 0.1)],
        palette(scene.keys[rows], 71),
        pixels,
        light[rows],
        noise(scene.keys[rows], size, 10, 72, 2),
        side,
    )
    image[rows] = part
    hidden[rows] = cover[0] > 0.5
    return hidden
