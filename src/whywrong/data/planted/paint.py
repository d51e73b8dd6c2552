"""Paint parts onto a picture, with light, shadow and relief."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from whywrong.data.planted.objects import Part


def paint(
    image: Tensor, parts: Sequence[Part], colours: Tensor, scale: Tensor, light: Tensor, grain: Tensor, flip: Tensor
) -> list[Tensor]:
    """Paint parts onto ``image`` in place, one after the other.

    A part is flat except for its rounded edge, or curved like a cylinder. It is lit by one distant light and ambient
    light, with a highlight and a thin dark outline (Lambert and Blinn-Phong).

    Args:
        image: (B, 3, H, W), changed.
        parts: In the order of painting.
        colours: (B, slots, 3).
        scale: (B,), pixels per unit of the object coordinates.
        light: (B, 3), unit vector to the light, with axes to the right, down, and to the viewer.
        grain: (B, H, W) in [0, 1], roughness of the material.
        flip: (B,), -1 if the object is mirrored, otherwise 1.

    Returns:
        The coverage (B, H, W) in [0, 1] of each part.
    """
    lx, ly, lz = (light[:, i, None, None] for i in range(3))
    half = functional.normalize(light + torch.tensor([0.0, 0.0, 1.0]), dim=1)  # between light and viewer
    hx, hy, hz = (half[:, i, None, None] for i in range(3))
    pixels = scale[:, None, None]
    uneven = 0.88 + 0.24 * grain
    covers = []
    for part in parts:
        d = part.distance * pixels
        cover = (0.5 - d).clamp_(0, 1)
        covers.append(cover)
        if part.turn is None:
            nx, ny = torch.zeros_like(d), torch.zeros_like(d)
            nx[:, :, 1:-1] = (d[:, :, 2:] - d[:, :, :-2]) * 0.5
            ny[:, 1:-1] = (d[:, 2:] - d[:, :-2]) * 0.5
            edge = (1 + d / (part.relief * pixels)).clamp_(0, 1)
            nx.mul_(edge).clamp_(-0.9, 0.9)
            ny.mul_(edge).clamp_(-0.9, 0.9)
            nz = torch.sqrt((1 - nx * nx - ny * ny).clamp_min_(0.05))
        else:
            nx = (part.turn * flip[:, None, None]).clamp(-0.95, 0.95)
            ny = torch.zeros_like(nx)
            nz = torch.sqrt(1 - nx * nx)
        shade = (nx * lx).addcmul_(ny, ly).addcmul_(nz, lz).clamp_min_(0).mul_(0.80).add_(0.34)
        shade.mul_(1 - 0.28 * (1 + d / 1.5).clamp_(0, 1)).mul_(uneven)
        if part.glow:
            shade = torch.lerp(shade, torch.full_like(shade, 1.25), part.glow)
        colour = colours[:, part.slot, :, None, None] * shade[:, None]
        if part.gloss:
            shine = (nx * hx).addcmul_(ny, hy).addcmul_(nz, hz).clamp_min_(0)
            for _ in range(5):
                shine = shine.mul_(shine)  # to the 32nd power
            colour.add_(shine[:, None], alpha=0.5 * part.gloss)
        image.lerp_(colour, cover[:, None])
    return covers


def cast_shadow(
    image: Tensor, distance: Tensor, scale: Tensor, light: Tensor, strength: Tensor, softness: float
) -> None:
    """Darken ``image`` in place where the soft shadow of a shape falls.

    It falls beside the shape, away from the light.

    Args:
        image: (B, 3, H, W), changed.
        distance: (B, H, W), signed distance, in object coordinates.
        scale: (B,), pixels per unit of these coordinates.
        light: (B, 3), as in :func:`paint`.
        strength: (B,), 0 for none.
        softness: Width of the shadow's edge, pixels.
    """
    dark = torch.sigmoid(distance * (-scale / softness)[:, None, None])[:, None]
    size = image.shape[-1]
    axis = (torch.arange(size) * 2 + 1) / size - 1
    across = axis + (light[:, 0] * 0.30 * scale / (size / 2))[:, None]  # (B, W)
    down = axis - (0.10 * scale / (size / 2))[:, None]  # (B, H)
    grid = torch.empty(len(image), size, size, 2)
    grid[..., 0], grid[..., 1] = across[:, None], down[:, :, None]
    image.mul_(1 - functional.grid_sample(dark, grid, align_corners=False) * strength[:, None, None, None])


def camera(image: Tensor, x: Tensor, y: Tensor, r: Tensor, grain: Tensor) -> Tensor:
    """Simulate a simple camera.

    It adds a tint, vignetting, exposure, slight blur and sensor noise.

    Args:
        image: (B, 3, H, W), linear.
        x: (B, H, W), -1 to 1.
        y: (B, H, W), -1 to 1.
        r: (B, 6) in (0, 1), tint red, tint blue, vignetting, contrast, blur, noise.
        grain: (B, 3, H, W), standard normal.

    Returns:
        (B, 3, H, W) uint8.
    """
    column = r[:, :, None, None]
    tint = torch.stack([0.92 + 0.16 * r[:, 0], torch.ones_like(r[:, 0]), 0.92 + 0.16 * r[:, 1]], 1)
    fall = 1.06 - 0.22 * column[:, 2] * (x * x + y * y)
    image = (image * tint[:, :, None, None] * fall[:, None]).clamp_(0, 1)
    image = image.pow(0.80 + 0.35 * column[:, 3:4])
    side = 0.22 * column[:, 4:5]
    for dim in (2, 3):
        inner = image.narrow(dim, 1, image.shape[dim] - 2)
        near = image.narrow(dim, 0, image.shape[dim] - 2) + image.narrow(dim, 2, image.shape[dim] - 2)
        blurred = inner * (1 - 2 * side) + near * side
        image.narrow(dim, 1, image.shape[dim] - 2).copy_(blurred)
    image = image + grain * (0.006 + 0.022 * column[:, 5:6] ** 2)
    return (image.clamp_(0, 1) * 255).round_().to(torch.uint8)
