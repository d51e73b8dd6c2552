"""Names of the files that a search leaves."""

from __future__ import annotations

FOLDER = "spurious"
COMPONENTS, EXAMPLES, SEARCH = "components.parquet", "examples.parquet", "search.json"
LABELS = "labels.csv"
