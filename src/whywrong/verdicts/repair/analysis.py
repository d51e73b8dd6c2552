"""The analysis ``repair``: what to do about the errors of a run, and what fine-tuning on them gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whywrong.core.access import Access
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext
from whywrong.verdicts.cases.predictions import SQL, Predictions, read_predictions
from whywrong.verdicts.repair.card import card
from whywrong.verdicts.repair.config import CONTROLS, PREDICTED, RELABELLED, WORDS, RepairConfig
from whywrong.verdicts.repair.outcome import Outcome, compare, corrects_more
from whywrong.verdicts.repair.parts import Parts, split
from whywrong.verdicts.repair.result import RepairResult
from whywrong.verdicts.repair.units import ArmPart, ArmUnit, ImageList, train_arm
from whywrong.verdicts.repair.worklists import RELABEL, TITLES, WorkItem, work_items
from whywrong.verdicts.stages.grouping import find_groups

FEWEST_HELD = 5  # errors
_VERDICTS = "select item_id, cause, tested, why_text, for_text, do_text from verdicts"
_PLACES = "select members, place from groups where place is not null order by group_id desc"
_VIEWS = "select table_name from information_schema.tables"


def repair(context: AnalysisContext, *, config: RepairConfig) -> RepairResult:
    """Sort the errors of a run into lists of work, and measure what fine-tuning on half of them gains on the rest.

    Args:
        context: Of a run. Its set ``data`` holds the images of the run; a set ``train`` replaces its correct images as
            those that keep what the model knows.
        config: Settings.

    Raises:
        InputError: The folder holds no run.
        DataError: Nothing was predicted.
    """
    names = context.query("select name from classes order by index")["name"].to_pylist()
    predictions = read_predictions(context.query(SQL), names)
    views = set(context.query(_VIEWS)["table_name"].to_pylist())
    verdicts = {row["item_id"]: row for row in context.query(_VERDICTS).to_pylist()} if "verdicts" in views else {}
    places = context.query(_PLACES).to_pylist() if "groups" in views else []
    work = work_items(predictions, find_groups(predictions, None, None), verdicts)
    facts: dict[str, Any] = {
        "errors": int(predictions.wrong.sum()),
        "images": len(predictions),
        "chosen": None,
        "lists": {name: count for name in TITLES if (count := sum(one.work == name for one in work))},
        "notes": [] if verdicts else ["the run has no verdicts, which say more; make them with `whywrong verdict RUN`"],
    }
    rows: dict[str, Any] = {"work": [_work_row(one) for one in work]}
    entries = context.entries(predictions.item_ids.tolist())
    gone = len(predictions) - len(entries)
    if gone:
        facts["notes"].append(f"{gone:,} of {len(predictions):,} images of the run are not in the data that was given")
    parts = split(predictions, config.most_images, config.seed)
    if reason := _why_not(context, config, predictions, parts):
        facts["notes"].append(f"no copy was trained: {reason}")
        return RepairResult(rows, facts)
    done = _train(context, config, _units(context, config, predictions, parts, entries, (work, places)))
    return _told(context, config, predictions, rows, facts, done)


@dataclass(frozen=True, slots=True, eq=False)
class _Done:
    """An arm and its outcome; None if it was not trained."""

    part: ArmPart
    outcome: Outcome | None


def _why_not(context: AnalysisContext, config: RepairConfig, predictions: Predictions, parts: Parts) -> str:
    """Return why no copy can be trained; empty if one can."""
    classifier = context.classifier
    if not config.train:
        return "only lists were asked for"
    if classifier.access < Access.INTERNALS or classifier.module is None:
        return f"the model grants {classifier.access.name.lower()} only, and training needs its module"
    fit, held = len(parts.errors), int(predictions.wrong[parts.held].sum())
    if fit < config.fewest or held < FEWEST_HELD:
        return (
            f"{fit} errors to train on and {held} to measure with are too few (at least {config.fewest} and "
            f"{FEWEST_HELD}); give more images"
        )
    return "" if len(parts.replay) else "no image is classified correctly"


def _train(context: AnalysisContext, config: RepairConfig, units: Sequence[ArmUnit]) -> list[_Done]:
    settings = ("steps", "batch", "replay", "rate", "pull", "seed")
    found = []
    for part in context.over("arms", train_arm, units, settings=settings):
        measured = len(part.items) and not part.reason
        found.append(_Done(part, compare(part.before, part.after, part.label, config.seed) if measured else None))
    return found


def _units(
    context: AnalysisContext,
    config: RepairConfig,
    predictions: Predictions,
    parts: Parts,
    entries: Mapping[str, Entry],
    found: tuple[Sequence[WorkItem], Sequence[Mapping[str, Any]]],
) -> list[ArmUnit]:
    """Make the units of the arms; ``found`` are the lists of work, and the groups that have a place."""
    work, places = found
    boxes = _boxes(places, predictions)
    suspects = {one.item_id for one in work if one.work == RELABEL}

    def images(rows: np.ndarray, labels: np.ndarray | None = None) -> ImageList:
        items = [str(item) for item in predictions.item_ids[rows]]
        there = np.array([item in entries for item in items], bool)
        label = predictions.label[rows] if labels is None else labels
        known = tuple(entries[item] for item in items if item in entries)
        return ImageList(known, label[there], boxes[rows[there]].astype(np.float32), "data")

    label, predicted = predictions.label[parts.errors], predictions.predicted[parts.errors]
    doubted = np.array([predictions.item_ids[row] in suspects for row in parts.errors], bool)
    labels = {
        RELABELLED: np.where(doubted, predicted, label),
        PREDICTED: predicted,
    }
    correct = _train_images(context, config) or images(parts.replay)
    choose, held = images(parts.choose[: config.most_images]), images(parts.held)
    apart = tuple(sorted(set(predictions.image_ids[np.concatenate([parts.choose, parts.held])].tolist())))
    return [
        ArmUnit(arm, images(parts.errors, labels.get(arm)), correct, choose, held, apart)
        for arm in config.arms
        if arm != RELABELLED or doubted.any()
    ]


def _train_images(context: AnalysisContext, config: RepairConfig) -> ImageList | None:
    """Return training images of the set ``train``, spread over it; None without one."""
    if "train" not in context.images:
        return None
    images = context.images["train"]
    listed = [entry for entry in images.source.open().entries() if entry.label is not None]
    chosen = listed[:: max(1, -(-len(listed) // config.most_images))]
    labels = np.array([images.labels[str(entry.label)] for entry in chosen], np.int64)
    return ImageList(tuple(chosen), labels, np.full((len(chosen), 4), np.nan, np.float32), "train")


def _boxes(places: Sequence[Mapping[str, Any]], predictions: Predictions) -> np.ndarray:
    """Return the place that the group of each item shares, (N, 4) left, top, right, bottom; NaN without one."""
    of_item: dict[str, Sequence[float]] = {}
    for row in places:
        of_item |= dict.fromkeys(row["members"], row["place"])
    unknown = [float("nan")] * 4
    return np.array([of_item.get(item, unknown) for item in predictions.item_ids], np.float64).reshape(-1, 4)


def _told(
    context: AnalysisContext,
    config: RepairConfig,
    predictions: Predictions,
    rows: dict[str, Any],
    facts: dict[str, Any],
    done: Sequence[_Done],
) -> RepairResult:
    chosen = _chosen(done, facts["notes"])
    rows["repair"] = [_arm_row(one, one is chosen) for one in done]
    facts["notes"] += [
        f"{WORDS[one.part.arm].lower()}: not trained, {one.part.reason}" for one in done if one.part.reason
    ]
    rows["repair_classes"] = [row for one in done for row in _class_rows(one.part)]
    lists = {one["item_id"]: one["work"] for one in rows["work"]}
    rows["repair_lists"] = [row for one in done for row in _list_rows(one.part, lists)]
    facts["chosen"] = None if chosen is None else chosen.part.arm
    if chosen is None or chosen.outcome is None:
        return RepairResult(rows, facts)
    module = context.classifier.module
    assert module is not None
    weights = {name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}
    weights |= dict(zip(chosen.part.names, chosen.part.weights, strict=True))
    text = card(context.images["data"].title, chosen.part, chosen.outcome, config, context.classifier.identity)
    return RepairResult(rows, facts, weights, text)


def _chosen(done: Sequence[_Done], notes: list[str]) -> _Done | None:
    """Return the safe arm that gains most and beats every control; None with a note if there is none."""
    controls = [one.part for one in done if one.part.arm in CONTROLS and one.outcome is not None]
    safe = [one for one in done if one.part.arm not in CONTROLS and one.outcome is not None and one.outcome.safe]
    better = [one for one in safe if all(_beats(one.part, control) for control in controls)]
    if better:
        return max(better, key=_gain)
    if safe:
        notes.append("no arm corrects more than its controls do, so no gain is due to the errors; no weights written")
    else:
        notes.append("no safe repair was found; no weights were written")
    return None


def _gain(one: _Done) -> float:
    return -np.inf if one.outcome is None else one.outcome.gain.value


def _beats(part: ArmPart, control: ArmPart) -> bool:
    """Test whether an arm is right more often than a control on the images that both could read."""
    place = {item: row for row, item in enumerate(control.items)}
    rows = [row for row, item in enumerate(part.items) if item in place]
    others = [place[part.items[row]] for row in rows]
    label = part.label[rows]
    return corrects_more(part.after[rows] == label, control.after[others] == label)


def _arm_row(one: _Done, chosen: bool) -> dict[str, Any]:
    part, outcome = one.part, one.outcome
    row: dict[str, Any] = {
        "arm": part.arm,
        "words": WORDS[part.arm],
        "control": part.arm in CONTROLS,
        "chosen": chosen,
        "safe": outcome is not None and outcome.safe,
        "reason": part.reason or None,
        "trained_errors": part.trained_errors if part.arm != CONTROLS[0] else 0,
        "share": part.share,
        "forwards": part.forwards,
        "backwards": part.backwards,
    }
    names = ("images", "errors", "fixed", "fixed_low", "fixed_high", "lost", "accuracy_before", "accuracy_after")
    names = (*names, "gain_low", "gain_high", "p", "worst_class", "worst_change")
    if outcome is None:
        return row | dict.fromkeys(names)
    share, gain = outcome.fixed_share, outcome.gain
    values = (outcome.images, outcome.errors, outcome.fixed, share.low, share.high, outcome.lost, outcome.before)
    worst = outcome.worst_class if outcome.worst_class >= 0 else None
    values = (*values, outcome.after, gain.low, gain.high, outcome.p, worst, outcome.worst_change)
    return row | dict(zip(names, values, strict=True))


def _class_rows(part: ArmPart) -> list[dict[str, Any]]:
    was, now = part.before == part.label, part.after == part.label
    found = []
    for index in np.unique(part.label).tolist():
        of = part.label == index
        found.append(
            {
                "arm": part.arm,
                "class": index,
                "images": int(of.sum()),
                "accuracy_before": float(was[of].mean()),
                "accuracy_after": float(now[of].mean()),
                "fixed": int((~was & now)[of].sum()),
                "lost": int((was & ~now)[of].sum()),
            }
        )
    return found


def _list_rows(part: ArmPart, lists: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return how many held-out errors of each list an arm corrects."""
    now = part.after == part.label
    of = [lists.get(item, "") for item in part.items]
    return [
        {
            "arm": part.arm,
            "work": name,
            "errors": of.count(name),
            "fixed": sum(one == name and bool(right) for one, right in zip(of, now, strict=True)),
        }
        for name in TITLES
        if name in of
    ]


def _work_row(one: WorkItem) -> Mapping[str, Any]:
    names = ("work", "item_id", "key", "label", "predicted", "suggested", "suspicion", "stated", "evidence", "action")
    return {name: getattr(one, name) for name in names} | {"suggested": one.suggested or None}
