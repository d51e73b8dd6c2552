"""A query is one SELECT without side effects: whatever else is asked, the run and later answers stay the same."""

from __future__ import annotations

import contextlib

import pyarrow as pa
import pytest
from tests.runs.damage import picture

from whywrong.core.errors import InputError
from whywrong.runs.folder import RunFolder

WRITING = [
    "with x as (copy (select 1 as a) to '{run}/report.html' (format csv, header false)) select * from x",
    "with x as (copy (select 1 as a) to '{run}/items/00000.parquet') select * from x",
    "with x as (copy (select 1 as a) to '{run}/run.json' (format csv)) select * from x",
    "with x as (copy (select 1 as a) to 'run://run.json' (format csv)) select * from x",
    "with x as (copy (select 1 as a) to '{run}/parts' (format parquet, partition_by (a), overwrite)) select * from x",
    "with x as (copy (select 1 as a) to '{run}/new.csv') select * from x",
    "with x as (copy classes from '{run}/items/00000.parquet') select * from x",
    "with x as (delete from classes returning *) select count(*) from x",
    "with x as (update classes set name = 'z' returning *) select count(*) from x",
    "with x as (insert into classes values (9, 'z', null) returning *) select count(*) from x",
    "with x as (merge into classes c using (select 1 as index) s on c.index = s.index when matched then delete "
    "returning *) select * from x",
    "select * from (with x as (delete from classes returning *) select * from x)",
    "select (with x as (delete from classes returning *) select count(*) from x)",
    "select 1 where exists (with x as (delete from classes returning *) select * from x)",
    "with a as (select 1), b as (with x as (delete from classes returning *) select * from x) select * from b",
    "select 1 union all (with x as (delete from classes returning *) select 1 from x)",
    "with recursive t(n) as (select 1 union all select n + 1 from t where n < 3), "
    "x as (delete from classes returning *) select * from t, x",
    "copy (select 1) to '{run}/report.html'",
    "copy errors to '{run}/errors.csv'",
    "export database '{run}/export'",
    "insert into classes values (9, 'z', null)",
    "delete from classes",
    "update classes set name = 'z'",
    "truncate classes",
    "drop view errors",
    "drop table classes",
    "create table t as select 1",
    "create temp table t as select 1",
    "create or replace view errors as select 1",
    "create macro f(x) as x + 1",
    "create schema s",
    "create sequence s",
    "alter table classes add column z integer",
    "alter view errors rename to wrong",
    "attach '{run}/other.db' as other",
    "detach memory",
    "use information_schema",
    "set threads = 1",
    "set enable_external_access = true",
    "reset all",
    "pragma database_list",
    "pragma disable_checkpoint_on_shutdown",
    "install httpfs",
    "load httpfs",
    "call pragma_version()",
    "call enable_logging()",
    "checkpoint",
    "vacuum",
    "begin transaction",
    "commit",
    "prepare p as select 1",
    "execute p",
    "explain analyze with x as (delete from classes returning *) select * from x",
    "explain select 1",
    "import database '{run}/export'",
    "comment on view errors is 'mine'",
    "select 1; select 2",
    "select 1; drop view errors",
    "select 1; copy (select 1) to '{run}/run.json'",
    "",
    "   ",
    "-- nothing",
    "this is not sql",
    "select",
    "select * from missing",
]
READING = [
    "select * from read_csv('/etc/passwd')",
    "select * from read_csv_auto('{run}/run.json')",
    "select * from read_text('{run}/run.json')",
    "select * from read_text('run://run.json')",
    "select * from read_blob('/etc/hostname')",
    "select * from read_json('{run}/run.json')",
    "select * from read_parquet('{run}/items/00000.parquet')",
    "select * from parquet_scan('run://items/00000.parquet')",
    "select * from parquet_metadata('run://items/00000.parquet')",
    "select * from parquet_kv_metadata('run://items/00000.parquet')",
    "select * from glob('/etc/*')",
    "select * from sniff_csv('/etc/passwd')",
    "select * from '/etc/passwd'",
    "select * from '{run}/items/00000.parquet'",
    'select * from "run://items/00000.parquet"',
    "from '{run}/run.json'",
    "describe '{run}/items/00000.parquet'",
    "summarize select * from '/etc/passwd'",
    "select (select count(*) from read_csv('/etc/passwd'))",
    "with x as (select * from read_text('/etc/passwd')) select * from x",
    "select * from query('select 1')",
    "select * from query_table('classes')",
    "select getenv('HOME')",
    "select * from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "select * from duckdb_secrets()",
    "select * from duckdb_settings()",
    "select * from run",
    "select * from WRITING",
]
ALLOWED = [
    "select 1",
    "SELECT 1;",
    "values (1), (2)",
    "from errors",
    "table classes",
    "select label_name, predicted_name, count(*) from errors group by all order by 3 desc",
    "with x as (select * from errors) select count(*) from x",
    'with "a.b" as (select 1 as c) select c from "a.b"',
    "with recursive t(n) as (select 1 union all select n + 1 from t where n < 3) select * from t",
    "select label from errors union all select predicted from errors",
    "select key from items except select key from errors",
    "select key, row_number() over (partition by label order by confidence desc) as r from errors qualify r <= 2",
    "select list_transform(top5, lambda x: x + 1) from predictions",
    "select unnest(top5), unnest(top5_confidence) from predictions",
    "select * from unnest([1, 2, 3])",
    "select * from range(3) r(i) join classes on i = index",
    "select c.name, e.n from classes c left join (select label, count(*) as n from errors group by 1) e "
    "on e.label = c.index",
    "select * from errors e where confidence > (select avg(confidence) from predictions)",
    "select * from errors where exists (select 1 from stub where stub.item_id = errors.item_id)",
    "describe errors",
    "summarize predictions",
    "show tables",
    "select table_name, column_name from information_schema.columns",
    "select view_name from duckdb_views()",
    "pivot (select label_name, predicted_name from errors) on predicted_name in ('ant', 'bee') using count(*)",
    "select columns('.*name') from errors",
    "select * exclude (item_id) replace (upper(key) as key) from errors using sample 3",
    "select regexp_extract(key, '[0-9]+') as n, 'a;b' as text from errors -- a comment; with a semicolon",
    "select key, case when confidence > 0.5 then 'sure' else 'unsure' end from errors limit 3 offset 1",
    "select stats.* from (select min(margin) as low, median(margin) as mid from errors) stats",
    "select first(key order by confidence) from errors group by grouping sets ((label), ())",
    "select json_object('key', key) from errors",
    "select date_trunc('day', timestamp '2026-01-01 10:00:00')",
]


