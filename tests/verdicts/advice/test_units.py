"""Advice for groups in units of an analysis."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from tests.verdicts.making import make

from whywrong.data.sources.base import Entry
from whywrong.models.classifier import Classifier
from whywrong.runs.store.packing import pack, unpack
from whywrong.verdicts.advice import AdvicePart, AdviceUnit, Run, measure_advice, plan_advice
from whywrong.verdicts.damage import damage_level
from whywrong.verdicts.recurrence import Recurrence

N, R = 24, 60


def entry(name: str) -> Entry:
    return Entry(key=name, label="0", size=0, mtime_ns=0)


def noisy_run() -> Run:
    levels = np.concatenate([np.full(N, 0.3)])
    errors = make(np.full(N, 0.5), signs={"noise_level": levels}, predicted=np.full(N, 1))
    object.__setattr__(errors, "label", np.zeros(N, np.int64))
    reference = make(np.full(R, 0.5), signs={"noise_level": np.linspace(0, 0.02, R)}, name="r")
    nowhere = Recurrence(
        count=np.zeros(N, np.int64),
        best=np.full(N, np.nan, np.float32),
        compared=np.zeros(N, np.int64),
        p=np.ones(N, np.float32),
        place=np.full((N, 4), np.nan, np.float32),
        cluster=np.full(N, -1),
        marks=(),
    )
    return Run(
        errors=errors,
        reference=reference,
        recurrence=nowhere,
        entries={item: entry(item) for item in errors.item_ids},
        pool={item: entry(item) for item in reference.item_ids},
        correct=120,
    )


def worker() -> SimpleNamespace:
    """Errors are noisy and correct images even; the model takes rough images for class 1."""

    def rough(x: torch.Tensor) -> torch.Tensor:
        score = (x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3)) - 0.05
        return torch.stack([torch.zeros(len(x)), score], 1)

    def batches(entries, images):
        for start in range(0, len(entries), 16):
            some = entries[start : start + 16]
            noise = [torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(int(e.key[1:]))) for e in some]
            x = torch.stack([0.5 + 0.1 * n * (e.key[0] == "e") for e, n in zip(some, noise, strict=True)]).clamp(0, 1)
            yield SimpleNamespace(x=x, items=[SimpleNamespace(entry=e) for e in some])

    return SimpleNamespace(classifier=Classifier(rough), batches=batches)


def test_a_group_of_damaged_errors_is_restored_and_its_part_can_be_stored():
    run = noisy_run()
    [unit] = plan_advice(run, {3: ("corruption", range(N)), 4: ("label", range(N))})
    assert (unit.group, unit.restoration, unit.stands_for) == (3, "denoise", 2.0)
    assert unpack(AdviceUnit, pack(unit)).group == 3
    part = measure_advice(worker(), unit)  # type: ignore[arg-type]
    action = next(arm for arm in part.arms if arm.arm == "action")
    assert action.mended == action.n_held == N // 2
    assert action.advised
    assert unpack(AdvicePart, pack(part)).arms[1].mended == action.mended


def test_items_that_are_gone_are_left_out():
    run = noisy_run()
    run.entries.pop("e0")  # type: ignore[attr-defined]
    [unit] = plan_advice(run, {0: ("corruption", range(N))})
    assert len(unit.errors.entries) == N - 1


def test_the_level_of_a_damage_is_high_where_its_sign_is():
    run = noisy_run()
    assert damage_level(run.errors, run.reference, "denoise").min() > 3
    assert abs(np.median(damage_level(run.reference, run.reference, "denoise"))) < 0.1
    assert np.isnan(damage_level(run.errors, run.reference, "deblur")).all()
