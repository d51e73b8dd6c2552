"""Twelve classes of objects, each composed of named parts.

An object has its own coordinates, ``u`` to the right and ``v`` down, about -1 to 1, with its base at v = 0.85. A class
is a function ``(u, v, p) -> list[Part]`` from coordinates (B, H, W) and shape parameters ``p`` (a list of (B, 1, 1) in
[-1, 1]) to parts in the order of painting. Mug and tumbler differ in the handle, chair and stool in the back. In these
near-twins, ``extent`` (B, 1, 1) in [0, 1] scales that part from nothing to its full size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from whywrong.data.planted.shapes import blend, both, box, circle, cut, ellipse, ring, segment, taper, union

# Slots of a palette, one colour per image and slot.
MAIN, SECOND, DARK, LIGHT, METAL, WOOD, BEAK, GLASS = range(8)
SLOTS = 8
FORMS = 6


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an object.

    Attributes:
        name: Its name; parts with the same name form one mask.
        distance: (B, H, W), signed distance, in object coordinates.
        slot: Index of its colour in the palette.
        relief: Width of its rounded edge, in the same units.
        gloss: Strength of the highlight, 0 to 1.
        turn: (B, H, W) in [-1, 1] for a solid of revolution, how far its surface faces left or right; otherwise None.
        glow: Share of its colour that it emits, 0 to 1.
    """

    name: str
    distance: Tensor
    slot: int
    relief: float = 0.1
    gloss: float = 0.3
    turn: Tensor | None = None
    glow: float = 0.0


Forms = list[Tensor]
Draw = Callable[[Tensor, Tensor, Forms], list[Part]]


def mug(u: Tensor, v: Tensor, p: Forms, extent: Tensor | float = 1.0) -> list[Part]:
    """Draw a mug whose handle has the size ``extent``."""
    w, h = 0.42 + 0.09 * p[0], 0.48 + 0.10 * p[1]
    v = v - (0.85 - h)
    body = taper(u, v, w, w * (0.84 + 0.14 * p[2]), h, 0.08)
    loop = ring(
        ellipse(u - w - 0.06, v - 0.02, (0.25 + 0.04 * p[3]) * extent + 0.01, (0.31 + 0.05 * p[4]) * extent + 0.01),
        0.07,
    )
    rim = v + h - 0.02
    turn = u / w
    return [
        Part("handle", both(loop, w * 0.8 - u) + _absent(extent), MAIN, 0.07, 0.5),
        Part("body", body, MAIN, 0.06, 0.5, turn),
        Part("band", both(body + 0.01, (v - 0.15 - 0.15 * p[5]).abs() - 0.10), SECOND, 0.02, 0.4, turn),
        Part("rim", ellipse(u, rim, w * 0.99, 0.12), MAIN, 0.04, 0.5),
        Part("inside", ellipse(u, rim + 0.005, w * 0.86, 0.085), DARK, 0.3, 0.0, -turn),
    ]


def tumbler(u: Tensor, v: Tensor, p: Forms, extent: Tensor | float = 0.0) -> list[Part]:
    """Draw a tumbler, a mug without its handle."""
    return mug(u, v, p, extent)


def chair(u: Tensor, v: Tensor, p: Forms, extent: Tensor | float = 1.0) -> list[Part]:
    """Draw a chair whose back has the height ``extent``."""
    s, top, lean, foot = 0.42 + 0.07 * p[0], 0.08 + 0.08 * p[1], 0.10 + 0.06 * p[2], 0.85
    rise = (0.80 + 0.10 * p[3]) * extent
    none = _absent(extent)
    posts = union(
        segment(u, v, -s * 0.82, top, -s * 0.78, top - rise, 0.05),
        segment(u, v, s * 0.82, top, s * 0.78, top - rise, 0.05),
    )
    rest = box(u, v - (top - rise * 0.74), s * 0.80, (0.16 + 0.06 * p[4]) * extent + 0.005, 0.05)
    far = union(
        segment(u, v, -s * 0.60, top, -s * 0.60 - lean * 0.4, foot - 0.13, 0.045),
        segment(u, v, s * 0.60, top, s * 0.60 + lean * 0.4, foot - 0.13, 0.045),
    )
    near = union(
        segment(u, v, -s * 0.95, top, -s * 0.95 - lean, foot, 0.055),
        segment(u, v, s * 0.95, top, s * 0.95 + lean, foot, 0.055),
    )
    return [
        Part("legs", far, WOOD, 0.05, 0.1),
        Part("posts", posts + none, WOOD, 0.05, 0.2),
        Part("back", rest + none, MAIN, 0.06, 0.2),
        Part("legs", near, WOOD, 0.055, 0.2),
        Part("rung", segment(u, v, -s - lean * 0.4, top + 0.42, s + lean * 0.4, top + 0.42, 0.035), WOOD, 0.035, 0.2),
        Part(
            "seat",
            union(ellipse(u, v - top, s * 1.12, 0.16), box(u, v - top - 0.06, s * 1.10, 0.07, 0.05)),
            MAIN,
            0.05,
            0.2,
        ),
        Part("cushion", ellipse(u, v - top + 0.02, s * 1.0, 0.11), SECOND, 0.10, 0.2),
    ]