State = tuple[RunFolder, dict[str, tuple[object, ...]], pa.Table, pa.Table]
_kept: list[State] = []


@pytest.fixture
def state(finished) -> State:
    """A run, and what must not change."""
    if not _kept:
        run: RunFolder = finished()
        _kept.append(
            (
                run,
                picture(run.path),
                run.query("select * from errors order by item_id"),
                run.query("select * from classes"),
            )
        )
    return _kept[0]


def _unchanged(state: State) -> None:
    run, before, errors, classes = state
    assert picture(run.path) == before
    assert run.query("select * from errors order by item_id").equals(errors)
    assert run.query("select * from classes").equals(classes)


@pytest.mark.parametrize("sql", WRITING + READING)
def test_all_but_one_plain_select_is_refused_and_changes_nothing(state, sql):
    with pytest.raises(InputError) as caught:
        state[0].query(sql.replace("{run}", str(state[0].path)))
    assert caught.value.exit_code == 2
    _unchanged(state)


@pytest.mark.parametrize("sql", WRITING[:17] + READING[:18])
def test_what_the_check_would_miss_the_sandbox_still_stops(state, sql, monkeypatch):
    import duckdb

    from whywrong.runs.queries import query

    monkeypatch.setattr(query, "_check_tree", lambda *_: None)
    run = state[0]
    ours = "run://items" in sql or str(run.path) in sql
    try:
        run.query(sql.replace("{run}", str(run.path)))
    except (InputError, duckdb.Error):
        pass
    else:
        assert ours or "run://" in sql  # a sealed file of this run may be read
    _unchanged(state)


@pytest.mark.parametrize("sql", ALLOWED)
def test_what_only_reads_the_views_works(state, sql):
    assert state[0].query(sql).num_columns > 0
    _unchanged(state)


@pytest.mark.parametrize("depth", [60, 2_000, 20_000, 200_000])
@pytest.mark.parametrize(
    ("opening", "closing"), [("(", ")"), ("abs(", ")"), ("- ", ""), ("[", "]"), ("(select ", ")"), ("1 + ", "")]
)
def test_deeply_nested_sql_ends_with_an_answer_or_an_error(finished, depth, opening, closing):
    sql = "select " + opening * depth + "1" + closing * depth
    with contextlib.suppress(InputError):
        assert finished().query(sql).num_rows == 1
