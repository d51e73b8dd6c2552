"""DuckDB views of a run: in memory, read-only, confined to the run folder, typed before anything is there."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import duckdb
import pyarrow as pa

from whywrong.core.columns import shown_as_rows
from whywrong.core.errors import RunFolderError
from whywrong.runs.folder import RunFolder
from whywrong.runs.schemas import FAILED_ITEMS, ITEMS, KEYS, PREDICTIONS, UNREADABLE
from whywrong.runs.shards import FACTS_KEY, SCHEMA_FILE, read_schema, shard_indices, shard_name

_SHARD = "regexp_extract(filename, '([0-9]+)\\.parquet$', 1)::integer as shard"


def connect(run: RunFolder) -> duckdb.DuckDBPyConnection:
    """A connection with all views of ``run``, which can reach its folder and no other file.

    Raises:
        RunFolderError: A shard is damaged.
    """
    connection = duckdb.connect()
    try:
        _define(connection, run)
    except duckdb.Error as error:
        connection.close()
        raise RunFolderError(
            f"{run.path}: a shard is missing or damaged ({error}); run diagnose again, which redoes it"
        ) from error
    return connection


def _define(connection: duckdb.DuckDBPyConnection, run: RunFolder) -> None:
    connection.execute("SET temp_directory = ''; SET threads = 2")
    _classes(connection, run)
    items = _rows(connection, run.items, ITEMS)
    connection.execute(
        f"""create view items as select i.* exclude (shard, digest, raw), c.name as label_name
        from ({items}) i left join classes c on c.index = i.label"""
    )
    # A row counts while it agrees with the listing; a duplicate shows the row of the item that it equals.
    connection.execute(
        f"""create view predictions as select i.item_id, i.key, i.label, c.name as label_name,
            p.predicted, d.name as predicted_name, i.same_as, p.* exclude (item_id, label, predicted, shard)
        from ({items}) i
        join ({items}) o on o.item_id = coalesce(i.same_as, i.item_id)
        join ({_rows(connection, run.predictions, PREDICTIONS)}) p on p.item_id = o.item_id and p.shard = o.shard
            and p.label is not distinct from o.label
            and (o.digest is null or o.digest = coalesce(p.image_id, '{UNREADABLE}'))
        left join classes c on c.index = i.label
        left join classes d on d.index = p.predicted"""
    )
    connection.execute(
        """create view errors as select * exclude (status, stage, reason) from predictions
        where status = 'ok' and label is not null and predicted <> label"""
    )
    for name in run.meta["methods"]:
        _method(connection, run, name, items)
    _failed_items(connection, run)
    _spurious(connection, run)
    connection.execute(f"SET allowed_directories = [{_quoted(str(run.path.resolve()))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def places(run: RunFolder) -> list[tuple[str, int, str]]:
    """Of every error: item_id, its shard, and the item under which its evidence is stored."""
    with connect(run) as connection:
        items = _rows(connection, run.items, ITEMS)
        return connection.execute(
            f"""select e.item_id, o.shard, o.item_id from errors e
            join ({items}) o on o.item_id = coalesce(e.same_as, e.item_id)"""
        ).fetchall()


def _rows(connection: duckdb.DuckDBPyConnection, folder: Path, schema: pa.Schema) -> str:
    """SELECT over the shards in ``folder``, with their number; no rows of these columns where there are none."""
    connection.register("_empty", schema.append(pa.field("shard", pa.int32())).empty_table())
    columns = [(row[0], row[1]) for row in connection.execute("describe _empty").fetchall()]
    connection.unregister("_empty")
    rows = "select " + ", ".join(f"null::{kind} as {_identifier(name)}" for name, kind in columns) + " where false"
    paths = [_quoted(str(folder.resolve() / shard_name(index))) for index in shard_indices(folder)]
    if not paths:
        return rows
    return (
        f"{rows} union all by name select * exclude (filename), {_SHARD} "
        f"from read_parquet([{', '.join(paths)}], union_by_name = true, filename = true)"
    )


def _classes(connection: duckdb.DuckDBPyConnection, run: RunFolder) -> None:
    names = run.class_names
    wnids = run.meta["model"].get("wnids") or [None] * len(names)
    columns = {"index": (range(len(names)), pa.int64()), "name": (names, pa.string()), "wnid": (wnids, pa.string())}
    table = pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()})
    connection.register("_classes", table)
    connection.execute("create table classes as select * from _classes")
    connection.unregister("_classes")


def _method(connection: duckdb.DuckDBPyConnection, run: RunFolder, name: str, items: str) -> None:
    """The view of one method: its own columns behind those that say which error a row is about."""
    folder = run.parts(name)
    declared = read_schema(folder / SCHEMA_FILE) if (folder / SCHEMA_FILE).exists() else KEYS
    rows = _rows(connection, folder, declared)
    columns = [row[0] for row in connection.execute(f"describe {rows}").fetchall()]
    lists = shown_as_rows(declared)
    own = "".join(f", {_own(column, lists)}" for column in columns if column not in (*KEYS.names, "shard"))
    connection.execute(
        f"""create view {_identifier(name)} as select e.item_id, e.image_id, e.key, e.label, e.label_name,
            e.predicted, e.predicted_name{own}
        from errors e join ({items}) o on o.item_id = coalesce(e.same_as, e.item_id)
        join ({rows}) m on m.item_id = o.item_id and m.shard = o.shard and m.image_id = e.image_id
            and m.label = e.label and m.predicted = e.predicted"""
    )


def _spurious(connection: duckdb.DuckDBPyConnection, run: RunFolder) -> None:
    """What `whywrong spurious` wrote into the folder: classes and components, not items. Pictures stay in the files."""
    components, changes = (run.path / "spurious" / f"{name}.parquet" for name in ("components", "changes"))
    if components.exists():
        connection.execute(f"create view spurious as select * from read_parquet({_quoted(str(components.resolve()))})")
    if changes.exists():
        connection.execute(
            f"""create view spurious_changes as
            select * exclude (mean_change, crops, crop, before, after, crop_before, crop_after) from (
                select *, unnest(crop) from (
                    select *, unnest(case when len(crops) > 0 then crops else [null] end) as crop
                    from read_parquet({_quoted(str(changes.resolve()))})))"""
        )


def _own(column: str, lists: Collection[str]) -> str:
    """A column of a method's view; lists that belong together become rows, side by side."""
    name = _identifier(column)
    return (
        f"unnest(case when len(m.{name}) > 0 then m.{name} else [null] end) as {name}"
        if column in lists
        else f"m.{name}"
    )


def _failed_items(connection: duckdb.DuckDBPyConnection, run: RunFolder) -> None:
    """Items that could not be read or predicted, and errors on which a method failed, which its shards name."""
    columns = ", ".join(FAILED_ITEMS.names)
    parts = [f"select {columns} from predictions where status = 'failed'"]
    for name in run.meta["methods"]:
        folder = run.parts(name)
        paths = [_quoted(str(folder.resolve() / shard_name(index))) for index in shard_indices(folder)]
        if paths:
            parts.append(
                f"""select e.item_id, e.key, {_quoted(name)}, f.failed.value[2]
                from (select unnest(map_entries(from_json(json_extract(decode(value), '$.failed'),
                        '"MAP(VARCHAR, VARCHAR[])"'))) as failed
                    from parquet_kv_metadata([{", ".join(paths)}]) where decode(key) = {_quoted(FACTS_KEY)}) f
                join errors e on coalesce(e.same_as, e.item_id) = f.failed.key and e.image_id = f.failed.value[1]"""
            )
    connection.execute(f"create view failed_items as {' union all '.join(parts)}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