def stool(u: Tensor, v: Tensor, p: Forms, extent: Tensor | float = 0.0) -> list[Part]:
    """Draw a stool, a chair without its back."""
    return chair(u, v, p, extent)


def lamp(u: Tensor, v: Tensor, p: Forms) -> list[Part]:
    """Draw a table lamp that is switched on."""
    w, h = 0.46 + 0.10 * p[0], 0.38 + 0.05 * p[4]
    y = v + 0.42
    shade = taper(u, y, w * (0.58 + 0.22 * p[3]), w * 1.12, h, 0.03)
    return [
        Part("stem", box(u, v - 0.35, 0.05 + 0.02 * p[2], 0.48, 0.03), METAL, 0.05, 0.7, u / 0.06),
        Part("base", ellipse(u, v - 0.77, 0.34 + 0.07 * p[1], 0.10), METAL, 0.06, 0.7),
        Part("shade", shade, MAIN, 0.05, 0.1, u / (w * 1.1), 0.35),
        Part("glow", both(shade + 0.02, ellipse(u, y - h * 0.55, w * 0.62, h * 0.75)), LIGHT, 0.4, 0.0, None, 0.9),
        Part("trim", both(shade, (y - h + 0.05).abs() - 0.035), SECOND, 0.02, 0.1, u / (w * 1.1)),
    ]


def bottle(u: Tensor, v: Tensor, p: Forms) -> list[Part]:
    """Draw a bottle with label and cap."""
    w, n = 0.27 + 0.06 * p[0], 0.09 + 0.025 * p[1]
    y = v + 0.04
    glass = blend(box(u, y - 0.30, w, 0.59, 0.09), box(u, y + 0.55, n, 0.36, 0.03), 0.28 + 0.10 * p[2])
    label_h = 0.24 + 0.06 * p[3]
    return [
        Part("glass", glass, MAIN, 0.05, 1.0, u / (w * 1.02)),
        Part("label", both(box(u, y - 0.36, w + 0.02, label_h, 0.01), glass), LIGHT, 0.01, 0.1, u / (w * 1.05)),
        Part("emblem", ellipse(u - 0.03 * p[4], y - 0.36, w * 0.42, label_h * 0.55), SECOND, 0.02, 0.1),
        Part("cap", box(u, y + 0.90, n + 0.025, 0.09, 0.03), SECOND, 0.03, 0.4, u / (n + 0.03)),
    ]


def fish(u: Tensor, v: Tensor, p: Forms) -> list[Part]:
    """Draw a fish in profile, with two bands."""
    b = 0.32 + 0.08 * p[0]
    body = ellipse(u + 0.10, v, 0.64, b)
    tail = both(both(v.abs() - (u - 0.36) * (0.80 + 0.25 * p[1]), 0.40 - u), u - 0.86 - 0.15 * v.abs())
    fins = union(
        both(ellipse(u + 0.02, v + b * 0.92, 0.32, 0.20 + 0.06 * p[2]), v),
        both(ellipse(u + 0.10, v - b * 0.95, 0.20, 0.15), -v),
    )
    at = 0.05 * p[3]
    bands = union((u + 0.02 - at).abs() - 0.06, (u - 0.24 - at).abs() - 0.045)
    gill = both(both(ring(ellipse(u + 0.60, v, 0.27, b), 0.02), body + 0.04), -(u + 0.45))
    return [
        Part("tail", tail, SECOND, 0.10, 0.2),
        Part("fins", fins, SECOND, 0.08, 0.2),
        Part("body", body, MAIN, 0.30, 0.6),
        Part("bands", both(body + 0.01, bands), SECOND, 0.28, 0.5),
        Part("gill", gill, DARK, 0.02, 0.0),
        Part("eye", circle(u + 0.50, v + 0.08, 0.085), LIGHT, 0.04, 0.4),
        Part("pupil", circle(u + 0.51, v + 0.08, 0.045), DARK, 0.03, 0.9),
    ]


