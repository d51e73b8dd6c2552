"""Where errors and items are stored, and the tables about all errors of a large run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import Any

import duckdb
import pyarrow as pa

from whywrong.runs.queries.readonly import RunFiles
from whywrong.runs.queries.sql import quoted
from whywrong.runs.queries.views import ERRORS, connect, define_predictions, open_views, rows_of
from whywrong.runs.store.error_tables import (
    BIN_SUMS,
    CONFIDENCE_BINS,
    ERROR_TABLES,
    PAIR_SUMS,
    PAIRS,
    VERSION,
    error_facts,
    error_table,
    state_of,
)
from whywrong.runs.store.layout import scratch_folder
from whywrong.runs.store.schemas import ITEMS, PREDICTIONS
from whywrong.runs.store.shards import write_batches
from whywrong.runs.store.stored_run import StoredRun

_SHARDS = 32  # joined at a time
_ROWS = 65_536  # of a stored table that are held at a time


def places(run: StoredRun, items: Collection[str] | None = None) -> list[tuple[str, int, str]]:
    """Return item_id and place of some errors, or of all.

    The place is its shard, and the item under which its evidence is stored.
    """
    stored = error_facts(run) is not None
    connection, files = open_views(run, stored_only=stored)
    with connection:
        if stored:
            address = quoted(files.address(error_table(run, "errors")))
            found = f"select item_id, shard, stored_as from read_parquet({address})"
        else:
            found = error_places(rows_of(connection, files, run.items, ITEMS))
        if items is None:
            return connection.execute(found).fetchall()
        connection.register("_wanted", pa.table({"item_id": pa.array(sorted(items), pa.string())}))
        return connection.execute(f"select f.* from ({found}) f semi join _wanted using (item_id)").fetchall()


def error_places(items: str) -> str:
    """Make a SELECT of the errors with their places.

    Columns ``item_id``, ``shard``, and ``stored_as``: the item under which its evidence is stored.

    Args:
        items: SELECT of the listing.
    """
    return f"""select e.item_id, o.shard, o.item_id as stored_as from errors e
        join ({items}) o on o.item_id = coalesce(e.same_as, e.item_id)"""


def write_error_tables(run: StoredRun, facts: Mapping[str, Any]) -> None:
    """Store the tables about all errors, unless they are there and hold.

    Args:
        run: The run, its predictions complete.
        facts: Facts for every shard.
    """
    if error_facts(run) is not None:
        return
    for name in ERROR_TABLES:
        error_table(run, name).unlink(missing_ok=True)
    with scratch_folder(run.path) as spill:
        connection, files = open_views(run, stored_only=True, spill=spill)
        with connection:
            _write(run, connection, files, facts)


def _write(run: StoredRun, connection: duckdb.DuckDBPyConnection, files: RunFiles, facts: Mapping[str, Any]) -> None:
    listed = rows_of(connection, files, run.items, ITEMS)
    repeats = connection.execute(f"select count(same_as) from ({listed})").fetchall()[0][0]
    of_run = {**facts, "result_version": VERSION, "state": state_of(run), "distinct": not repeats}
    errors = _errors(run, connection, files, distinct=not repeats)
    first = next(errors)
    write_batches(error_table(run, "errors"), first.schema, chain([first], errors), of_run)
    for name, sums in (("pairs", PAIR_SUMS), ("confidence_bins", BIN_SUMS)):
        rows = connection.sql(sums.format(f"_{name}")).to_arrow_table()
        write_batches(error_table(run, name), rows.schema, [rows], of_run)


def _errors(
    run: StoredRun, connection: duckdb.DuckDBPyConnection, files: RunFiles, *, distinct: bool
) -> Iterator[pa.Table | pa.RecordBatch]:
    """Yield the errors, first a table without rows, and count pairs and bins on the way.

    Without repeated images every shard answers for itself, so that memory does not grow with the run.
    """
    shards = run.shards()
    size = _SHARDS if distinct else max(1, len(shards))
    for start in range(0, max(1, len(shards)), size):
        part = shards[start : start + size]
        listed = rows_of(connection, files, run.items, ITEMS, part)
        predicted = rows_of(connection, files, run.predictions, PREDICTIONS, part)
        define_predictions(connection, listed, predicted, distinct=distinct)
        connection.execute(f"create or replace view errors as {ERRORS}")
        for name, counted in (("pairs", PAIRS), ("confidence_bins", CONFIDENCE_BINS)):
            connection.execute(f"create table if not exists _{name} as select * from ({counted}) limit 0")
            connection.execute(f"insert into _{name} {counted}")
        sql = f"""select e.*, l.shard, l.stored_as from errors e join ({error_places(listed)}) l using (item_id)
            order by label, predicted, item_id"""
        rows = connection.sql(sql).to_arrow_reader(_ROWS)
        if start == 0:
            yield rows.schema.empty_table()
        yield from rows


def shards_of(run: StoredRun, items: Collection[str]) -> dict[str, int]:
    """Return the shard of each of some items of the listing."""
    with connect(run) as connection:
        connection.register("_wanted", pa.table({"item_id": pa.array(sorted(items), pa.string())}))
        rows = rows_of(connection, RunFiles(run.path), run.items, ITEMS)
        return dict(
            connection.execute(f"select item_id, shard from ({rows}) semi join _wanted using (item_id)").fetchall()
        )
