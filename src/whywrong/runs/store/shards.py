"""Shards of a run: Parquet tables with facts about themselves, and safetensors of dense maps."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whywrong.core.errors import RunFolderError
from whywrong.runs.store.files import BLANK, MARK, check_whole, commit, read_whole

Facts = dict[str, Any]
"""Facts of a shard: ``run`` (identity), ``result_version``, ``seconds``, and those of the stage."""

FACTS_KEY = "whywrong"
SCHEMA_FILE = "schema.parquet"  # no rows, only the columns of a method, for views without any shard
_SEAL = "whywrong.seal"


def write_table(path: Path, table: pa.Table, facts: Facts) -> None:
    """Commit a table, without untyped columns, whose values are all null."""
    untyped = [field.name for field in table.schema if _untyped(field.type)]
    table = table.drop_columns(untyped) if untyped else table
    write_batches(path, table.schema, [table], facts)


def write_batches(path: Path, schema: pa.Schema, batches: Iterable[pa.Table | pa.RecordBatch], facts: Facts) -> None:
    """Commit a table that comes in pieces.

    Only its compressed form is held in memory.
    """
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write(batch)
        # A reason that quotes the mark of the checksum must not be taken for it.
        text = json.dumps(facts, sort_keys=True).replace(MARK.decode(), "seal of whywrong:")
        writer.add_key_value_metadata({FACTS_KEY: text, "seconds": str(facts.get("seconds", 0.0))})
        writer.add_key_value_metadata({_SEAL: (MARK + BLANK).decode()})
    commit(path, buffer.getvalue())


def read_table(path: Path, item_id: str | None = None) -> pa.Table:
    """Read the rows of a shard, or of one item in it.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    with _open_table(path) as file:
        table = file.read()
        return table if item_id is None else table.filter(pc.field("item_id") == item_id)


def read_facts(path: Path) -> Facts:
    """Read the facts of a shard.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    with _open_table(path) as file:
        return json.loads((file.metadata.metadata or {})[FACTS_KEY.encode()])


def read_schema(path: Path) -> pa.Schema:
    """Read the columns of a shard.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    with _open_table(path) as file:
        return file.schema_arrow


def write_maps(path: Path, maps: Mapping[str, np.ndarray], run: str) -> None:
    """Commit dense maps by name ``<item_id>/<map>``.

    ``run`` is the identity of the run.
    """
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in maps.items()}
    commit(path, save(arrays, metadata={"run": run, "seal": (MARK + BLANK).decode()}))


def read_maps(path: Path, items: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Read the maps of some items, or of all, empty if the shard has no maps.

    Raises:
        RunFolderError: The file is damaged.
    """
    from safetensors import safe_open

    if not os.path.lexists(path):
        return {}
    check_whole(path)
    wanted = None if items is None else set(items)
    with _reading(path), safe_open(path, "numpy") as file:
        return {
            name: file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118 - safe_open is not a mapping
            if wanted is None or name.split("/", 1)[0] in wanted
        }


def run_of(path: Path) -> str | None:
    """Read the identity of the run to which a shard, or its maps, belong.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    from safetensors import safe_open

    if path.suffix != ".safetensors":
        return read_facts(path).get("run")
    check_whole(path)
    with _reading(path), safe_open(path, "numpy") as file:
        return (file.metadata() or {}).get("run")


def shard_name(index: int, suffix: str = ".parquet") -> str:
    """Return the file name of a shard."""
    return f"{index:05d}{suffix}"


def shard_indices(folder: Path, suffix: str = ".parquet") -> list[int]:
    """List the indices of the shards in a folder, ascending.

    Empty if there is no folder.
    """
    if not folder.is_dir():
        return []
    return sorted(int(path.stem) for path in folder.iterdir() if path.suffix == suffix and path.stem.isdigit())


def _untyped(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _untyped(kind.value_type)
    if pa.types.is_struct(kind):
        return any(_untyped(kind.field(i).type) for i in range(kind.num_fields))
    return pa.types.is_null(kind)


@contextmanager
def _open_table(path: Path) -> Iterator[pq.ParquetFile]:
    """Yield a shard that equals what was committed."""
    content = read_whole(path)
    with _reading(path), pq.ParquetFile(pa.BufferReader(content)) as file:
        yield file


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Convert any error of a parser on a shard to one that says what to do."""
    try:
        yield
    except RunFolderError:
        raise
    except Exception as error:  # intact files that no run would write: the parsers may raise anything
        raise RunFolderError(f"{path}: the shard is damaged ({error}); run diagnose again, which redoes it") from error