def duck(u: Tensor, v: Tensor, p: Forms) -> list[Part]:
    """Draw a duck in profile."""
    x, y = -0.38, -0.45 - 0.10 * p[2]
    body = blend(
        ellipse(u - 0.10, v - 0.42, 0.60, 0.40 + 0.05 * p[0]),
        segment(u, v, 0.45, 0.25, 0.78, 0.0 - 0.10 * p[1], 0.06),
        0.22,
    )
    head = circle(u - x, v - y, 0.23 + 0.03 * p[3])
    whole = blend(blend(body, segment(u, v, -0.32, 0.20, x, y, 0.13), 0.16), head, 0.10)
    beak = union(ellipse(u - x + 0.31, v - y - 0.04, 0.19, 0.065), ellipse(u - x + 0.27, v - y - 0.10, 0.14, 0.05))
    wing = blend(ellipse(u - 0.16, v - 0.36, 0.36, 0.21), segment(u, v, 0.3, 0.30, 0.60, 0.20, 0.04), 0.12)
    collar = both(both(whole + 0.01, (v - y - 0.36).abs() - 0.045), u - 0.05)
    return [
        Part("beak", beak, BEAK, 0.05, 0.4),
        Part("body", whole, MAIN, 0.30, 0.2),
        Part("head", both(whole, v - y - 0.34), SECOND, 0.25, 0.3),
        Part("collar", collar, LIGHT, 0.10, 0.1),
        Part("wing", wing, SECOND, 0.14, 0.2),
        Part("eye", circle(u - x + 0.09, v - y + 0.05, 0.055), LIGHT, 0.03, 0.3),
        Part("pupil", circle(u - x + 0.095, v - y + 0.05, 0.035), DARK, 0.02, 0.9),
    ]


def house(u: Tensor, v: Tensor, p: Forms) -> list[Part]:
    """Draw a small house with gable, door, window and chimney."""
    w, h, r = 0.58 + 0.10 * p[0], 0.38 + 0.08 * p[1], 0.58 + 0.12 * p[2]
    y = 0.85 - h
    slope = (v - (y - h - r)) / r
    roof = both(both((u.abs() - (w + 0.16) * slope) * 0.7, v - y + h - 0.03), -slope)
    window, light = (u - w * 0.42, v - y + 0.02), 0.16 + 0.03 * p[3]
    panes = union(box(*window, 0.014, light), box(*window, light, 0.014))
    return [
        Part("chimney", box(u - w * 0.58, v - (y - h - r * 0.55), 0.08, 0.26), DARK, 0.02, 0.0),
        Part("walls", box(u, v - y, w, h), LIGHT, 0.02, 0.0),
        Part("roof", roof, MAIN, 0.03, 0.1),
        Part("eaves", box(u, v - (y - h + 0.05), w + 0.02, 0.03), DARK, 0.01, 0.0),
        Part("door", box(u + w * 0.38, v - 0.59, 0.13, 0.26), SECOND, 0.02, 0.1),
        Part("knob", circle(u + w * 0.38 - 0.08, v - 0.60, 0.025), METAL, 0.02, 0.8),
        Part("window", box(*window, light + 0.03, light + 0.03), WOOD, 0.02, 0.0),
        Part("pane", box(*window, light, light), GLASS, 0.02, 0.9),
        Part("window", panes, WOOD, 0.01, 0.0),
    ]


