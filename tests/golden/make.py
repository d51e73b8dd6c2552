"""What must not change from one release to the next, as the version that made it has it.

Run it with the version whose folders and names are to be kept, and commit what it writes beside this file:

    python -m tests.golden.make run       # run-VERSION.tar.xz: a small deep run, with spurious features
    python -m tests.golden.make schema    # schema.json: stored tables and views
    python -m tests.golden.make names     # names.json: public names, parameters and fields
    python -m tests.golden.make verdict   # verdict.json: tables of verdicts
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

import whywrong
from whywrong.runs.folder import RunFolder

HERE = Path(__file__).parent
MODEL, DATA = "planted:cnn", "planted:causes"
SPURIOUS = {"classes": ("mug",), "components": 1, "top": 1, "min_images": 3}
CHANGES = {"changes": True, "changed_images": 20, "changed_steps": 2}


def described(run: RunFolder) -> dict[str, list[str]]:
    """Columns and DuckDB types of every view of a run, in their order."""
    rows = run.query(
        """select table_name, column_name, data_type from information_schema.columns
        where table_name not like '\\_%' escape '\\' order by table_name, ordinal_position"""
    ).to_pylist()
    views: dict[str, list[str]] = {}
    for row in rows:
        views.setdefault(row["table_name"], []).append(f"{row['column_name']} {row['data_type']}")
    return views


def fields_of(schema: pa.Schema) -> list[str]:
    """Names and types of a stored table, with the metadata of its columns."""
    return [f"{field.name} {field.type}{'' if field.nullable else ' not null'}{_metadata(field)}" for field in schema]


def _metadata(field: pa.Field) -> str:
    return "".join(f" {key.decode()}={value.decode()}" for key, value in sorted((field.metadata or {}).items()))


def stored(run: RunFolder) -> dict[str, list[str]]:
    """The tables of every method of a run, as its ``schema.parquet`` says, and those of items and predictions."""
    import pyarrow.parquet as pq

    folders = {"items": run.items, "predictions": run.predictions}
    tables = {name: fields_of(pq.read_schema(folder / "00000.parquet")) for name, folder in folders.items()}
    for path in sorted(run.path.glob("parts/*/*/schema.parquet")):
        tables[path.parent.parent.name] = fields_of(pq.read_schema(path))
    return tables


def parameters_of(function: Any) -> dict[str, list[str]]:
    """Parameters that can be given by place, those given by keyword, and those that must be given."""
    signature = inspect.signature(function)
    found: dict[str, list[str]] = {"by_place": [], "by_keyword": [], "required": []}
    for name, one in signature.parameters.items():
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            continue
        found["by_keyword" if one.kind == one.KEYWORD_ONLY else "by_place"].append(name)
        if one.default is one.empty:
            found["required"].append(name)
    return found


def public() -> dict[str, Any]:
    """Every public name with its parameters, and the fields of the dataclasses among them."""
    names: dict[str, Any] = {}
    for name in whywrong.__all__:
        value = getattr(whywrong, name)
        names[name] = {}
        if callable(value) and not name.endswith(("Access", "Error", "Result")):  # nobody else builds these
            names[name] = parameters_of(value)
        if dataclasses.is_dataclass(value):
            names[name]["fields"] = [field.name for field in dataclasses.fields(value)]
        if isinstance(value, type):
            ours = [vars(base) for base in value.__mro__ if base.__module__.startswith("whywrong")]
            names[name]["members"] = sorted({m for members in ours for m in members if not m.startswith("_")})
    return names


def fresh_run(folder: Path) -> RunFolder:
    """A run of this version over two images at depth deep: its tables and views have their types already."""
    from whywrong.api import open_data
    from whywrong.runs.diagnose import diagnose
    from whywrong.runs.options import RunOptions

    return diagnose(
        whywrong.load_classifier(MODEL), open_data(DATA), folder, RunOptions(depth="deep", images=2, limit=1)
    )


def _write_run(folder: Path) -> None:
    classifier = whywrong.load_classifier(MODEL)
    run = whywrong.diagnose(classifier, DATA, folder / "run", depth="deep", images=12, limit=1)
    whywrong.spurious_features(classifier, DATA, run.path, **SPURIOUS, **CHANGES)
    for page in run.path.glob("*.html"):
        page.unlink()
    with tarfile.open(HERE / f"run-{whywrong.__version__}.tar.xz", "w:xz") as archive:
        archive.add(run.path, "run")


def _write_schema(folder: Path) -> None:
    from whywrong.explain.spurious.tables import CHANGE_SCHEMA, SCHEMA

    run = fresh_run(folder / "run")
    tables = {**stored(run), "spurious": fields_of(SCHEMA), "spurious_changes": fields_of(CHANGE_SCHEMA)}
    with tarfile.open(HERE / f"run-{whywrong.__version__}.tar.xz") as archive:
        archive.extractall(folder / "old", filter="data")
    _write("schema.json", {"tables": tables, "views": described(RunFolder(folder / "old" / "run"))})


def _write(name: str, content: dict[str, Any]) -> None:
    """JSON with one line a table, view or name, so that a change shows as one line."""
    lines = [f" {json.dumps(key)}: {_lines(value)}" for key, value in sorted(content.items())]
    (HERE / name).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _lines(value: Any) -> str:
    if isinstance(value, dict) and all(isinstance(inner, list) and len(inner) > 4 for inner in value.values()):
        return "{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(value.items())) + "\n }"
    return json.dumps(value)


def verdict_tables() -> dict[str, list[str]]:
    """The stored tables of verdicts."""
    from whywrong.verdicts.tables import TABLES

    return {table.name: fields_of(table.schema) for table in TABLES}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        {
            "run": _write_run,
            "schema": _write_schema,
            "names": lambda _: _write("names.json", public()),
            "verdict": lambda _: _write("verdict.json", verdict_tables()),
        }[sys.argv[1]](Path(place))
