"""Controls for errors: correctly classified images, with their runner-up as the label.

A similar class is easier to reach than a distant one, so controls are matched to the errors by the margin of the
class asked for. Some images are held out: every report states how often the test confirms them. The matching is ours;
the page of each method that has controls argues it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa

from whywrong.core.discoveries import ENOUGH_CONTROLS
from whywrong.core.matching import match_nearest
from whywrong.runs.folder import RunFolder
from whywrong.runs.queries.errors import shards_of

PER_ERROR = 2  # controls matched to each error
HELD_OUT = 0.4  # share of the correctly classified images not used as controls
HELD_OUT_COUNT = 100, 200  # fewest and most of them that are tested; in between, one per error
_SMALLEST = 1e-9  # logits; a tie has no logarithm


def select_controls(
    run: RunFolder, asked: Mapping[int, Collection[str]], seed: int
) -> dict[int, frozenset[tuple[str, bool]]]:
    """Choose controls for the errors of a method from the stored predictions.

    The choice depends only on these errors, the predictions and the seed, so that a resumed run uses the same controls.

    Args:
        run: The run, its predictions complete.
        asked: Errors by shard.
        seed: Seed of which images are held out.

    Returns:
        By shard: correctly classified items, and whether each is held out. Empty if the model gives no scores.
    """
    wanted = {item for items in asked.values() for item in items}
    table = run.query(
        """select item_id, abs(margin) as margin, label = predicted as is_right from predictions
        where status = 'ok' and label is not null and margin is not null and same_as is null order by item_id"""
    )
    items, margins, right = _columns(table)
    asked_about = np.fromiter((item in wanted for item in items), bool, len(items)) & ~right
    errors, pool = margins[asked_about], right.nonzero()[0]
    held_out = _held_out(items[pool], seed)
    least, most = HELD_OUT_COUNT
    if (~held_out).sum() < ENOUGH_CONTROLS:  # then all are used
        least = most = len(pool)
    counts = {False: max(PER_ERROR * len(errors), ENOUGH_CONTROLS), True: min(max(len(errors), least), most)}
    chosen: dict[str, bool] = {}
    for kept_apart, count in counts.items():
        part = pool[held_out == kept_apart]
        picked = part[match_nearest(errors, margins[part], count)]
        chosen |= dict.fromkeys(items[picked].tolist(), kept_apart)
    found: dict[int, set[tuple[str, bool]]] = {}
    for item, shard in shards_of(run, chosen).items():
        found.setdefault(shard, set()).add((item, chosen[item]))
    return {shard: frozenset(pairs) for shard, pairs in found.items()}


def _columns(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return items (N,), log margins (N,), and whether each is correctly classified (N,) bool."""
    items = np.array(table["item_id"].to_pylist(), dtype=object)
    margins = np.maximum(table["margin"].to_numpy().astype(np.float64), _SMALLEST)
    return items, np.log(margins), table["is_right"].to_numpy(zero_copy_only=False).astype(bool)


def _held_out(items: Sequence[str] | np.ndarray, seed: int) -> np.ndarray:
    """Select the held-out items, (N,) bool, by a hash of seed and item."""
    from whywrong.core.randomness import item_keys

    if not len(items):
        return np.zeros(0, bool)
    bits = item_keys(seed, list(items), "held out").numpy()
    return (bits & 0xFFFFFF) < HELD_OUT * (1 << 24)
