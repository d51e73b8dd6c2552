"""Select the errors to explain in full, and count predictions, from those of the run."""

from __future__ import annotations

from typing import Any

import numpy as np

from whywrong.runs.folder import RunFolder


def select_details(run: RunFolder, limit: int) -> dict[int, frozenset[str]]:
    """Select at most ``limit`` errors, by shard, spread over the class pairs.

    First one of every pair, then a second of every pair, and so on. Pairs and errors are in the order of ``item_id``,
    which is a hash: neither the order of the listing nor the batches matter, and a higher limit only adds errors.
    """
    if limit == 0:
        return {}
    chosen = run.query(
        f"""with ranked as (select item_id,
            row_number() over (partition by label, predicted order by item_id) as turn
            from errors where same_as is null)
        select item_id from ranked order by turn, item_id limit {limit}"""
    )["item_id"].to_pylist()
    return {shard: frozenset(items) for shard, items in run.locate(chosen).items()}


def last_of_sample(run: RunFolder, images: int) -> str | None:
    """Return the largest ``item_id`` of the first ``images`` items in its order.

    None if the run has no more items. ``item_id`` is a hash of the item's key, so this is a random sample, whatever the
    order of the listing; a larger sample contains a smaller one.
    """
    table = run.query(f"select item_id from items where same_as is null order by item_id limit 1 offset {images - 1}")
    return table["item_id"][0].as_py() if len(table) else None


def count_reason(run: RunFolder, reason: str) -> int:
    """Count the computed items that failed for ``reason``."""
    quoted = reason.replace("'", "''")
    sql = f"select count(*) as n from predictions where same_as is null and reason = '{quoted}'"
    return run.query(sql)["n"][0].as_py()


def labelled_predictions(run: RunFolder) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted and true classes of all labelled items, (N,) int64 each."""
    table = run.query("select predicted, label from predictions where status = 'ok' and label is not null")
    columns: list[Any] = [table[name].to_numpy().astype(np.int64) for name in ("predicted", "label")]
    return columns[0], columns[1]
