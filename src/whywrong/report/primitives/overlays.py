"""Overlays of photographs, as small transparent PNGs and SVG outlines."""

from __future__ import annotations

import base64
import io
from functools import cache

import numpy as np
from contourpy import contour_generator
from PIL import Image
from scipy import ndimage

TRUE_RGB, WRONG_RGB = (37, 99, 201), (226, 104, 12)  # blue for the true class, orange for the wrong class
LIGHT_RGB, DARK_RGB = (158, 224, 214), (0, 84, 78)  # ends of the ramp of magnitudes, one hue
BOTH_RGB = (122, 40, 138)  # violet, for what concerns both classes
BRIGHTER_RGB, DARKER_RGB = (0, 148, 92), (134, 32, 168)  # of a change; apart from the two colours of the classes
MAX_ALPHA = 0.74
FACTORS = (1, 2, 4, 5, 10, 20, 40, 60, 80, 100, 120)


def data_uri(data: bytes, kind: str) -> str:
    """Encode an image as a ``data:`` URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def density(values: np.ndarray) -> np.ndarray:
    """Convert a map (h, w) in logits per cell to logits per 1 % of its area.

    Results of different resolutions are comparable.
    """
    return np.asarray(values, dtype=np.float64) * (values.shape[0] * values.shape[1] / 100)


def smoothed(contribution: np.ndarray, longest: int = 56) -> np.ndarray:
    """Reduce a pixel map (H, W) to cells (h, w), preserving its sum.

    The map is blurred by max(1, H/64) pixels, then summed into the cells.
    """
    height, width = contribution.shape
    blurred = ndimage.gaussian_filter(contribution.astype(np.float64), max(1.0, height / 64), mode="reflect")
    block = -(-max(height, width) // longest)
    rows, cols = -(-height // block), -(-width // block)
    padded = np.pad(blurred, ((0, rows * block - height), (0, cols * block - width)))
    return padded.reshape(rows, block, cols, block).sum(axis=(1, 3))


def common_scale(maps: list[np.ndarray], share: float = 0.95) -> float:
    """Compute the absolute value at which the colours of an image's maps saturate.

    It is the largest of the ``share`` quantiles of the maps.
    """
    peaks = [float(np.quantile(np.abs(values), share)) for values in maps if values.size]
    return max(peaks, default=0.0)


@cache
def _palette() -> tuple[bytes, bytes]:
    """Build the colours and opacities of levels 0..254.

    They go from blue through transparent (127) to orange.
    """
    position = (np.arange(255) - 127) / 127
    colours = np.where(position[:, None] < 0, TRUE_RGB, WRONG_RGB).astype(np.uint8)
    alpha = np.round(255 * MAX_ALPHA * np.abs(position) ** 0.9).astype(np.uint8)
    return colours.tobytes(), alpha.tobytes()


def signed_png(values: np.ndarray, scale: float) -> str:
    """Encode a map (h, w) in diverging colours.

    Positive values are orange, negative ones blue, and zero is transparent; colours saturate at ``scale``.
    """
    level = np.zeros(values.shape) if scale <= 0 else np.clip(values / scale, -1, 1)
    image = Image.fromarray(np.round(127 + 127 * level).astype(np.uint8), mode="P")
    colours, alpha = _palette()
    image.putpalette(colours)
    return data_uri(_saved(image, "PNG", transparency=alpha), "png")


def types_png(kind: np.ndarray, level: np.ndarray) -> str:
    """Encode cells (h, w) of three kinds in the colours of the classes.

    Kind 0 is blue, 1 orange, 2 violet, and any other transparent. ``level`` (h, w) in [0, 1] sets the opacity.
    """
    steps = 80  # levels of opacity of each kind; 0 is transparent
    shade = np.round(np.clip(level, 0, 1) * steps).astype(int)
    index = np.where((kind >= 0) & (kind <= 2) & (shade > 0), 1 + kind * steps + shade - 1, 0)
    image = Image.fromarray(index.astype(np.uint8), mode="P")
    colours = np.zeros((1 + 3 * steps, 3), np.uint8)
    alpha = np.zeros(1 + 3 * steps)
    for number, colour in enumerate((TRUE_RGB, WRONG_RGB, BOTH_RGB)):
        place = slice(1 + number * steps, 1 + (number + 1) * steps)
        colours[place] = colour
        alpha[place] = 0.12 + (MAX_ALPHA - 0.12) * np.arange(1, steps + 1) / steps
    image.putpalette(colours.tobytes())
    return data_uri(_saved(image, "PNG", transparency=np.round(255 * alpha).astype(np.uint8).tobytes()), "png")


def outline(mask: np.ndarray) -> str:
    """Convert a mask (H, W) to an SVG path in a box of W x H units.

    Holes are included; an empty mask gives an empty path. Masks of more than 64 pixels are traced at half resolution,
    which halves the length of the path without a visible difference.
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
    """Simplify a closed line (N, 2) of x and y, dropping collinear points."""
    points = np.round(line[:-1], 1)
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    bends = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-6
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points[bends]) + "Z"


def cells_path(cells: np.ndarray) -> str:
    """Convert cells (h, w) bool to an SVG path along their common border.

    The box has w x h units; the path is empty if no cell is set.
    """
    padded = np.pad(np.asarray(cells, dtype=bool), 1)
    inside = padded[1:-1, 1:-1]
    # Directed edges with the inside on the right; neighbours in the set share no edge, so only the border remains.
    ends: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for beside, start, end in (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    ):
        for y, x in np.argwhere(inside & ~beside).tolist():
            ends.setdefault((x + start[0], y + start[1]), []).append((x + end[0], y + end[1]))
    path = ""
    while ends:
        first = next(iter(ends))
        loop, at = [first], _next(ends, first)
        while at != first:
            loop.append(at)
            at = _next(ends, at)
        path += _path(np.array([*loop, first]))
    return path


