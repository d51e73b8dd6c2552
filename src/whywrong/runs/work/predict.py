"""Predictions of one shard, batch by batch, skipping images on which the model fails."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import DeviceFailure, EnvironmentFailure, ModelError, ModelRaisedError
from whywrong.core.margins import error_margin
from whywrong.core.randomness import item_keys, keyed_uniform
from whywrong.models.classifier import Classifier
from whywrong.runs.engines.base import Report
from whywrong.runs.store.schemas import PREDICTIONS, PREDICTIONS_VERSION
from whywrong.runs.store.shards import shard_name, write_table
from whywrong.runs.work.context import Loaded, WorkerContext, as_input, batches
from whywrong.runs.work.plan import Pending, Row
from whywrong.runs.work.tasks import ShardTask

NEAR_TIE = 1e-5  # logits between the two highest classes, below which rounding may change the prediction
_RANDOM_CLASSES = 9  # next-scoring classes from which the random one is drawn
_HOPELESS = 8  # images on which a model may raise before it counts as broken
NOT_FINITE = "the model returned NaN or infinite scores"  # as worded by the classifier


def predict(context: WorkerContext, task: ShardTask, plan: Pending) -> Report:
    """Predict the pending items of a shard and commit its table, also if interrupted.

    Raises:
        ModelError: The model's output is invalid, or it raises on every image of the shard.
    """
    started, forwards = time.perf_counter(), context.classifier.forwards
    reasons = task.reasons
    rows = [
        _failed(
            Loaded(row, reasons[row["item_id"]], row["digest"]), "predict"
        )  # not read again, but known if listed so
        for row in plan.rows
        if row["item_id"] in reasons
    ]
    complete = True
    raised: list[str] = []
    for batch in batches(task, plan.rows, context.run_spec.batch_size):
        if context.stopping():
            complete = False
            break
        rows += _predict_batch(context, task, batch, raised)
    if len(raised) >= _HOPELESS and not plan.kept and not any(row["status"] == "ok" for row in rows):
        raise ModelError(f"the model fails on every image so far ({len(raised)}); the first: {raised[0]}")
    order = {row["item_id"]: row["position"] for row in plan.rows}
    rows.sort(key=lambda row: order[row["item_id"]])
    table = pa.Table.from_pylist(rows, schema=PREDICTIONS)
    facts = {
        "run": context.run_spec.identity,
        "result_version": PREDICTIONS_VERSION,
        "seconds": plan.facts.get("seconds", 0.0) + time.perf_counter() - started,
        "forwards": plan.facts.get("forwards", 0) + context.classifier.forwards - forwards,
    }
    whole = table if plan.kept is None else pa.concat_tables([plan.kept.select(PREDICTIONS.names), table])
    write_table(context.run.predictions / shard_name(task.shard), whole, facts)
    return Report(
        task=task,
        done=len(rows),
        errors=sum(r["status"] == "ok" and r["label"] is not None and r["predicted"] != r["label"] for r in rows),
        failed=sum(r["status"] == "failed" for r in rows),
        nonfinite=sum(r.get("reason") == NOT_FINITE for r in rows),
        complete=complete,
    )


def _predict_batch(
    context: WorkerContext, task: ShardTask, batch: list[Row], raised: list[str]
) -> list[dict[str, Any]]:
    if batch[0]["item_id"] in task.isolated:
        context.at([batch[0]["item_id"]])
        loaded = [context.load(batch[0])]
    else:
        loaded = context.take(len(batch))
    good = [item for item in loaded if item.reason is None]
    rows = [_failed(item, "read") for item in loaded if item.reason is not None]
    if not good:
        return rows
    context.at([item.row["item_id"] for item in good])
    pixels = [item.pixels for item in good if item.pixels is not None]
    answers, reasons = ask(context.classifier, as_input(pixels, context.classifier.device))
    raised += [reason for reason in reasons.values() if reason != NOT_FINITE]
    fine = []
    for at, (item, answer) in enumerate(zip(good, answers, strict=True)):
        if at in reasons:
            rows.append(_failed(item, "predict", reasons[at]))
        else:
            fine.append((item, answer))
    return rows + (_rows(fine, context.run_spec.seed) if fine else [])


def ask(classifier: Classifier, x: Tensor) -> tuple[list[Tensor | None], dict[int, str]]:
    """Compute the logits (K,) of every image, or its class () with label access.

    They are returned on the CPU. None with a reason if the model raises on that image alone, whatever the rest of the
    batch.

    Raises:
        ModelError: The output is invalid.
        DeviceFailure: The GPU fails.
    """
    try:
        if classifier.access < Access.SCORES:
            return list(classifier.predict(x).cpu()), {}
        logits, faults = classifier.logits_or_faults(x)
        return list(logits.cpu()), faults
    except DeviceFailure:
        raise
    except (ModelRaisedError, EnvironmentFailure) as error:
        problem = str(error)
    if len(x) == 1:
        return [None], {0: problem}
    half = len(x) // 2
    left, left_reasons = ask(classifier, x[:half])
    right, right_reasons = ask(classifier, x[half:])
    return left + right, left_reasons | {half + at: reason for at, reason in right_reasons.items()}


def _failed(item: Loaded, stage: str, reason: str | None = None) -> dict[str, Any]:
    return {
        "item_id": item.row["item_id"],
        "image_id": item.image_id,
        "label": item.row["label"],
        "status": "failed",
        "stage": stage,
        "reason": reason or item.reason,
        "width": item.width,
        "height": item.height,
        "notes": list(item.notes),
    }


def _rows(fine: Sequence[tuple[Loaded, Tensor | None]], seed: int) -> list[dict[str, Any]]:
    answers = torch.stack([answer for _, answer in fine if answer is not None])
    labels = [item.row["label"] for item, _ in fine]
    keys = item_keys(seed, [item.row["item_id"] for item, _ in fine], "random class")
    if answers.ndim == 1:
        columns: dict[str, list[Any]] = {"predicted": answers.tolist()}
    else:
        columns = scored(answers, labels, keys)
    return [
        {
            "item_id": item.row["item_id"],
            "image_id": item.image_id,
            "label": item.row["label"],
            "status": "ok",
            **{name: values[at] for name, values in columns.items()},
            "width": item.width,
            "height": item.height,
            "notes": list(item.notes),
        }
        for at, (item, _) in enumerate(fine)
    ]


def scored(logits: Tensor, labels: Sequence[int | None], keys: Tensor) -> dict[str, list[Any]]:
    """Return the columns of a prediction from logits (B, K).

    Args:
        logits: On the CPU.
        labels: (B,), the true classes; columns about an unknown class are None.
        keys: (B,) int64, seeds of the random class whose lead is stored.
    """
    confidence = logits.double().softmax(1)
    ranked, order = logits.sort(dim=1, descending=True, stable=True)
    known = torch.tensor([label is not None for label in labels])
    y = torch.tensor([label or 0 for label in labels])
    own = logits.gather(1, y[:, None])
    # Equal logits rank in the order of the classes, as in the prediction itself.
    rank = 1 + (logits > own).sum(1) + ((logits == own) & (torch.arange(logits.shape[1]) < y[:, None])).sum(1)
    labelled = {
        "true_confidence": confidence.gather(1, y[:, None])[:, 0],
        "rank_of_true": rank,
        "margin": error_margin(logits, y).double(),
        **_leads(ranked.double(), order, rank, keys),
    }
    return {
        "predicted": order[:, 0].tolist(),
        "confidence": confidence.gather(1, order[:, :1])[:, 0].tolist(),
        **{
            n: [v if ok else None for v, ok in zip(t.tolist(), known.tolist(), strict=True)]
            for n, t in labelled.items()
        },
        "near_tie": (ranked[:, 0] - ranked[:, 1] < NEAR_TIE).tolist(),
        "top5": order[:, :5].tolist(),
        "top5_confidence": confidence.gather(1, order[:, :5]).tolist(),
    }


def _leads(ranked: Tensor, order: Tensor, rank: Tensor, keys: Tensor) -> dict[str, Tensor]:
    """Compute how far a class is ahead of the next one: ``rival``, ``lead`` and ``random_lead``, (B,) each.

    With m_j the logits by which the predicted class leads j, the lead of t is min over the rivals j of m_j / m_t. It is
    that of the label of an error, and of the runner-up of a correctly classified image. The random class is one of the
    next-scoring nine: farther ones would make any class look near. Nothing for fewer than three classes.

    Args:
        ranked: (B, K) logits, descending, and ``order`` (B, K) their classes.
        rank: (B,) rank of the label, from 1.
        keys: (B,) int64, seeds of the random class.
    """
    if ranked.shape[1] < 3:
        return {}

    def lead(place: Tensor) -> Tensor:
        next_place = torch.where(place == 1, 2, 1)
        margins = ranked[:, :1] - ranked.gather(1, torch.stack([next_place, place], 1))
        return (margins[:, 0] / margins[:, 1]).nan_to_num(1.0, posinf=torch.inf)  # 0 / 0: all three are tied

    asked = (rank - 1).clamp_min(1)
    nearest = min(_RANDOM_CLASSES, ranked.shape[1] - 1)
    drawn = 1 + (keyed_uniform(keys, (1,))[:, 0] * nearest).long()
    return {
        "rival": order.gather(1, torch.where(asked == 1, 2, 1)[:, None])[:, 0],
        "lead": lead(asked),
        "random_lead": lead(drawn),
    }
