"""Views that compare errors with correctly classified images: confirmed places, and clear runner-ups."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from whywrong.core.discoveries import ENOUGH_CONTROLS, confirm, reference_of
from whywrong.runs.queries.sql import identifier

SAME_ERROR = "m.image_id = e.image_id and m.label = e.label and m.predicted = e.predicted"
_SAME_ROLE = "m.image_id = e.image_id and m.predicted = e.predicted and e.label = e.predicted and e.status = 'ok'"
_RANDOM_SHARE = 0.95  # of random classes that are not a clear runner-up
_PLACES = pa.schema(
    {
        "item_id": pa.string(),
        "p": pa.float64(),
        "controls": pa.int64(),
        "place_confirmed": pa.bool_(),
        "control": pa.bool_(),
    }
)


def define_runner_up(connection: duckdb.DuckDBPyConnection) -> None:
    """Define view ``runner_up``, which tells if the true class is a clear runner-up.

    It compares the logits of the true class of an error with those of the next class. Random classes of correctly
    classified images set the threshold. With fewer than 200 of these, ``clear`` is null.
    """
    connection.execute(
        f"""create view runner_up as
        with correct as (select lead, random_lead from predictions where status = 'ok' and label = predicted
            and same_as is null and random_lead is not null),
        bar as (select greatest(quantile_disc(random_lead, {_RANDOM_SHARE}), 1) as threshold, count(*) as controls
            from correct),
        role as (select avg((lead > threshold)::integer) as role_play_rate from correct cross join bar)
        select e.item_id, e.key, e.label, e.label_name, e.predicted, e.predicted_name, e.rank_of_true, e.rival,
            c.name as rival_name, e.lead, case when controls >= {ENOUGH_CONTROLS} then e.lead > threshold end as clear,
            threshold, controls, role_play_rate
        from errors e cross join bar cross join role left join classes c on c.index = e.rival"""
    )


def define_controls(
    connection: duckdb.DuckDBPyConnection, name: str, rows: str, controls: str, own: str
) -> tuple[str, str]:
    """Define view ``NAME_controls``, and compare a method's errors with its controls.

    Args:
        connection: With the views ``predictions``, ``errors`` and ``classes``.
        name: Of the method.
        rows: SELECT of its stored rows of errors.
        controls: SELECT of its stored rows of correctly classified images, with their runner-up as the label.
        own: The method's own columns of controls, each after a comma.

    Returns:
        The columns that the view of the method gains, and the join that adds them, on ``o.item_id``.
    """
    table = identifier("_" + name)
    connection.register("_new", _compared(connection, rows, controls))
    connection.execute(f"create table {table} as select * from _new")
    connection.unregister("_new")
    connection.execute(
        f"""create view {identifier(name + "_controls")} as select e.item_id, e.key, e.label, e.label_name,
            m.label as asked, c.name as asked_name{own}, t.p
        from ({controls}) m join predictions e on e.item_id = m.item_id and {_SAME_ROLE}
        left join classes c on c.index = m.label left join {table} t on t.item_id = m.item_id and t.control"""
    )
    return ", t.p, t.controls, t.place_confirmed", f"left join {table} t on t.item_id = o.item_id and not t.control"


def _compared(connection: duckdb.DuckDBPyConnection, rows: str, controls: str) -> pa.Table:
    """Compute P of every tested error, with confirmed places, and of every held-out control against the others."""
    asked = connection.sql(
        f"select m.item_id, m.v, m.turned from ({rows}) m join errors e on e.item_id = m.item_id and {SAME_ERROR}"
        " where m.status = 'ok' order by m.item_id"
    ).to_arrow_table()
    played = connection.sql(
        f"""select m.item_id, m.v, m.turned, m.held_out from ({controls}) m
        join predictions e on e.item_id = m.item_id and {_SAME_ROLE} where m.status = 'ok' order by m.item_id"""
    ).to_arrow_table()
    held_out = played["held_out"].to_numpy(zero_copy_only=False).astype(bool)
    numbers = played["v"].to_numpy()
    tables = []
    for control, table, reference in (
        (False, asked, reference_of(numbers, held_out)),
        (True, played.filter(pa.array(held_out, pa.bool_())), numbers[~held_out]),
    ):
        found = confirm(table["v"].to_numpy(), table["turned"].to_numpy(zero_copy_only=False), reference)
        kept = found.kept if found.tested and not control else [None] * len(table)
        columns = {
            "p": pa.array(found.p, pa.float64(), from_pandas=True),
            "place_confirmed": pa.array(kept, pa.bool_()),
        }
        numbers_of = {"controls": [len(reference)] * len(table), "control": [control] * len(table)}
        about = {"item_id": table["item_id"], **columns, **numbers_of}
        tables.append(pa.table(about, schema=_PLACES))
    return pa.concat_tables(tables)
