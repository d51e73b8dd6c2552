"""Columns of the tables that a run itself writes, and the key columns of every method's table."""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 1
PREDICTIONS_VERSION = 2
SHARD_SIZE = 256
UNREADABLE = "unreadable"  # digest of an item that the listing could not read

ITEMS = pa.schema(
    {
        "item_id": pa.string(),
        "key": pa.string(),  # as text; if not UTF-8, it is escaped, and in full in `raw`
        "label_text": pa.string(),
        "label": pa.int64(),
        "size": pa.int64(),
        "mtime_ns": pa.int64(),
        "same_as": pa.string(),
        "x_min": pa.int64(),
        "y_min": pa.int64(),
        "x_max": pa.int64(),
        "y_max": pa.int64(),
        "mask": pa.string(),
        "cause": pa.string(),  # of a planted mistake, in words
        "digest": pa.string(),  # SHA-256 of the content, if the listing had to read it
        "raw": pa.string(),  # JSON of key, label and mask if one of them is not UTF-8
    }
)

PREDICTIONS = pa.schema(
    {
        "item_id": pa.string(),
        "image_id": pa.string(),
        "label": pa.int64(),
        "status": pa.string(),  # ok | failed
        "stage": pa.string(),  # read | predict, where it failed
        "reason": pa.string(),
        "predicted": pa.int64(),
        "confidence": pa.float64(),
        "true_confidence": pa.float64(),
        "rank_of_true": pa.int64(),
        "margin": pa.float64(),
        "rival": pa.int64(),  # best class but the predicted one and the target: an error's label, else the runner-up
        "lead": pa.float64(),  # how much farther off in logits it is than the target, as a factor
        "random_lead": pa.float64(),  # the same for one of the nine next-scoring classes, drawn at random
        "near_tie": pa.bool_(),
        "top5": pa.list_(pa.int64()),
        "top5_confidence": pa.list_(pa.float64()),
        "width": pa.int64(),
        "height": pa.int64(),
        "notes": pa.list_(pa.string()),
    }
)

THUMBS = pa.schema(
    {
        "item_id": pa.string(),
        "image_id": pa.string(),
        "jpeg": pa.binary(),
        "width": pa.int64(),
        "height": pa.int64(),
        "x0": pa.float64(),
        "y0": pa.float64(),
        "x1": pa.float64(),
        "y1": pa.float64(),
    }
)

KEYS = pa.schema({"item_id": pa.string(), "image_id": pa.string(), "label": pa.int64(), "predicted": pa.int64()})

FAILED_ITEMS = pa.schema({"item_id": pa.string(), "key": pa.string(), "stage": pa.string(), "reason": pa.string()})
