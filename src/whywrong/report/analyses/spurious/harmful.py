"""Number of harmful components per class, for other sections of the report."""

from __future__ import annotations

from whywrong.report.tables import Tables


def harmful_components(tables: Tables) -> dict[int, int]:
    """Count the components of each class that are confirmed as harmful.

    Returns an empty mapping if the run has no search for spurious features.
    """
    if not tables.has("spurious", "class", "verdict"):
        return {}
    rows = tables.rows("select \"class\" as label, count(*) as n from spurious where verdict = 'harmful' group by 1")
    return {row["label"]: row["n"] for row in rows}
