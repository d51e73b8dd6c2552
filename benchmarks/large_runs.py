"""What does a large run cost that has been computed? Questions, choosing errors, and the report, over synthetic parts.

A run of N items is written without any image: listing and predictions of random items in 1,000 classes, one in five
misclassified, in shards as ``diagnose`` would cut them. Each question then runs in a process of its own, which
measures its CPU seconds and its peak memory beyond Python itself. ``driver`` is what ``diagnose`` does after the last
prediction: it writes the tables about errors and chooses 200 errors to explain in full.

    python benchmarks/large_runs.py --items 100000 1000000 10000000 --folder large --out large_runs.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

CLASSES = 1000
WRONG = 0.2
DETAILS = 200
_FOLDERS = [f"{index:04d}" for index in range(CLASSES)]
QUESTIONS = {
    "count": "select count(*) from errors",
    "pairs": "select label_name, predicted_name, count(*) from errors group by all order by 3 desc limit 20",
    "one error": "select * from errors where item_id = '{item}'",
    "one item": "select * from predictions where item_id = '{item}'",
}


def write_run(folder: Path, items: int) -> None:
    """Write a complete run of so many items, with listing and predictions only."""
    from whywrong.api import load_classifier, open_data
    from whywrong.runs.diagnose import diagnose
    from whywrong.runs.identity import identity
    from whywrong.runs.options import RunOptions
    from whywrong.runs.sizes import shard_size
    from whywrong.runs.store.run_file import write_run_file
    from whywrong.runs.store.schemas import PREDICTIONS_VERSION, THUMBS
    from whywrong.runs.store.shards import shard_name, write_table

    options = RunOptions(methods=[], images=4, limit=0)
    run = diagnose(load_classifier("planted:cnn"), open_data("planted:test"), folder, options)
    for path in [*run.items.iterdir(), *run.predictions.iterdir(), *run.thumbs.glob("*")]:
        path.unlink()
    meta, size = run.meta, shard_size(items, 256)
    meta["model"] |= {"classes": [f"class {index}" for index in range(CLASSES)], "wnids": None}
    meta["data"]["items"], meta["shard_size"], meta["images"], meta["health"] = items, size, None, []
    write_run_file(folder, meta)
    facts = {"run": identity(meta), "seconds": 1.0, "forwards": size}
    for shard in range(-(-items // size)):
        rng = np.random.default_rng(shard)
        listed, predicted = _rows(rng, shard * size, min(size, items - shard * size))
        write_table(run.items / shard_name(shard), listed, {**facts, "result_version": 1})
        write_table(run.predictions / shard_name(shard), predicted, {**facts, "result_version": PREDICTIONS_VERSION})
        write_table(run.thumbs / shard_name(shard), THUMBS.empty_table(), {**facts, "result_version": 1})


def _hex(rng: np.random.Generator, count: int, digits: int) -> pa.Array:
    text = rng.bytes(count * digits // 2).hex().encode()
    offsets = np.arange(count + 1, dtype=np.int32) * digits
    return pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(text)])


def _lists(values: np.ndarray) -> pa.Array:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))


def _rows(rng: np.random.Generator, first: int, n: int) -> tuple[pa.Table, pa.Table]:
    from whywrong.runs.store.schemas import ITEMS, PREDICTIONS

    label = rng.integers(0, CLASSES, n)
    wrong = rng.random(n) < WRONG
    near = (label + rng.integers(1, 20, n)) % CLASSES
    items, confidence = _hex(rng, n, 20), rng.beta(5, 2, n)
    top = np.stack([np.where(wrong, near, label), *((label + rng.integers(20, 900, n)) % CLASSES for _ in range(4))], 1)
    shares = np.stack([confidence, *((1 - confidence) / (2 + k) for k in range(4))], 1)
    folders = pa.array(_FOLDERS).take(pa.array(label))
    numbers = pc.cast(pa.array(10**9 + first + np.arange(n)), pa.string())
    columns: dict[str, Any] = {
        "item_id": items,
        "key": pc.binary_join_element_wise(folders, numbers, "/"),
        "label_text": folders,
        "label": label,
        "size": rng.integers(40_000, 200_000, n),
        "mtime_ns": rng.integers(10**18, 10**18 + 10**15, n),
        "image_id": _hex(rng, n, 64),
        "status": ["ok"] * n,
        "predicted": top[:, 0],
        "confidence": confidence,
        "true_confidence": np.where(wrong, confidence / 3, confidence),
        "rank_of_true": np.where(wrong, rng.integers(2, 20, n), 1),
        "margin": np.where(wrong, 1, -1) * rng.random(n) * 5,
        "rival": top[:, 1],
        "lead": 1 + rng.random(n),
        "random_lead": 1 + rng.random(n),
        "near_tie": np.zeros(n, bool),
        "top5": _lists(top),
        "top5_confidence": _lists(shares),
        "width": np.full(n, 500),
        "height": np.full(n, 375),
        "notes": _lists(np.zeros((n, 0))),
    }

    def table(schema: pa.Schema) -> pa.Table:
        arrays = [pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(n, f.type) for f in schema]
        return pa.table(arrays, schema=schema)

    return table(ITEMS), table(PREDICTIONS)


def answer(what: str, folder: Path) -> None:
    """Do one thing in this process, and print what it cost as JSON."""
    from whywrong.runs.folder import RunFolder

    RunFolder(folder)
    started, clock = time.process_time(), time.perf_counter()
    if what == "driver":
        from whywrong.runs.identity import identity
        from whywrong.runs.queries.errors import write_error_tables
        from whywrong.runs.selection import select_details

        run = RunFolder(folder)
        write_error_tables(run, {"run": identity(run.meta)})
        found = sum(map(len, select_details(run, DETAILS).values()))
    elif what == "choose":
        from whywrong.runs.selection import select_details

        found = sum(map(len, select_details(RunFolder(folder), DETAILS).values()))
    elif what == "report":
        from whywrong.report.html import write_report

        found = write_report(RunFolder(folder), folder / "report.html", limit=DETAILS).stat().st_size
    else:
        run = RunFolder(folder)
        item = ""
        if "{item}" in QUESTIONS[what]:
            import pyarrow.parquet as pq

            shard = pq.read_table(max(run.predictions.iterdir()), columns=["item_id", "label", "predicted"]).to_pylist()
            item = next(row["item_id"] for row in shard if row["label"] != row["predicted"])
            started, clock = time.process_time(), time.perf_counter()
        found = len(run.query(QUESTIONS[what].format(item=item)))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    spent = {"cpu_seconds": time.process_time() - started, "seconds": time.perf_counter() - clock}
    print(json.dumps({"found": found, "peak_mb": round(peak)} | {name: round(s, 2) for name, s in spent.items()}))


def measure(items: int, folder: Path) -> dict[str, Any]:
    """Write a run unless it is there, and ask everything of it."""
    if not (folder / "run.json").exists():
        subprocess.run([sys.executable, __file__, "--write", str(items), "--folder", str(folder)], check=True)
    numbers: dict[str, Any] = {}
    for what in ("driver", *QUESTIONS, "choose", "report"):
        command = [sys.executable, __file__, "--answer", what, "--folder", str(folder)]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        numbers[what] = json.loads(ended.stdout) if ended.returncode == 0 else {"failed": ended.stderr[-300:]}
        print(f"{items:>11,} {what:<10} {numbers[what]}", file=sys.stderr)
    numbers["files"] = sum(len(names) for _, _, names in os.walk(folder))
    return numbers


def main() -> None:
    """Measure runs of the sizes asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--answer", help=argparse.SUPPRESS)
    parser.add_argument("--write", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.answer:
        answer(args.answer, args.folder)
        return
    if args.write:
        write_run(args.folder, args.write)
        return
    found = {str(n): measure(n, args.folder / str(n)) for n in args.items}
    text = json.dumps({"machine": platform.processor() or platform.machine(), "runs": found}, indent=1)
    print(text) if args.out is None else args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
