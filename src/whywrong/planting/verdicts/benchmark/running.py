"""The benchmark of verdicts on one model: plant, diagnose blind, compare."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whywrong.core.errors import DataError, EnvironmentFailure
from whywrong.models.classifier import Classifier
from whywrong.planting.verdicts.adapting import PER_CAUSE, Adapted, adapt
from whywrong.planting.verdicts.benchmark.baselines import group_scores, rule_scores
from whywrong.planting.verdicts.benchmark.blind import Blind, give_blind, write_images
from whywrong.planting.verdicts.benchmark.page import page
from whywrong.planting.verdicts.benchmark.scores import costs, score
from whywrong.planting.verdicts.plan import VerdictPlan
from whywrong.planting.verdicts.planted_errors import PlantedErrors
from whywrong.planting.verdicts.planted_file import load_planted, save_planted
from whywrong.planting.verdicts.planting import choose_reference, plant_errors
from whywrong.planting.verdicts.subjects import Subjects, load_subjects
from whywrong.runs.labelled import LabelledSource, Settled
from whywrong.runs.progress import Progress
from whywrong.verdicts.combiner.model import Combiner
from whywrong.verdicts.combiner.stored import SHIPPED, combiner_hash, shipped

PLANTED, MADE_WITH, RECORD, PAGE = "planted.npz", "made_with.json", "benchmark.json", "benchmark.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkNames:
    """What the record says of model, images and helper.

    Attributes:
        model, data, helper: Their names; the helper's is empty without one.
    """

    model: str
    data: str
    helper: str = ""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BenchmarkModels:
    """Classifiers of a benchmark.

    Attributes:
        classifier: The model whose errors are diagnosed.
        helpers: Other models, whose answers are evidence.
        surrogate: Network for adversarial steps that transfer; None leaves them out.
        combiner: Combiner to measure; None takes the one that ships with the package.
    """

    classifier: Classifier
    helpers: Sequence[Classifier] = ()
    surrogate: Classifier | None = None
    combiner: Combiner | None = None


def run_benchmark(
    models: BenchmarkModels,
    data: LabelledSource,
    out: Path,
    plan: VerdictPlan,
    names: BenchmarkNames,
    *,
    adapted: bool = False,
    settings: dict[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Plant errors in a model's images, diagnose them blind, and compare the verdicts with the truth.

    Args:
        models: The classifiers.
        data: Labelled images.
        out: Folder, which gets the errors, their run, ``benchmark.json`` and ``benchmark.md``. If it already holds
            planted errors of the same settings, they are used again, and their run is resumed.
        plan: Settings of the planting.
        names: Names for the record.
        adapted: Whether the combiner is also adapted, on the other half of the photographs.
        settings: Of :class:`whywrong.verdicts.config.VerdictConfig`.
        progress: Called with the progress.

    Returns:
        The record, as plain values.

    Raises:
        DataError: Nothing can be planted, there is no combiner, or the folder holds errors of other settings.
        EnvironmentFailure: The folder cannot be written.
    """
    combiner = models.combiner or (shipped() if SHIPPED.exists() else None)
    if combiner is None:
        raise DataError("no combiner ships with this package; make one with `make verdict`")
    _make_folder(out)
    say = progress or (lambda _: None)
    classifier, settled = models.classifier, data.settle(models.classifier)
    subjects = load_subjects(classifier, data, settled, limit=plan.limit)
    if plan.half is not None:
        subjects = subjects.at((subjects.half == plan.half).nonzero().flatten())
    errors, left_out = _planted(models, subjects, plan, names, out, say)
    rows = choose_reference(subjects, count=plan.reference, seed=plan.seed, without=frozenset(errors.sources))
    rows = _apart(subjects, rows, errors)
    source = write_images(errors, subjects, rows, settled.spec, out)

    def blind(with_combiner: Combiner | None) -> Blind:
        return give_blind(
            classifier, source, len(errors), out, helpers=models.helpers, combiner=with_combiner, settings=settings,
            progress=progress,
        )  # fmt: skip

    first = blind(combiner)
    record: dict[str, Any] = {
        **asdict(names),
        "identity": classifier.identity,
        "combiner": combiner_hash(combiner)[:12],
        "plan": asdict(plan),
        "reference": len(rows),
        "figures": score(errors, first, seed=plan.seed),
        "groups_alone": group_scores(errors, first, seed=plan.seed),
        "rules": rule_scores(errors, first),
        "costs": costs(first),
        "left_out": left_out,
    }
    if adapted:
        setting = _Setting(models, subjects, settled, combiner, plan, say)
        record["adapted"] = _adapted(setting, errors, blind)
    record = json.loads(json.dumps(record, allow_nan=False))  # lists and text keys, as they are read again
    _write(out / RECORD, json.dumps(record, indent=1) + "\n")
    _write(out / PAGE, page(record))
    return record