def _next(ends: dict[tuple[int, int], list[tuple[int, int]]], at: tuple[int, int]) -> tuple[int, int]:
    end = ends[at].pop()
    if not ends[at]:
        del ends[at]
    return end


def magnitude_png(values: np.ndarray) -> str:
    """Encode a map (h, w) in [0, 1] in one hue.

    Zero is transparent; the higher the value, the more opaque.
    """
    image = Image.fromarray(np.round(254 * np.clip(values, 0, 1)).astype(np.uint8), mode="P")
    share = np.arange(255) / 254
    # From a light to a dark teal, so that the order is seen by lightness as well.
    colours = np.array(LIGHT_RGB) + share[:, None] * (np.array(DARK_RGB) - np.array(LIGHT_RGB))
    image.putpalette(np.round(colours).astype(np.uint8).tobytes())
    alpha = np.where(share > 0, 0.18 + 0.67 * share, 0)
    return data_uri(_saved(image, "PNG", transparency=np.round(255 * alpha).astype(np.uint8).tobytes()), "png")


def amplification(change: np.ndarray) -> int:
    """Choose the factor of :data:`FACTORS` that makes a change in grey levels visible."""
    peak = float(np.quantile(np.abs(change), 0.995)) or float(np.abs(change).max())
    return max(factor for factor in FACTORS if factor <= max(100 / max(peak, 1e-6), 1))


def amplified(change: np.ndarray, longest: int = 1024) -> tuple[str, int]:
    """Draw an amplified change (C, H, W) in grey levels on mid grey.

    Returns the picture and the amplification factor. Up to 64 pixels a side, the picture is an exact PNG; larger ones
    are compressed like a photograph, with at most ``longest`` pixels a side.
    """
    factor = amplification(change)
    image = _image(128 + factor * np.asarray(change, dtype=np.float32))
    if max(image.size) <= 64:
        return data_uri(_saved(image, "PNG"), "png"), factor
    image.thumbnail((longest, longest))
    return data_uri(_saved(image, "WEBP", quality=30), "webp"), factor


def photograph(stored: bytes) -> str:
    """Encode a stored photograph, a PNG or JPEG file, for the page.

    A photograph becomes WebP if that is smaller; a PNG stays exact.
    """
    if stored[:4] == b"\x89PNG":
        return data_uri(stored, "png")
    smaller = _saved(Image.open(io.BytesIO(stored)).convert("RGB"), "WEBP", quality=58, method=6)
    return data_uri(smaller, "webp") if len(smaller) < len(stored) else data_uri(stored, "jpeg")


def picture(pixels: np.ndarray, longest: int = 176) -> str:
    """Encode pixels (C, H, W) in grey levels as a picture.

    Up to 64 pixels a side, the picture is exact; otherwise it is compressed like a photograph.
    """
    image = _image(pixels)
    if max(image.size) <= 64:
        return data_uri(_saved(image, "PNG"), "png")
    image.thumbnail((longest, longest))
    return data_uri(_saved(image, "WEBP", quality=58), "webp")


def grey_picture(pixels: np.ndarray, longest: int = 72) -> str:
    """Encode pixels (C, H, W) in grey levels as a small picture without colours."""
    image = _image(pixels).convert("L")
    image.thumbnail((longest, longest))
    if max(pixels.shape[-2:]) <= 64:
        return data_uri(_saved(image, "PNG"), "png")
    return data_uri(_saved(image, "WEBP", quality=60), "webp")


def changed_picture(pixels: np.ndarray, change: np.ndarray, scale: float, longest: int = 144) -> str:
    """Draw where pixels became brighter (green) or darker (violet).

    The change (H, W) is drawn over a pale version of the image (C, H, W).
    """
    photo = _image(pixels).convert("L")
    small = max(photo.size) <= 64
    if not small:  # mixed at the size at which it is shown: means of the pixels under each
        photo.thumbnail((longest, longest))
        resized = Image.fromarray(np.ascontiguousarray(change, dtype=np.float32)).resize(
            photo.size, Image.Resampling.BOX
        )
        change = np.asarray(resized)
    pale = 128 + 0.55 * (np.asarray(photo, dtype=np.float32)[..., None] - 128)
    level = np.zeros(change.shape) if scale <= 0 else np.clip(change / scale, -1, 1)
    colour = np.where(level[..., None] < 0, DARKER_RGB, BRIGHTER_RGB)
    alpha = 0.9 * np.abs(level)[..., None] ** 0.8
    image = Image.fromarray(np.round(pale + alpha * (colour - pale)).astype(np.uint8))
    if small:
        return data_uri(_saved(image, "PNG"), "png")
    return data_uri(_saved(image, "WEBP", quality=68), "webp")


def _image(pixels: np.ndarray) -> Image.Image:
    """Convert pixels (C, H, W) in grey levels to an image.

    If the channels are not colours, their mean is used.
    """
    if len(pixels) not in (1, 3):
        pixels = np.mean(pixels, axis=0, keepdims=True)
    levels = np.moveaxis(np.clip(np.round(pixels), 0, 255).astype(np.uint8), 0, -1)
    return Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
