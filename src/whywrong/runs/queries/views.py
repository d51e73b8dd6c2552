"""DuckDB views of a run: in memory, read-only, confined to its files, and typed even if empty."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from whywrong.core.errors import RunFolderError
from whywrong.core.registry import analyses
from whywrong.core.result import kept_whole, shown_as_rows
from whywrong.core.status import FORMER, Status
from whywrong.data.files import to_text
from whywrong.runs.queries.comparisons import SAME_ERROR, define_controls, define_runner_up
from whywrong.runs.queries.readonly import PROTOCOL, RunFiles
from whywrong.runs.queries.sql import identifier as _identifier
from whywrong.runs.queries.sql import quoted as _quoted
from whywrong.runs.store.error_tables import ERROR_TABLES, error_facts, error_table
from whywrong.runs.store.files import check_whole
from whywrong.runs.store.results import result_path
from whywrong.runs.store.schemas import FAILED_ITEMS, ITEMS, KEYS, PREDICTIONS, UNREADABLE
from whywrong.runs.store.shards import FACTS_KEY, SCHEMA_FILE, read_schema, shard_indices, shard_name
from whywrong.runs.store.stored_run import StoredRun

_open: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
ERRORS = """select * exclude (status, stage, reason) from predictions
    where status = 'ok' and label is not null and predicted <> label"""
_SPILL_BEYOND = "250MB"
_REDO = "run the same diagnose again, which redoes it"
_SHARD = "regexp_extract(filename, '([0-9]+)\\.parquet$', 1)::integer as shard"


def connect(run: StoredRun) -> duckdb.DuckDBPyConnection:
    """Open all views of a run, see :func:`open_views`."""
    return open_views(run)[0]


def open_views(
    run: StoredRun, *, stored_only: bool = False, spill: Path | None = None
) -> tuple[duckdb.DuckDBPyConnection, RunFiles]:
    """Open a connection with all views of ``run``, confined to the files of this run.

    Args:
        run: The run.
        stored_only: Whether to define only ``classes`` and the stored tables about errors, which are quick to open.
        spill: Folder for intermediate results beyond 250 MB; None keeps all in memory.

    Returns:
        The connection, and the files that it reads.

    Raises:
        RunFolderError: A file of the run is missing or damaged.
    """
    files = RunFiles(run.path)
    connection = duckdb.connect()
    _open.add(connection)
    try:
        connection.register_filesystem(files)
        connection.execute(f"SET temp_directory = {_quoted(str(spill or ''))}")
        connection.execute("SET threads = 2; SET python_enable_replacements = false")
        if spill is not None:
            connection.execute(
                f"SET memory_limit = '{_SPILL_BEYOND}'; SET preserve_insertion_order = false; SET threads = 1"
            )
        _classes(connection, run)
        facts = error_facts(run)
        if facts is not None:
            _error_tables(connection, run, files)
        if not stored_only:
            _define(connection, run, files, facts)
            _check_complete(connection, run)
        connection.execute(f"SET allowed_directories = ['{PROTOCOL}://']")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise files.problem or RunFolderError(
            f"{run.path}: a shard is damaged ({_first_line(error)}); run diagnose again, which redoes it"
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection, files


@atexit.register
def _close_all() -> None:
    """Close connections at exit, as DuckDB complains on stderr if they outlive the interpreter."""
    for connection in list(_open):
        connection.close()


def _error_tables(connection: duckdb.DuckDBPyConnection, run: StoredRun, files: RunFiles) -> None:
    """Define views of the stored tables about errors."""
    for name in ERROR_TABLES:
        address = _quoted(files.address(error_table(run, name)))
        hidden = " exclude (shard, stored_as)" if name == "errors" else ""
        connection.execute(f"create view {name} as select *{hidden} from read_parquet({address})")


def _define(
    connection: duckdb.DuckDBPyConnection, run: StoredRun, files: RunFiles, facts: Mapping[str, Any] | None
) -> None:
    items = rows_of(connection, files, run.items, ITEMS)
    connection.execute(
        f"""create view items as select i.* exclude (shard, digest, raw), c.name as label_name
        from ({items}) i left join classes c on c.index = i.label"""
    )
    predicted = rows_of(connection, files, run.predictions, PREDICTIONS)
    define_predictions(connection, items, predicted, distinct=facts is not None and facts["distinct"])
    if facts is None:
        connection.execute(f"create view errors as {ERRORS}")
    define_runner_up(connection)
    for name in run.meta["methods"]:
        _method(connection, files, run, name, items)
    _failed_items(connection, files, run)
    _analyses(connection, files, run)


def define_predictions(connection: duckdb.DuckDBPyConnection, items: str, predicted: str, *, distinct: bool) -> None:
    """Define view ``predictions`` over some shards.

    A row is valid if it agrees with the listing; a duplicate shows the row of the item that it equals.

    Args:
        connection: With the table ``classes``.
        items: SELECT of the listing.
        predicted: SELECT of the predictions.
        distinct: Whether no item repeats another.
    """
    connection.execute(
        f"""create or replace view predictions as select i.item_id, i.key, i.label, c.name as label_name,
            p.predicted, d.name as predicted_name, i.same_as, p.* exclude (item_id, label, predicted, shard)
        from {_agreeing(items, predicted, distinct=distinct)}
        left join classes c on c.index = i.label
        left join classes d on d.index = p.predicted"""
    )


def _agreeing(items: str, predicted: str, *, distinct: bool) -> str:
    """Join items ``i`` with valid predictions ``p``, by way of the item ``o`` that each repeats if any does."""
    listed, other = (f"({items}) i", "i")
    if not distinct:
        listed, other = f"{listed} join ({items}) o on o.item_id = coalesce(i.same_as, i.item_id)", "o"
    return f"""{listed} join ({predicted}) p on p.item_id = {other}.item_id and p.shard = {other}.shard
            and p.label is not distinct from {other}.label
            and ({other}.digest is null or {other}.digest = coalesce(p.image_id, '{UNREADABLE}'))"""


def _check_complete(connection: duckdb.DuckDBPyConnection, run: StoredRun) -> None:
    """Check that no shard of a complete run is missing, as fewer rows would be a wrong answer.

    Raises:
        RunFolderError: Names the folder that lacks some.
    """
    if not run.meta["complete"]:
        return
    shards = run.shards()
    stored = {run.predictions: "predictions"} | {
        folder: name
        for name in run.meta["methods"]
        if name not in run.meta["refused"]
        for folder in (run.parts(name), run.parts(name, controls=True))
        if folder == run.parts(name) or folder.is_dir()
    }
    for folder, name in stored.items():
        lost = set(shards) - set(shard_indices(folder))
        if lost:
            raise RunFolderError(f"{folder / shard_name(min(lost))}: this shard of {name} is missing; {_REDO}")
    listed = connection.execute("select count(*) from items").fetchall()[0][0]
    if listed != run.meta["data"]["items"]:
        raise RunFolderError(
            f"{run.items}: {listed:,} of {run.meta['data']['items']:,} items are here, a shard is missing; {_REDO}"
        )


def rows_of(
    connection: duckdb.DuckDBPyConnection,
    files: RunFiles,
    folder: Path,
    schema: pa.Schema,
    shards: Sequence[int] | None = None,
) -> str:
    """Make a SELECT over some or all shards in a folder, with their number.

    No rows of this schema if there are none.
    """
    connection.register("_empty", schema.append(pa.field("shard", pa.int32())).empty_table())
    columns = [(row[0], row[1]) for row in connection.execute("describe _empty").fetchall()]
    connection.unregister("_empty")
    rows = "select " + ", ".join(f"null::{kind} as {_identifier(name)}" for name, kind in columns) + " where false"
    paths = _shards(files, folder, shards)
    if not paths:
        return rows
    return (
        f"{rows} union all by name select * exclude (filename), {_SHARD} "
        f"from read_parquet([{', '.join(paths)}], union_by_name = true, filename = true)"
    )


def _shards(files: RunFiles, folder: Path, shards: Sequence[int] | None = None) -> list[str]:
    """Return the addresses of some or all undamaged shards in a folder, quoted for SQL.

    Raises:
        RunFolderError: A shard is damaged.
    """
    present = shard_indices(folder)
    paths = [folder / shard_name(index) for index in present if shards is None or index in shards]
    for path in paths:
        check_whole(path)
    return [_quoted(files.address(path)) for path in paths]


def _classes(connection: duckdb.DuckDBPyConnection, run: StoredRun) -> None:
    names = [to_text(name) for name in run.class_names]
    wnids = run.meta["model"].get("wnids") or [None] * len(names)
    columns = {"index": (range(len(names)), pa.int64()), "name": (names, pa.string()), "wnid": (wnids, pa.string())}
    table = pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()})
    connection.register("_classes", table)
    connection.execute("create table classes as select * from _classes")
    connection.unregister("_classes")


def _method(connection: duckdb.DuckDBPyConnection, files: RunFiles, run: StoredRun, name: str, items: str) -> None:
    """Define the view of one method: columns that identify the error, then its own."""
    rows, own = _stored(connection, files, run.parts(name))
    join = ""
    if run.parts(name, controls=True).is_dir():
        more, join = define_controls(
            connection, name, rows, *_stored(connection, files, run.parts(name, controls=True))
        )
        own += more
    connection.execute(
        f"""create view {_identifier(name)} as select e.item_id, e.image_id, e.key, e.label, e.label_name,
            e.predicted, e.predicted_name{own}
        from errors e join ({items}) o on o.item_id = coalesce(e.same_as, e.item_id)
        join ({rows}) m on m.item_id = o.item_id and m.shard = o.shard and {SAME_ERROR} {join}"""
    )


def _stored(connection: duckdb.DuckDBPyConnection, files: RunFiles, folder: Path) -> tuple[str, str]:
    """Make a SELECT over the tables of a method, and the list of its own columns, each after a comma."""
    declared = read_schema(folder / SCHEMA_FILE) if os.path.lexists(folder / SCHEMA_FILE) else KEYS
    rows = rows_of(connection, files, folder, declared)
    columns = {row[0]: row[1] for row in connection.execute(f"describe {rows}").fetchall()}
    lists = shown_as_rows(declared)
    rows = _in_todays_words(rows, columns)
    return rows, "".join(f", {_own(column, lists)}" for column in columns if column not in (*KEYS.names, "shard"))


def _analyses(connection: duckdb.DuckDBPyConnection, files: RunFiles, run: StoredRun) -> None:
    """Define views of the results of analyses in the folder.

    Lists of records become rows, unless their column is kept whole; pictures and nested lists stay in the files. A view
    with the name of a method of the run is left out.
    """
    for analysis in analyses().values():
        for view, table in (analysis.views or {analysis.name: ""}).items():
            path = result_path(run.path, analysis, table)
            if view not in run.meta["methods"] and os.path.lexists(path):
                schema = read_schema(path)
                rows = f"read_parquet({_quoted(files.address(path))})"
                connection.execute(f"create view {_identifier(view)} as {_flat(schema, rows)}")


def _flat(schema: pa.Schema, rows: str) -> str:
    """Make a SELECT of the plain columns of a table, then of the fields of its lists of records, one row per record."""
    whole = kept_whole(schema)
    plain = [
        field.name
        for field in schema
        if field.name in whole or not (_is_nested(field.type) or pa.types.is_binary(field.type))
    ]
    lists = [
        field
        for field in schema
        if field.name not in whole and pa.types.is_list(field.type) and pa.types.is_struct(field.type.value_type)
    ]
    shown = ", ".join(map(_identifier, plain))
    for field in lists:
        name, record = _identifier(field.name), field.type.value_type
        kept = [record.field(i).name for i in range(record.num_fields) if not pa.types.is_binary(record.field(i).type)]
        rows = f"(select *, unnest(case when len({name}) > 0 then {name} else [null] end) as _{field.name} from {rows})"
        shown += "".join(f", _{field.name}.{_identifier(one)} as {_identifier(one)}" for one in kept)
    return f"select {shown} from {rows}"


def _is_nested(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) and pa.types.is_nested(kind.value_type)


def _in_todays_words(rows: str, kinds: Mapping[str, str]) -> str:
    """Map the statuses of earlier versions to the present ones; ``kinds`` are the types by column."""
    if kinds.get("status") != "VARCHAR":
        return rows
    words = [f"when status = {_quoted(old)} then {_quoted(new)}" for old, new in FORMER.items()]
    reason = ""
    if kinds.get("reason") == "VARCHAR":  # earlier versions refused invalid pixels, and stated that in the reason
        words.append(f"when starts_with(reason, '{Status.BAD_INPUT}: ') then '{Status.BAD_INPUT}'")
        reason = f", regexp_replace(reason, '^{Status.BAD_INPUT}: ', '') as reason"
    return f"select * replace (case {' '.join(words)} else status end as status{reason}) from ({rows})"


def _own(column: str, lists: Collection[str]) -> str:
    """Select a column of a method's view; lists that belong together become rows, side by side."""
    name = _identifier(column)
    return (
        f"unnest(case when len(m.{name}) > 0 then m.{name} else [null] end) as {name}"
        if column in lists
        else f"m.{name}"
    )


def _failed_items(connection: duckdb.DuckDBPyConnection, files: RunFiles, run: StoredRun) -> None:
    """Define the view of items that could not be read or predicted, or on which a method failed."""
    columns = ", ".join(FAILED_ITEMS.names)
    parts = [f"select {columns} from predictions where status = 'failed'"]
    for name in run.meta["methods"]:
        for controls in (False, True):
            paths = _shards(files, run.parts(name, controls=controls))
            if not paths:
                continue
            stage, about = (f"{name} controls", "predictions") if controls else (name, "errors")
            parts.append(
                f"""select e.item_id, e.key, {_quoted(stage)}, f.failed.value[2]
                from (select unnest(map_entries(from_json(json_extract(decode(value), '$.failed'),
                        '"MAP(VARCHAR, VARCHAR[])"'))) as failed
                    from parquet_kv_metadata([{", ".join(paths)}]) where decode(key) = {_quoted(FACTS_KEY)}) f
                join {about} e on coalesce(e.same_as, e.item_id) = f.failed.key and e.image_id = f.failed.value[1]"""
            )
    connection.execute(f"create view failed_items as {' union all '.join(parts)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