def _planted(
    models: BenchmarkModels,
    subjects: Subjects,
    plan: VerdictPlan,
    names: BenchmarkNames,
    out: Path,
    say: Callable[[Progress], None],
) -> tuple[PlantedErrors, dict[str, str]]:
    """Return the errors of the folder, or plant them; and what was left out."""
    surrogate = None if models.surrogate is None else models.surrogate.identity
    facts = {"model": models.classifier.identity, "data": names.data, "surrogate": surrogate, **asdict(plan)}
    made_with = json.dumps(facts, sort_keys=True)
    file, facts_file = out / PLANTED, out / MADE_WITH
    if not file.is_file():

        def told(name: str, count: int) -> None:
            say(Progress(f"plant {name}", count, max(1, count), 0, 0))

        made, report = plant_errors(models.classifier, subjects, plan, surrogate=models.surrogate, progress=told)
        _write(facts_file, json.dumps({"made_with": made_with, "left_out": report.refused}) + "\n")
        save_planted(made, file, made_with)
    left_out = json.loads(facts_file.read_text("utf-8"))["left_out"] if facts_file.is_file() else {}
    return load_planted(file, made_with), left_out


def _apart(subjects: Subjects, rows: torch.Tensor, errors: PlantedErrors) -> torch.Tensor:
    """Drop reference images of photographs in which errors were planted, as long as 100 are left."""
    used = set(errors.sources)
    free = [row for row in rows.tolist() if subjects.sources[row] not in used]
    return torch.tensor(free, dtype=torch.int64) if len(free) >= 100 else rows


@dataclass(frozen=True, slots=True, eq=False)
class _Setting:
    models: BenchmarkModels
    subjects: Subjects
    settled: Settled
    combiner: Combiner
    plan: VerdictPlan
    say: Callable[[Progress], None]

    def adapt(self, half: int) -> Adapted:
        """Adapt the combiner on one half of the photographs."""
        some = self.subjects.at((self.subjects.half == half).nonzero().flatten())
        plan = replace(self.plan, per_cause=PER_CAUSE, seed=self.plan.seed + 1 + half)
        return adapt(
            self.models.classifier, some, self.settled, self.combiner, helpers=self.models.helpers, plan=plan,
            progress=lambda name, count: self.say(Progress(f"adapt {name}", count, max(1, count), 0, 0)),
        )  # fmt: skip


def _adapted(setting: _Setting, errors: PlantedErrors, blind: Callable[[Combiner | None], Blind]) -> dict[str, Any]:
    """Adapt on each half of the photographs, and score the errors of the other half."""
    parts, own = [], {}
    for half in (0, 1):
        found = setting.adapt(half)
        own[f"half {half}"] = found.record()
        verdicts = blind(found.combiner)
        parts.append(_rows(verdicts, errors.half.numpy()[verdicts.row] != half))
    return {**score(errors, _joined(parts), seed=setting.plan.seed), "adaptation": own}


def _rows(blind: Blind, chosen: np.ndarray) -> Blind:
    kept = np.flatnonzero(chosen)
    arrays = {name: getattr(blind, name)[kept] for name in ("row", "p", "sets", "stage", "signs")}
    words = {name: tuple(getattr(blind, name)[at] for at in kept) for name in ("cause", "tested")}
    return replace(blind, **arrays, **words)


def _joined(parts: Sequence[Blind]) -> Blind:
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("row", "p", "sets", "stage", "signs")
    }
    words = {name: tuple(v for part in parts for v in getattr(part, name)) for name in ("cause", "tested")}
    return replace(parts[0], **arrays, **words)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFailure(f"{out} cannot be written: {error}") from error


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EnvironmentFailure(f"{file} cannot be written: {error}") from error
