"""The listing of a run: items in shards of fixed membership, with duplicates and changes found.

Membership survives changes of the data: an item keeps its shard, and new items fill free places and then new shards.
Items whose content was read keep its digest, which tells whether stored predictions are still valid.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from whywrong.core.errors import BadItemError, EnvironmentFailure
from whywrong.data.files import to_text
from whywrong.data.items import image_id_of
from whywrong.data.sources.base import Entry, Source
from whywrong.runs.folder import RunFolder
from whywrong.runs.store.layout import scratch_folder
from whywrong.runs.store.schemas import ITEMS, UNREADABLE
from whywrong.runs.store.shards import read_table, shard_name, write_table

_CHUNK = 4096  # entries processed at a time
_TWIN = "size, label_text, x_min, y_min, x_max, y_max, mask"  # what duplicates have in common besides their content

_LISTED = pa.schema([*(f for f in ITEMS if f.name not in ("same_as", "digest")), pa.field("position", pa.int64())])
_DIGESTS = pa.schema({"position": pa.int64(), "digest": pa.string()})


def write_listing(
    run: RunFolder, source: Source, classes: Mapping[str, int], *, shard_size: int, facts: dict[str, Any]
) -> int:
    """List the source, for the first time or again, and commit changed shards.

    Args:
        run: The run.
        source: Source of the entries.
        classes: Label, as written in the data, to class.
        shard_size: Items of a full shard.
        facts: Facts for every shard.

    Returns:
        Number of items.

    Raises:
        EnvironmentFailure: The disk is full or fails.
    """
    try:
        with scratch_folder(run.path) as scratch, duckdb.connect() as connection:
            listed, digests = scratch / "listed", scratch / "digests"
            connection.execute(f"SET temp_directory = '{_sql(scratch / 'spill')}'")
            connection.execute("SET memory_limit = '128MB'; SET threads = 1; SET preserve_insertion_order = false")
            _write_stream(listed, _LISTED, _entries(source, classes))
            _open(connection, run, listed)
            _write_stream(digests, _DIGESTS, _looks(connection, source))
            connection.execute(f"create view digests as select * from read_parquet('{_sql(digests)}')")
            _assign_shards(connection, shard_size)
            return _write_shards(connection, run, facts)
    except (OSError, duckdb.IOException) as error:
        raise EnvironmentFailure(f"{run.path}: writing the listing failed ({error})") from error


def entry_of(row: Mapping[str, Any]) -> Entry:
    """Return the source's entry of a row of the listing."""
    raw = json.loads(row["raw"]) if row["raw"] else {"key": row["key"], "label": row["label_text"], "mask": row["mask"]}
    box: Any = tuple(row[name] for name in ("x_min", "y_min", "x_max", "y_max"))
    return Entry(
        **raw, size=row["size"], mtime_ns=row["mtime_ns"], box=None if box[0] is None else box, cause=row["cause"]
    )  # type: ignore[arg-type]


# Pass 1: the entries.


def _entries(source: Source, classes: Mapping[str, int]) -> Iterator[pa.Table]:
    entries = enumerate(source.entries())
    while chunk := list(islice(entries, _CHUNK)):
        yield pa.Table.from_pylist([_row(position, entry, classes) for position, entry in chunk], schema=_LISTED)


def _row(position: int, entry: Entry, classes: Mapping[str, int]) -> dict[str, Any]:
    raw = {"key": entry.key, "label": entry.label, "mask": entry.mask}
    shown = {name: None if text is None else to_text(text) for name, text in raw.items()}
    box = entry.box or (None, None, None, None)
    return {
        "item_id": entry.item_id,
        "key": shown["key"],
        "label_text": shown["label"],
        "label": None if entry.label is None else classes[entry.label],
        "size": entry.size,
        "mtime_ns": entry.mtime_ns,
        **dict(zip(("x_min", "y_min", "x_max", "y_max"), box, strict=True)),
        "mask": shown["mask"],
        "cause": None if entry.cause is None else to_text(entry.cause),
        "raw": None if raw == shown else json.dumps(raw),
        "position": position,
    }


def _open(connection: duckdb.DuckDBPyConnection, run: RunFolder, listed: Path) -> None:
    """Make the views ``listed``, the new listing, ``former``, the stored one, and ``joined``, both together."""
    connection.execute(f"create view listed as select * from read_parquet('{_sql(listed)}')")
    files = ", ".join(f"'{_sql(run.items / shard_name(index))}'" for index in run.shards())
    former = ", ".join(f"null::{'bigint' if name in ('size', 'mtime_ns', 'shard') else 'varchar'} as {name}" for name in
                       ("item_id", "size", "mtime_ns", "same_as", "digest", "shard"))  # fmt: skip
    rows = f"select {former} where false"
    if files:
        rows = (
            "select item_id, size, mtime_ns, same_as, digest, "
            "regexp_extract(filename, '([0-9]+)\\.parquet$', 1)::bigint as shard "
            f"from read_parquet([{files}], filename = true)"
        )
    connection.execute(f"create view former as {rows}")
    connection.execute(
        f"""create view joined as select l.*, f.item_id is not null as known, f.shard as former_shard,
            f.same_as as former_same_as, f.digest as former_digest,
            f.item_id is not null and (f.size <> l.size or f.mtime_ns <> l.mtime_ns) as touched,
            count(*) over (partition by {", ".join("l." + name for name in _TWIN.split(", "))}) > 1 as twin
        from listed l left join former f using (item_id)"""
    )


