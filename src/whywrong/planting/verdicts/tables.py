"""Make a table of errors with known causes, from which the combiner is trained.

    python -m whywrong.planting.verdicts.tables MODEL DATA --out FILE [--per-cause N] [--reference N] [--boxes FILE]
        [--helper MODEL] [--surrogate MODEL] [--net NAME] [--family NAME] [--licence TEXT] [--plant-only]

It plants errors, measures them and a reference, and writes measurements and causes to FILE. What is done so far is
kept in FILE.parts, from which the same command resumes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whywrong.data.objects.opening import open_any
from whywrong.models.classifier import Classifier
from whywrong.models.loading.zoo import load_classifier
from whywrong.planting.verdicts.measuring import ToMeasure, match_all, measure_all, of_errors, of_reference
from whywrong.planting.verdicts.plan import VerdictPlan
from whywrong.planting.verdicts.planted_errors import PlantedErrors
from whywrong.planting.verdicts.planted_file import load_planted, save_planted
from whywrong.planting.verdicts.planting import choose_reference, plant_errors
from whywrong.planting.verdicts.subjects import Subjects, load_subjects
from whywrong.runs.labelled import LabelledSource
from whywrong.verdicts.combiner.archive import read_arrays, write_arrays
from whywrong.verdicts.combiner.training_table import StoredRecurrence, TrainingTable, save_table
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.recurrence import recurrence

_MOST_BYTES = 2**30
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableNames:
    """What a table says of its net and images.

    Attributes:
        net: Name of the net.
        family: Nets of one family are left out together.
        data: Name of the images.
        licence: Licence of the images.
        helper: Name of the helper, empty without one.
    """

    net: str
    family: str
    data: str
    licence: str
    helper: str


def make_table(
    classifier: Classifier,
    data: LabelledSource,
    plan: VerdictPlan,
    names: TableNames,
    parts: Path,
    *,
    helper: Classifier | None = None,
    surrogate: Classifier | None = None,
    say: Say = lambda text: None,
) -> TrainingTable:
    """Plant errors, measure them and a reference, and return all of it.

    Args:
        classifier: The model.
        data: Labelled images.
        plan: Settings of the planting.
        names: What the table says of them.
        parts: Folder of unfinished work, which is made, and from which it resumes.
        helper: Other model whose answers are evidence.
        surrogate: Network for adversarial steps that transfer.
        say: Called with progress in words.

    Raises:
        DataError: Nothing can be planted, or ``parts`` holds work with other settings.
    """
    parts.mkdir(parents=True, exist_ok=True)
    settled = data.settle(classifier)
    subjects = load_subjects(classifier, data, settled, limit=plan.limit)
    made_with = json.dumps({"model": classifier.identity, "data": names.data, **asdict(plan)}, sort_keys=True)
    errors = planted(classifier, subjects, plan, parts / "planted.npz", made_with, surrogate=surrogate, say=say)
    rows = choose_reference(subjects, count=plan.reference, seed=plan.seed, without=frozenset(errors.sources))
    helpers = [] if helper is None else match_all([helper], settled.classes)

    def measured(images: ToMeasure, name: str) -> Measured:
        def take(start: int, make: Callable[[], Measured]) -> Measured:
            file = parts / f"{name}-{start:05d}.npz"
            if not file.is_file():
                began = time.monotonic()
                _save_measured(make(), file)
                say(f"{name}: {start} of {len(images)} and the next measured in {time.monotonic() - began:.0f} s")
            return _load_measured(file)

        return measure_all(classifier, images, helpers=helpers, seed=plan.seed, take=take)

    of_all = measured(of_errors(errors), "errors")
    recurring = recurrence(of_all)
    return TrainingTable(
        errors=of_all,
        reference=measured(of_reference(subjects, rows), "reference"),
        recurrence=StoredRecurrence(count=recurring.count, best=recurring.best, cluster=recurring.cluster),
        truth=errors.truth,
        second=errors.second,
        kind=errors.kind,
        role=errors.role,
        hard=errors.hard.numpy(),
        half=errors.half.numpy(),
        **asdict(names),
    )


def planted(
    classifier: Classifier,
    subjects: Subjects,
    plan: VerdictPlan,
    file: Path,
    made_with: str,
    *,
    surrogate: Classifier | None,
    say: Say,
) -> PlantedErrors:
    """Return the errors of a file, or plant them and write it."""
    if not file.is_file():
        made, report = plant_errors(
            classifier, subjects, plan, surrogate=surrogate, progress=lambda name, count: say(f"{name}: {count}")
        )
        for name, reason in report.refused.items():
            say(f"{name} left out: {reason}")
        save_planted(made, file, made_with)
    return load_planted(file, made_with)


def _save_measured(measured: Measured, file: Path) -> None:
    arrays = {}
    for field in fields(Measured):
        value = getattr(measured, field.name)
        arrays[field.name] = value if isinstance(value, np.ndarray) else np.array(value, dtype=np.str_)
    write_arrays(file.with_suffix(".tmp"), {"what": "measured"}, arrays)
    file.with_suffix(".tmp").replace(file)


def _load_measured(file: Path) -> Measured:
    _, arrays = read_arrays(file, _MOST_BYTES)
    found: dict[str, Any] = {n: tuple(v.tolist()) if v.dtype.kind == "U" else v for n, v in arrays.items()}
    return Measured(**found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="as for whywrong check")
    parser.add_argument("data", help="labelled images, as for whywrong check")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table, .npz")
    parser.add_argument("--per-cause", type=int, default=40, metavar="N", help="errors with one cause, of each cause")
    parser.add_argument("--reference", type=int, default=300, metavar="N", help="most correct images to compare with")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of every random choice")
    parser.add_argument("--boxes", metavar="FILE", help="boxes of the objects")
    parser.add_argument("--helper", metavar="MODEL", help="other model whose answers are evidence")
    parser.add_argument("--surrogate", metavar="MODEL", help="network for adversarial steps that transfer")
    parser.add_argument("--net", default="", metavar="NAME", help="name of the net; default from MODEL")
    parser.add_argument("--family", default="", metavar="NAME", help="nets left out together; default the net itself")
    parser.add_argument("--images", default="", metavar="NAME", help="name of the images; default from DATA")
    parser.add_argument("--licence", default="", metavar="TEXT", help="licence of the images")
    parser.add_argument("--plant-only", action="store_true", help="stop before measuring")
    return parser


def main() -> None:
    """Run the command line of this module."""
    options = _parser().parse_args()
    plan = VerdictPlan(per_cause=options.per_cause, reference=options.reference, seed=options.seed)
    classifier = load_classifier(options.model)
    helper, surrogate = (load_classifier(m) if m else None for m in (options.helper, options.surrogate))
    data = LabelledSource(open_any(options.data, **({"boxes": options.boxes} if options.boxes else {})))
    net = options.net or _name(options.model)
    names = TableNames(
        net=net, family=options.family or net, data=options.images or _name(options.data), licence=options.licence,
        helper=_name(options.helper) if options.helper else "",
    )  # fmt: skip
    parts, began = options.out.with_name(f"{options.out.name}.parts"), time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"{net} {time.monotonic() - began:5.0f} s  {text}\n")
        sys.stderr.flush()

    if options.plant_only:
        parts.mkdir(parents=True, exist_ok=True)
        subjects = load_subjects(classifier, data, data.settle(classifier), limit=plan.limit)
        made_with = json.dumps({"model": classifier.identity, "data": names.data, **asdict(plan)}, sort_keys=True)
        planted(classifier, subjects, plan, parts / "planted.npz", made_with, surrogate=surrogate, say=say)
        return
    table = make_table(classifier, data, plan, names, parts, helper=helper, surrogate=surrogate, say=say)
    save_table(table, options.out)
    shutil.rmtree(parts)
    say(f"{len(table)} errors and {len(table.reference)} correct images in {options.out}")


def _name(text: str) -> str:
    """Return the last part of a name, as ``resnet20`` of ``models.py:resnet20``."""
    return Path(text.rpartition(":")[2]).stem


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
