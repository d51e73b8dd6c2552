"""Fixes that a method of the run stored, for methods that compare errors with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from whywrong.core.registry import methods
from whywrong.runs.store.shards import read_maps, shard_name
from whywrong.runs.store.stored_run import StoredRun


def stored_fixes(run: StoredRun, shard: int, items: Sequence[str], x: Tensor) -> Tensor:
    """Read the stored fixes of items of one shard.

    A fix whose stored image differs from the image at hand is not used: the image has changed since.

    Args:
        run: The run.
        shard: Index of the shard.
        items: Names of the items, in the order of the images.
        x: (B, C, H, W) float32 in [0, 1], the images, in whole grey levels.

    Returns:
        (B, C, H, W) float32, on the device of the images; NaN in rows without a fix.
    """
    fixes = torch.full_like(x, torch.nan)
    for name, method in methods().items():
        if "fixes" not in method.gives or name not in run.meta["methods"]:
            continue
        maps = read_maps(run.map_files(name) / shard_name(shard, ".safetensors"), items)
        found = [i for i, item in enumerate(items) if f"{item}/fix_u8" in maps and f"{item}/image_u8" in maps]
        shape = tuple(x.shape[1:])
        found = [i for i in found if maps[f"{items[i]}/fix_u8"].shape == maps[f"{items[i]}/image_u8"].shape == shape]
        if not found:
            continue
        rows = torch.tensor(found, device=x.device)
        fix, image = (
            torch.from_numpy(np.stack([maps[f"{items[i]}/{kind}"] for i in found])).to(x.device).float().div_(255)
            for kind in ("fix_u8", "image_u8")
        )
        same = (image == x[rows]).flatten(1).all(1)
        fixes[rows[same]] = fix[same]
    return fixes
