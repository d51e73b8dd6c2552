"""Thumbnails of whole photographs, for the report."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from whywrong.data.geometry import Geometry

LONGEST = 320  # pixels of the longer side
_TINY = 64  # smaller photographs are kept in full, without loss
_QUALITY = 85


def make_thumb(photo: Image.Image, geometry: Geometry) -> dict[str, Any]:
    """Make the columns of the thumbnail of a photograph.

    Args:
        photo: Mode RGB or L; the photograph, or a copy of it reduced to no less than ``LONGEST`` px.
        geometry: From the photograph to the model's input.

    Returns:
        ``jpeg`` (JPEG, or PNG for tiny photographs), ``width`` and ``height`` in pixels, and ``x0 y0 x1 y1``, the
        crop in shares of width and height; beyond 0..1 if the model's input is padded.
    """
    width, height = geometry.width, geometry.height
    buffer = io.BytesIO()
    if max(width, height) < _TINY:
        photo.save(buffer, "PNG")
        small = photo
    else:
        scale = min(1.0, LONGEST / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = photo if size == photo.size else photo.resize(size, Image.Resampling.BILINEAR)
        small.save(buffer, "JPEG", quality=_QUALITY)
    shares = np.array(geometry.crop_box) / (width, height, width, height)
    return {
        "jpeg": buffer.getvalue(),
        "width": small.width,
        "height": small.height,
        **dict(zip(("x0", "y0", "x1", "y1"), shares.tolist(), strict=True)),
    }
