"""Contact sheets for the documentation: the classes, and the planted causes beside the originals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from whywrong.data.planted import NAMES, open_set, render
from whywrong.planting.mistakes import Planted

_CELL, _GAP, _SIDE = 96, 6, 150  # pixels: a picture, the gap between pictures, the column of names
_PAPER, _INK, _MUTED = (251, 250, 247), (31, 36, 40), (90, 98, 105)
_COLUMNS, _PAIRS = 10, 5
_NOTE = 18  # height of a line of text


def class_sheet() -> Image.Image:
    """Draw a row per class with ten pictures of ``planted:test``."""
    scene = open_set("test").scene
    rows = []
    for index, name in enumerate(NAMES):
        some = (scene.label == index).nonzero().flatten()[:_COLUMNS]
        rows.append((name, [(picture, "") for picture in render(scene[some], 128).images]))
    return _sheet(rows, _CELL, _COLUMNS)


def cause_sheet(planted: Sequence[Planted]) -> Image.Image:
    """Draw pairs of an image and the same image with the cause, a row per cause."""
    causes: dict[str, dict[str, tuple[Tensor, str]]] = {}
    for some in planted:
        pair = torch.cat([some.original[0], some.image[0]], 2)
        causes.setdefault(some.cause, {}).setdefault(some.kind, (pair, some.kind.replace("_", " ")))
    return _sheet([(cause, list(kinds.values())) for cause, kinds in causes.items()], 2 * _CELL, _PAIRS)


def _sheet(rows: Sequence[tuple[str, Sequence[tuple[Tensor, str]]]], width: int, columns: int) -> Image.Image:
    """Draw titled rows of pictures with notes, wrapped after ``columns``."""
    noted = any(note for _, pictures in rows for _, note in pictures)
    pitch = _CELL + _GAP + (_NOTE if noted else 0)
    lines = sum(-(-len(pictures) // columns) for _, pictures in rows)
    sheet = Image.new("RGB", (_SIDE + columns * (width + _GAP), lines * pitch + _GAP), _PAPER)
    pen, large, small = ImageDraw.Draw(sheet), ImageFont.load_default(18), ImageFont.load_default(13)
    top = _GAP
    for title, pictures in rows:
        pen.text((_GAP + 4, top + 4), title, _INK, large)
        for number, (picture, note) in enumerate(pictures):
            line, column = divmod(number, columns)
            left, upper = _SIDE + column * (width + _GAP), top + line * pitch
            image = Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()))
            sheet.paste(image.resize((width, _CELL), Image.Resampling.BICUBIC), (left, upper))
            pen.text((left, upper + _CELL + 1), note, _MUTED, small)
        top += pitch * -(-len(pictures) // columns)
    return sheet
