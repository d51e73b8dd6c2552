"""Measure the verdicts on a net and photographs that trained nothing.

    python benchmarks/verdict_left_out.py TABLES NET MODEL DATA --out DIR [--helper MODEL] [--half 1] [--adapt] ...

``TABLES`` is a folder of tables of ``python -m whywrong.planting.verdicts.tables``. The combiner is fitted on those of
other families than NET, without its helper and nets that it helps, and, where they have the same images, on the other
half of the photographs alone. Then the benchmark of ``whywrong benchmark verdict`` runs on one half.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from whywrong import api
from whywrong.planting.verdicts.train import load_tables
from whywrong.verdicts.combiner.fit import fit_combiner
from whywrong.verdicts.combiner.fit_scorer import FitConfig
from whywrong.verdicts.combiner.leave_out import leave_one_net_out, training_tables
from whywrong.verdicts.combiner.rows import rows_of
from whywrong.verdicts.combiner.stored import save_combiner


def main() -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("tables", "net", "model", "data"):
        parser.add_argument(name)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--helper", action="append", default=[])
    parser.add_argument("--surrogate")
    parser.add_argument("--half", type=int, default=1)
    parser.add_argument("--per-cause", type=int, default=20)
    parser.add_argument("--reference", type=int, default=150)
    parser.add_argument("--depth", default="quick")
    parser.add_argument("--adapt", action="store_true")
    given = parser.parse_args()
    rows = [rows_of(table) for table in load_tables(Path(given.tables))]
    test = next(one for one in rows if one.net == given.net)
    training = training_tables(rows, test, given.half, helper=bool(given.helper))
    print("trained on", ", ".join(f"{one.net} ({len(one)})" for one in training))
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "combiner.npz"
    if not file.is_file():
        config = FitConfig()
        save_combiner(fit_combiner(training, leave_one_net_out(training, config), config, {"nets": []}), file)
    record = api.benchmark_verdicts(
        api.load_classifier(given.model), given.data, given.out / "bench",
        helpers=[api.load_classifier(one) for one in given.helper],
        surrogate=None if given.surrogate is None else api.load_classifier(given.surrogate),
        adapt=given.adapt, combiner=file, depth=given.depth, per_cause=given.per_cause, reference=given.reference,
        half=given.half,
    )  # fmt: skip
    for name in ("figures", "adapted"):
        if name in record:
            print(name, record[name]["figures"], record[name]["intervals"])
            print(name, record[name]["tested"])
    print(record["groups_alone"])
    print({key: value for key, value in record["costs"].items() if key != "by_step"})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
