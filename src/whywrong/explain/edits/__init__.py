"""Small edits of images, by name, which show how easily a prediction changes.

    picture, compressed = edited(x, row_keys(0, len(x)), ["flip", "jpeg 85"])

All are batched, stay on the device of the images (only JPEG visits the CPU, once a batch), and are deterministic: noise
is drawn from the key of each image.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.explain.edits import places, sharpen, smooth, tiny, tone
from whywrong.explain.edits.edit import Apply, Edit, Family, unkeyed
from whywrong.explain.edits.places import crop_around

__all__ = ["CROPS", "EDITS", "SURVIVAL", "Edit", "Family", "crop_around", "edited"]


def _blur(sigma: float) -> Apply:
    return unkeyed(lambda x: smooth.blur(x, sigma))


def _tv(weight: float) -> Apply:
    return unkeyed(lambda x: smooth.total_variation(x, weight))


_ALL: tuple[Edit, ...] = (
    *(
        Edit(f"noise {levels}/255 {name}", "tiny", tiny.noise(levels, 2 * levels + draw))
        for levels in (2, 6, 16)
        for draw, name in enumerate("ab")
    ),
    Edit("jpeg 85", "tiny", tiny.jpeg(85)),
    Edit("jpeg 60", "tiny", tiny.jpeg(60)),
    Edit("4 bits", "tiny", unkeyed(tiny.four_bits)),
    Edit("blur 0.5", "smooth", _blur(0.5)),
    Edit("blur 1", "smooth", _blur(1.0)),
    Edit("median 3", "smooth", unkeyed(smooth.median)),
    Edit("tv 0.06", "smooth", _tv(0.06)),
    Edit("tv 0.15", "smooth", _tv(0.15)),
    Edit("resize 0.75", "smooth", unkeyed(lambda x: smooth.resized(x, 0.75))),
    Edit("denoise", "smooth", unkeyed(smooth.denoised)),
    Edit("despeckle", "smooth", unkeyed(smooth.despeckled)),
    Edit("deblock", "smooth", unkeyed(smooth.deblocked)),
    Edit("restore chroma", "smooth", unkeyed(smooth.chroma_restored), colour=True),
    Edit("flip", "geometric", unkeyed(places.flip)),
    Edit("shift right", "geometric", places.shift(0, 1)),
    Edit("shift down", "geometric", places.shift(1, 0)),
    Edit("shift left", "geometric", places.shift(0, -1)),
    Edit("shift up", "geometric", places.shift(-1, 0)),
    Edit("stretch", "tone", unkeyed(tone.stretched)),
    Edit("gamma to 0.45", "tone", unkeyed(tone.balanced)),
    Edit("grey", "tone", unkeyed(tone.grey), colour=True),
    Edit("gamma 0.7", "tone", tone.gamma(0.7)),
    Edit("gamma 1.4", "tone", tone.gamma(1.4)),
    Edit("saturation 0.6", "tone", tone.saturation(0.6), colour=True),
    Edit("saturation 1.6", "tone", tone.saturation(1.6), colour=True),
    Edit("unsharp", "sharpen", unkeyed(sharpen.unsharp)),
    Edit("deblur", "sharpen", unkeyed(sharpen.deblurred)),
    *(Edit(f"zoom {size}", "crop", places.crop(size)) for size in (0.85, 0.7, 0.5, 0.35, 0.25)),
    Edit("upper left 0.6", "crop", places.crop(0.6, 0, 0)),
    Edit("upper right 0.6", "crop", places.crop(0.6, 0, 1)),
    Edit("lower left 0.6", "crop", places.crop(0.6, 1, 0)),
    Edit("lower right 0.6", "crop", places.crop(0.6, 1, 1)),
    Edit("left 0.4", "crop", places.crop(0.4, 0.5, 0)),
    Edit("right 0.4", "crop", places.crop(0.4, 0.5, 1)),
)
EDITS: Mapping[str, Edit] = {edit.name: edit for edit in _ALL}

# The 23 small edits under which a prediction survives or not.
SURVIVAL: tuple[str, ...] = (
    *("flip", "shift right", "shift down"),
    *("noise 2/255 a", "noise 2/255 b", "noise 6/255 a", "noise 6/255 b", "noise 16/255 a"),
    *("jpeg 85", "jpeg 60", "4 bits"),
    *("blur 0.5", "blur 1", "median 3", "tv 0.06", "tv 0.15", "resize 0.75"),
    *("stretch", "gamma to 0.45", "grey", "gamma 0.7", "gamma 1.4", "unsharp"),
)
CROPS: tuple[str, ...] = tuple(edit.name for edit in _ALL if edit.family == "crop")


def edited(x: Tensor, keys: Tensor, names: Iterable[str]) -> Tensor:
    """Apply edits to images.

    Args:
        x: (B, C, H, W), float32, in [0, 1]; left untouched.
        keys: (B,) int64, seed of each image's noise.
        names: E names of :data:`EDITS`.

    Returns:
        (E, B, C, H, W), in [0, 1].

    Raises:
        InputError: A name is unknown.
    """
    found = [_find(name) for name in names]
    with torch.no_grad():
        changed = [edit.apply(x, keys) for edit in found]
    return torch.stack(changed) if changed else x.new_empty(0, *x.shape)


def _find(name: str) -> Edit:
    if name not in EDITS:
        known: Sequence[str] = list(EDITS)
        near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)
        raise InputError(f'no edit "{name}"; nearest: "{near[0]}"; the edits are: {", ".join(known)}')
    return EDITS[name]