# Pass 2: the content of possible duplicates and changed items.


def _looks(connection: duckdb.DuckDBPyConnection, source: Source) -> Iterator[pa.Table]:
    rows = connection.sql(
        """select l.* from listed l join joined j using (position)
        where j.touched or (j.twin and j.former_digest is null) order by position"""
    ).to_arrow_reader(_CHUNK)
    for batch in rows:
        looked = [(row["position"], _look(source, row)) for row in batch.to_pylist()]
        yield pa.Table.from_pylist([{"position": p, "digest": d} for p, d in looked], schema=_DIGESTS)


def _look(source: Source, row: Mapping[str, Any]) -> str:
    try:
        return image_id_of(source.read(entry_of(row)))
    except BadItemError:  # it becomes a failed item later
        return UNREADABLE


# Pass 3: shards.


def _assign_shards(connection: duckdb.DuckDBPyConnection, shard_size: int) -> None:
    counts = dict(connection.execute("select former_shard, count(*) from joined where known group by all").fetchall())
    end = connection.execute("select coalesce(max(shard), -1) from former").fetchall()[0][0]
    free = [(shard, shard_size - counts.get(shard, 0)) for shard in range(end + 1)]
    # Holes are shards that were lost; the last shard may not be full yet.
    free = [(shard, places) for shard, places in free if places > 0 and (shard not in counts or shard == end)]
    slots, start = [], 0
    for shard, places in free:
        slots.append({"first": start, "beyond": start + places, "slot": shard})
        start += places
    schema = pa.schema({"first": pa.int64(), "beyond": pa.int64(), "slot": pa.int64()})
    connection.register("slots", pa.Table.from_pylist(slots, schema=schema))
    connection.execute(
        f"""create view placed as select n.*, coalesce(n.former_shard, s.slot,
            {end + 1} + (n.place - {start}) // {shard_size}) as shard
        from (select *, case when known then null
            else row_number() over (partition by known order by position) - 1 end as place from joined) n
        left join slots s on n.place >= s.first and n.place < s.beyond"""
    )


def _write_shards(connection: duckdb.DuckDBPyConnection, run: RunFolder, facts: dict[str, Any]) -> int:
    twins = f"partition by {_TWIN}, digest order by not known, former_same_as is not null, item_id"
    columns = ", ".join(name for name in ITEMS.names if name not in ("same_as", "digest"))
    reader = connection.sql(
        f"""select {columns}, digest, shard, case when digest <> '{UNREADABLE}' and twin
                and item_id <> first_value(item_id) over twins then first_value(item_id) over twins end as same_as
        from (select p.* exclude (shard), p.shard, case when p.touched then d.digest
                else coalesce(d.digest, p.former_digest) end as digest
            from placed p left join digests d using (position))
        window twins as ({twins})
        order by shard, position"""
    ).to_arrow_reader(_CHUNK)
    written, total = set(), 0
    for shard, table in _by_shard(reader):
        _write_if_new(run.items / shard_name(shard), table.select(ITEMS.names).cast(ITEMS), facts)
        written.add(shard)
        total += len(table)
    for shard in set(run.shards()) - written:  # all its items were removed from the data
        _write_if_new(run.items / shard_name(shard), ITEMS.empty_table(), facts)
    return total


def _by_shard(reader: pa.RecordBatchReader) -> Iterator[tuple[int, pa.Table]]:
    """Yield one table per shard, from rows ordered by shard."""
    held: list[pa.RecordBatch] = []
    current: int | None = None
    for batch in reader:
        shards = batch.column("shard").to_numpy()
        edges = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(shards)]
        for start, stop in pairwise(edges):
            if start == stop:
                continue
            if current is not None and shards[start] != current:
                yield current, pa.Table.from_batches(held)
                held = []
            current = int(shards[start])
            held.append(batch.slice(start, stop - start))
    if current is not None:
        yield current, pa.Table.from_batches(held)


def _write_if_new(path: Path, table: pa.Table, facts: dict[str, Any]) -> None:
    if not path.exists() or not read_table(path).equals(table):
        write_table(path, table, facts)


def _write_stream(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    with pq.ParquetWriter(path, schema) as writer:
        for table in tables:
            writer.write_table(table)


def _sql(path: Path) -> str:
    return str(path.resolve()).replace("'", "''")