def mushroom(u: Tensor, v: Tensor, p: Forms) -> list[Part]:
    """Draw a toadstool with spots."""
    w = 0.60 + 0.10 * p[0]
    cap = blend(both(ellipse(u, v + 0.02, w, 0.70 + 0.08 * p[1]), v - 0.06), ellipse(u, v - 0.03, w * 0.97, 0.13), 0.08)
    at = (
        (-0.24, -0.26, 0.10),
        (0.20, -0.16, 0.12),
        (0.0, -0.48, 0.09),
        (0.40, 0.0, 0.06),
        (-0.46, -0.02, 0.07),
        (-0.04, -0.04, 0.07),
    )
    spots = union(*(ellipse(u - x * w / 0.6, v - y, r, r * 0.85) for x, y, r in at))
    return [
        Part(
            "stem", taper(u, v - 0.45, 0.14 + 0.03 * p[2], 0.20 + 0.05 * p[3], 0.40, 0.06), LIGHT, 0.05, 0.1, u / 0.22
        ),
        Part("skirt", ellipse(u, v - 0.28, 0.24, 0.06), LIGHT, 0.04, 0.1),
        Part("cap", cap, MAIN, 0.45, 0.5),
        Part("spots", both(spots, cap + 0.03), SECOND, 0.03, 0.1),
        Part("gills", both(ellipse(u, v - 0.10, w * 0.84, 0.075), 0.05 - v), WOOD, 0.03, 0.0),
    ]


def umbrella(u: Tensor, v: Tensor, p: Forms) -> list[Part]:
    """Draw an open umbrella."""
    w, k = 0.84, 0.66 + 0.12 * p[0]
    dome = both(ellipse(u, v - 0.02, w, k), v)
    scallops = union(*(circle(u - x, v - 0.04, 0.215) for x in (-0.63, -0.21, 0.21, 0.63)))
    canopy = cut(dome, scallops)
    inner, outer = ellipse(u, v - 0.02, w * 0.25, k * 1.02), ellipse(u, v - 0.02, w * 0.74, k * 1.01)
    hook = both(ring(circle(u + 0.13, v - 0.70, 0.13), 0.04), 0.70 - v)
    return [
        Part("shaft", box(u, v - 0.20, 0.03, 0.52), METAL, 0.03, 0.7, u / 0.035),
        Part("hook", hook, WOOD, 0.04, 0.4),
        Part("tip", box(u, v + k + 0.02, 0.025, 0.11, 0.02), METAL, 0.02, 0.7),
        Part("canopy", canopy, MAIN, 0.40, 0.3, u / (w * 1.1)),
        Part(
            "panels", union(both(canopy + 0.004, inner), both(canopy + 0.004, -outer)), SECOND, 0.30, 0.3, u / (w * 1.1)
        ),
    ]


def car(u: Tensor, v: Tensor, p: Forms) -> list[Part]:
    """Draw a car in profile."""
    v = v - 0.22
    body = box(u, v - 0.16, 0.92, 0.23, 0.13)
    half, h = 0.36 + 0.08 * p[0], 0.24 + 0.05 * p[1]
    cabin = taper(u + 0.06, v + 0.18, half, 0.62, h, 0.08)
    glass = cut(taper(u + 0.06, v + 0.17, half - 0.05, 0.51, h - 0.07, 0.05), box(u + 0.04, v + 0.16, 0.035, 0.3))
    r = 0.21 + 0.02 * p[2]
    left, right = (u + 0.52, v - 0.40), (u - 0.52, v - 0.40)
    return [
        Part("cabin", cabin, MAIN, 0.06, 0.7),
        Part("body", body, MAIN, 0.14, 0.9),
        Part("glass", glass, GLASS, 0.02, 1.0),
        Part("trim", both(body + 0.02, (v - 0.22).abs() - 0.03), SECOND, 0.02, 0.4),
        Part("door", both(ring(box(u + 0.05, v - 0.10, 0.30, 0.24, 0.04), 0.010), v - 0.32), DARK, 0.01, 0.0),
        Part("lights", ellipse(u + 0.84, v - 0.10, 0.06, 0.07), LIGHT, 0.03, 0.9),
        Part("lights", box(u - 0.86, v - 0.10, 0.04, 0.06, 0.02), BEAK, 0.02, 0.4),
        Part("wheels", union(circle(*left, r), circle(*right, r)), DARK, 0.06, 0.2),
        Part("hubs", union(circle(*left, r * 0.52), circle(*right, r * 0.52)), METAL, 0.06, 0.9),
    ]


def _absent(extent: Tensor | float) -> Tensor | float:
    """Return an offset that moves a part of extent 0 out of the picture."""
    return (extent < 0.02) * 9.0


CLASSES: dict[str, Draw] = {
    draw.__name__: draw
    for draw in (mug, tumbler, chair, stool, lamp, bottle, fish, duck, house, mushroom, umbrella, car)
}
NAMES: tuple[str, ...] = tuple(CLASSES)
TWINS: tuple[tuple[str, str], ...] = (("mug", "tumbler"), ("chair", "stool"))
