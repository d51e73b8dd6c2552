"""Tables of the analysis ``verdict``, with the type and the meaning of every column."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from whywrong.core.result import whole_field

_CAUSE = pa.struct([("cause", pa.string()), ("probability", pa.float64())])


@dataclass(frozen=True)
class VerdictTable:
    """One table of the analysis.

    Attributes:
        name: Name of the table.
        columns: Name, type and meaning of each column.
    """

    name: str
    columns: tuple[tuple[str, pa.DataType, str], ...]

    @cached_property
    def schema(self) -> pa.Schema:
        """Names and types of the columns; lists of records are kept whole in the view."""
        return pa.schema(
            [
                whole_field(name, _CAUSE) if kind == pa.list_(_CAUSE) else pa.field(name, kind)
                for name, kind, _ in self.columns
            ]
        )

    def table(self, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
        """Make a table of rows; numbers that are not finite become null.

        Args:
            rows: Mappings with exactly the columns of the table.

        Raises:
            ValueError: A row has other columns.
        """
        names = {name for name, _, _ in self.columns}
        made = []
        for row in rows:
            if row.keys() != names:
                raise ValueError(f"{self.name}: columns {sorted(row.keys() ^ names)} are missing or unknown")
            made.append({name: _known(value) for name, value in row.items()})
        return pa.Table.from_pylist(made, schema=self.schema)


def _known(value: Any) -> Any:
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


_ITEM: tuple[tuple[str, pa.DataType, str], ...] = (
    ("item_id", pa.string(), "Item of the run."),
    ("image_id", pa.string(), "SHA-256 of its bytes."),
)

VERDICTS = VerdictTable(
    "verdicts",
    (
        *_ITEM,
        ("label", pa.int64(), "Class of the label."),
        ("predicted", pa.int64(), "Predicted class."),
        (
            "cause",
            pa.string(),
            "`label`, `corruption`, `adversarial`, `spurious`, `occluded`, `confusion`, `shift` or `undetermined`.",
        ),
        ("kind", pa.string(), "Kind of the cause, such as `noise` or `covered`; null if none is told apart."),
        ("probability", pa.float64(), "Calibrated probability of the most probable cause, for this run's errors."),
        ("probability_flat", pa.float64(), "The same if all causes were equally frequent."),
        ("causes", pa.list_(_CAUSE), "Causes with their probability, the most probable first."),
        ("ordinary", pa.float64(), "Probability that none of the causes applies; with `causes` it sums to 1."),
        ("set90", pa.list_(pa.string()), "Causes that contain the true one in 90 % of planted errors."),
        ("tested", pa.string(), "`supported`, `contradicted` or `untested`."),
        ("test", pa.string(), "Intervention that tested the cause; null without a test."),
        ("restored", pa.float64(), "Share of its edits after which the label is predicted."),
        ("control", pa.float64(), "The same, mean over comparable correct images and their runner-up."),
        ("effect", pa.float64(), "`restored` minus `control`."),
        ("p", pa.float64(), "Probability of such an effect among comparable correct images, Holm-adjusted."),
        ("power", pa.float64(), "Share of planted errors of the cause that the test supports; null if unknown."),
        ("why_text", pa.string(), "The verdict in one sentence."),
        ("for_text", pa.list_(pa.string()), "What speaks for it."),
        ("against_text", pa.list_(pa.string()), "What speaks against it."),
        ("do_text", pa.string(), "What to do."),
        ("lacks", pa.list_(pa.string()), "What was not available."),
        ("stage", pa.int64(), "Stage after which the error left the cascade, 0 if nothing was measured."),
        ("access", pa.string(), "Access to the model that the verdict used."),
        ("helper", pa.list_(pa.string()), "Identities of the helpers."),
        ("combiner", pa.string(), "Hash of the combiner; null without one."),
        ("group_id", pa.int64(), "Its first group; null if it is in none."),
        ("forwards", pa.int64(), "Forward passes of the model spent on it."),
        ("backwards", pa.int64(), "Backward passes."),
    ),
)

SIGNS = VerdictTable(
    "signs",
    (
        *_ITEM,
        ("sign", pa.string(), "Name of the sign."),
        ("group", pa.string(), "Group of signs."),
        ("raw", pa.float64(), "Measured value."),
        ("normal", pa.float64(), "Normal score among the reference images of the run; null without enough of them."),
        ("reference_n", pa.int64(), "Number of these images."),
        ("access", pa.string(), "Access that the sign needs."),
        ("status", pa.string(), "`ok`, `refused` or `skipped`."),
        ("reason", pa.string(), "Why there is no value."),
    ),
)

INTERVENTIONS = VerdictTable(
    "interventions",
    (
        *_ITEM,
        ("intervention", pa.string(), "Name of the intervention."),
        ("cause", pa.string(), "Cause that it tests."),
        ("edits", pa.int64(), "Number of its edits."),
        ("restored", pa.float64(), "Share of the edits after which the label is predicted."),
        ("control_reference", pa.float64(), "Mean share among comparable correct images."),
        ("control_place", pa.float64(), "Mean share of the same edit at other places or with other content."),
        ("effect", pa.float64(), "`restored` minus the larger control."),
        ("low", pa.float64(), "Lower end of the 90 % interval of the effect."),
        ("high", pa.float64(), "Upper end."),
        ("p", pa.float64(), "Probability of such an effect among comparable correct images."),
        ("p_holm", pa.float64(), "The same, Holm-adjusted over the causes tested for this error."),
        ("direction", pa.string(), "`remove` takes the suspected cause away, `give` gives it to other images."),
        ("outcome", pa.string(), "`supported`, `contradicted` or `untested`."),
        ("forwards", pa.int64(), "Forward passes."),
    ),
)

GROUPS = VerdictTable(
    "groups",
    (
        ("group_id", pa.int64(), "Number of the group, from 1, the most useful first."),
        ("name", pa.string(), "Short name."),
        ("cause", pa.string(), "Cause that its errors share; empty if none is claimed."),
        ("kind", pa.string(), "Kind of group, such as `mark`, `attractor`, `duplicates` or `cluster`."),
        ("size", pa.int64(), "Number of errors."),
        ("share", pa.float64(), "Their share of all errors."),
        ("suspected", pa.bool_(), "Whether no test supports it yet."),
        ("sentence", pa.string(), "What its errors share."),
        ("action", pa.string(), "What to do."),
        ("medoids", pa.list_(pa.string()), "Item ids of its most typical errors."),
        ("members", pa.list_(pa.string()), "Item ids of all its errors, the most typical first."),
        ("pair", pa.list_(pa.int64()), "Label and prediction, if its errors share them."),
        ("place", pa.list_(pa.float64()), "Left, top, right and bottom as shares of the image, if it has a place."),
        ("held_out_p", pa.float64(), "p of its cohesion on the held-out half of the photographs."),
        ("cohesion", pa.float64(), "Mean similarity of its members."),
        ("effect", pa.float64(), "Pooled effect of its test."),
        ("low", pa.float64(), "Lower end of the 90 % interval of the effect."),
        ("high", pa.float64(), "Upper end."),
        ("statistics", pa.string(), "Further figures, as JSON."),
    ),
)

ADVICE = VerdictTable(
    "advice",
    (
        ("group_id", pa.int64(), "Group that the action is for."),
        ("action", pa.string(), "Name of the action."),
        ("arm", pa.string(), "`nothing`, `action` or `sham`, an action of equal strength at another place."),
        ("n_held", pa.int64(), "Errors of the group held out from fitting the action."),
        ("mended", pa.int64(), "Those of them that the arm corrects."),
        ("low", pa.float64(), "Lower end of the 95 % interval of their share."),
        ("high", pa.float64(), "Upper end."),
        ("net_gain", pa.float64(), "Change of accuracy over held-out errors and correct images."),
        ("net_low", pa.float64(), "Lower end of its 95 % interval."),
        ("net_high", pa.float64(), "Upper end."),
        ("negative_flips", pa.int64(), "Correct images that the arm turns wrong."),
        ("worst_class", pa.string(), "Class that loses most of them; null if none loses any."),
        ("advised", pa.bool_(), "Whether the action beats its sham and gains on balance."),
        ("command", pa.string(), "Command or step that carries it out."),
    ),
)

TABLES: tuple[VerdictTable, ...] = (VERDICTS, SIGNS, INTERVENTIONS, GROUPS, ADVICE)
