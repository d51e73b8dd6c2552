"""Maps and regions as things that lie on a photograph: tiny PNGs with transparency, and SVG outlines."""

from __future__ import annotations

import base64
import io
from functools import cache

import numpy as np
from contourpy import contour_generator
from PIL import Image
from scipy import ndimage

TRUE_RGB, WRONG_RGB = (37, 99, 201), (226, 104, 12)  # blue speaks for the true class, orange for the wrong one
MAX_ALPHA = 0.74
FACTORS = (1, 2, 4, 5, 10, 20, 40, 60, 80, 100, 120)


def data_uri(data: bytes, kind: str) -> str:
    """Bytes of an image as a ``data:`` address."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def density(values: np.ndarray) -> np.ndarray:
    """A map (h, w) whose cells sum to logits, in logits per 1 % of its area: comparable across resolutions."""
    return np.asarray(values, dtype=np.float64) * (values.shape[0] * values.shape[1] / 100)


def smoothed(contribution: np.ndarray, longest: int = 56) -> np.ndarray:
    """A pixel map (H, W) with its sum kept: blurred by max(1, H/64) pixels, then summed into cells (h, w)."""
    height, width = contribution.shape
    blurred = ndimage.gaussian_filter(contribution.astype(np.float64), max(1.0, height / 64), mode="reflect")
    block = -(-max(height, width) // longest)
    rows, cols = -(-height // block), -(-width // block)
    padded = np.pad(blurred, ((0, rows * block - height), (0, cols * block - width)))
    return padded.reshape(rows, block, cols, block).sum(axis=(1, 3))


def common_scale(maps: list[np.ndarray]) -> float:
    """The absolute value at which colours saturate: the largest 95th percentile among the maps of one image."""
    peaks = [float(np.quantile(np.abs(values), 0.95)) for values in maps if values.size]
    return max(peaks, default=0.0)


@cache
def _palette() -> tuple[bytes, bytes]:
    """Colours and opacities of levels 0..254: blue, transparent at 127, orange."""
    position = (np.arange(255) - 127) / 127
    colours = np.where(position[:, None] < 0, TRUE_RGB, WRONG_RGB).astype(np.uint8)
    alpha = np.round(255 * MAX_ALPHA * np.abs(position) ** 0.9).astype(np.uint8)
    return colours.tobytes(), alpha.tobytes()


def signed_png(values: np.ndarray, scale: float) -> str:
    """A map (h, w) in diverging colours: positive orange, negative blue, zero transparent, full at ``scale``."""
    level = np.zeros(values.shape) if scale <= 0 else np.clip(values / scale, -1, 1)
    image = Image.fromarray(np.round(127 + 127 * level).astype(np.uint8), mode="P")
    colours, alpha = _palette()
    image.putpalette(colours)
    return data_uri(_saved(image, "PNG", transparency=alpha), "png")


def outline(mask: np.ndarray) -> str:
    """A mask (H, W) as an SVG path in a box of W x H units, holes included; empty where the mask is.

    Masks of more than 64 pixels are traced at half resolution, which no eye can tell and halves the path.
    """
    inside = (np.asarray(mask) > 0.5).astype(np.float32)
    block = 2 if max(inside.shape) > 64 else 1
    inside = np.pad(inside, ((0, -inside.shape[0] % block), (0, -inside.shape[1] % block)), mode="edge")
    height, width = inside.shape[0] // block, inside.shape[1] // block
    coarse = np.pad(inside.reshape(height, block, width, block).mean(axis=(1, 3)), 1)
    # Padding moved every centre by one cell, and a cell's centre lies half a cell from its edge.
    at = contour_generator(z=coarse).lines(0.5)
    return "".join(_path((np.asarray(line) - 0.5) * block) for line in at if len(line) > 3)


def _path(line: np.ndarray) -> str:
    """A closed line (N, 2) of x and y, without the points that lie on the straight way between their neighbours."""
    points = np.round(line[:-1], 1)
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    bends = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-6
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points[bends]) + "Z"


def amplification(change: np.ndarray) -> int:
    """The factor that makes a change in grey levels plain to see, from :data:`FACTORS`."""
    peak = float(np.quantile(np.abs(change), 0.995)) or float(np.abs(change).max())
    return max(factor for factor in FACTORS if factor <= max(100 / max(peak, 1e-6), 1))


def amplified(change: np.ndarray) -> tuple[str, int]:
    """A change (C, H, W) in grey levels on mid grey, and the factor it was multiplied with.

    A change of at most 64 pixels stays exact in a PNG; a larger one is compressed like a photograph.
    """
    factor = amplification(change)
    pixels = np.clip(np.round(128 + factor * np.asarray(change, dtype=np.float32)), 0, 255).astype(np.uint8)
    pixels = np.moveaxis(pixels, 0, -1)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if max(image.size) <= 64:
        return data_uri(_saved(image, "PNG"), "png"), factor
    return data_uri(_saved(image, "JPEG", quality=50), "jpeg"), factor


def tile(photo: Image.Image, side: int = 160) -> str:
    """A square middle part of a photograph for the gallery; small images stay as they are."""
    edge = min(photo.size)
    left, top = (photo.width - edge) // 2, (photo.height - edge) // 2
    square = photo.convert("RGB").crop((left, top, left + edge, top + edge))
    if edge <= 64:
        return data_uri(_saved(square, "PNG"), "png")
    square = square.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return data_uri(_saved(square, "JPEG", quality=74), "jpeg")


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
