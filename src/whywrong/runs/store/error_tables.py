"""Tables about all errors of a large run, written once its predictions are complete, and whether they still hold.

They repeat what follows from listing and predictions, so that questions about errors need not read either.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from whywrong.core.errors import RunFolderError
from whywrong.runs.store.files import open_plain
from whywrong.runs.store.shards import read_facts, shard_indices, shard_name
from whywrong.runs.store.stored_run import StoredRun

LARGE = 100_000  # items beyond which a run has these tables
VERSION = 1  # of their columns and meaning
ERROR_TABLES = ("errors", "pairs", "confidence_bins")
BINS = 640  # of confidence in [0, 1]; a multiple of those that a chart shows, so that they add up exactly
CONFIDENT = 0.9  # confidence from which a prediction counts as confident
_TAIL = 4096  # bytes at the end of a shard, which hold its checksum

# Sums of whole multiples of 2**-30 are exact, so that they do not depend on the order of the rows.
PAIRS = f"""select status, label, predicted, count(*) as images, count_if(near_tie)::bigint as near_ties,
    sum(round(confidence * {2**30})::bigint)::double / {2**30} as confidence_sum, count(confidence) as confidences,
    count_if(confidence >= {CONFIDENT})::bigint as confident from predictions group by all"""
CONFIDENCE_BINS = f"""select predicted <> label as wrong,
    least(cast(floor(confidence * {BINS}) as integer), {BINS - 1}) as bin, count(*) as images
    from predictions where status = 'ok' and label is not null and confidence between 0 and 1 group by all"""


PAIR_SUMS = """select status, label, predicted, sum(images)::bigint as images, sum(near_ties)::bigint as near_ties,
    sum(confidence_sum) as confidence_sum, sum(confidences)::bigint as confidences,
    sum(confident)::bigint as confident from {} group by all order by all"""
BIN_SUMS = "select wrong, bin, sum(images)::bigint as images from {} group by all order by all"


def is_large(run: StoredRun) -> bool:
    """Test whether a run has so many items that it stores these tables."""
    return run.meta["data"]["items"] > LARGE


def error_table(run: StoredRun, name: str) -> Path:
    """Return the path of one of the tables, whether or not it exists."""
    return run.path / "parts" / name / run.meta["predictions"]["hash"] / shard_name(0)


def state_of(run: StoredRun) -> str:
    """Hash the names, sizes and checksums of the shards of listing and predictions."""
    digest = hashlib.blake2b(digest_size=16)
    for folder in (run.items, run.predictions):
        for index in shard_indices(folder):
            with open_plain(folder / shard_name(index)) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                digest.update(f"{folder.name} {index} {size} ".encode() + file.read())
    return digest.hexdigest()


def error_facts(run: StoredRun) -> dict[str, Any] | None:
    """Return the facts of the tables, or None if they do not hold.

    They hold if all exist and follow from the present shards.
    """
    paths = [error_table(run, name) for name in ERROR_TABLES]
    if not all(os.path.lexists(path) for path in paths):
        return None
    facts = [read_facts(path) for path in paths]
    try:
        due = VERSION, state_of(run)
    except OSError as error:
        raise RunFolderError(f"{run.path}: a shard cannot be read ({error.strerror or error})") from error
    return facts[0] if all((one["result_version"], one.get("state")) == due for one in facts) else None
