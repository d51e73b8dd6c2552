"""Texts of the page of ``whywrong robustness``, built from the tables of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from whywrong.report.numbers import count, known, listed, percent, shown, sig

Row = Mapping[str, Any]
LEVEL = 0.05


def headline(record: Row, rows: Sequence[Row], tests: Sequence[Row]) -> str:
    """Summarise the comparison in one sentence."""
    models = [shown(name) for name in record["models"]]
    if len(models) == 1:
        worst = max((row for row in rows if known(row["fooled"])), key=lambda row: row["fooled"], default=None)
        if worst is None:
            return f"{models[0]} classifies {percent(_clean(rows, record['models'][0]))} of the images correctly."
        return f"{models[0]} is fooled most by {worst['title']}: {percent(worst['fooled'])} of the trials."
    decided = differing(tests)
    if not decided:
        return f"On these images, {listed(models)} show no significant difference in robustness."
    return f"{listed(models)} differ significantly in {count(len(decided), 'row')} of {len(compared(tests))}."


def compared(tests: Sequence[Row]) -> list[Row]:
    """Return the tests between models that have a p-value."""
    return [one for one in tests if one["kind"] == "models" and known(one["p_adjusted"])]


def differing(tests: Sequence[Row]) -> list[Row]:
    """Return the tests between models whose adjusted p-value is at most 5 %."""
    return [one for one in compared(tests) if one["p_adjusted"] <= LEVEL]


def lead(record: Row, rows: Sequence[Row]) -> list[str]:
    """Describe the comparison under the headline."""
    channels, height, width = record["input"]
    images, classes = count(record["images"], "image"), count(record["classes"], "class", "classes")
    sentences = [
        f"{images} of {classes} at {channels} x {height} x {width} were changed in the same way, with the same random "
        f"numbers, for {count(len(record['models']), 'model')}."
    ]
    right = {row["model"]: row["right"] for row in rows if row["row"] == "clean" and row["right"] is not None}
    none = [shown(name) for name, number in right.items() if not number]
    if none:
        sentences.append(f"{listed(none)} classifies no unchanged image correctly, so no attack can be measured.")
    if record["classes"] < 2:
        sentences.append("The models have only one class, so no change can alter a prediction.")
    return sentences


def statistics(record: Row, rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Return the accuracy of each model on unchanged images, as title, value and note."""
    found = []
    for row in rows:
        if row["row"] == "clean" and known(row["accuracy"]):
            note = f"{row['right']:,} of {row['images']:,} right, 95 % interval {span(row, 'accuracy')}"
            found.append((shown(row["model"]), percent(row["accuracy"]), note))
    return found


def span(row: Row, name: str) -> str:
    """Format the interval of a share."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if not (known(low) and known(high)):
        return "no interval"
    return f"{percent(low)} to {percent(high)}"


def test_line(one: Row) -> tuple[str, ...]:
    """Return the cells of a paired test."""
    ends = (one["low"], one["high"])
    interval = " to ".join(_points(value) for value in ends) if all(map(known, ends)) else "no interval"
    return (
        shown(one["row"]),
        shown(one["first"]),
        shown(one["second"]),
        f"{one['images']:,}",
        _points(one["difference"]),
        interval,
        sig(one["p_adjusted"], 2),
    )


def method(record: Row) -> list[str]:
    """Describe how the numbers were measured, and their limits."""
    config, side = record["config"], record["patch"]
    sentences = [
        "Fooled: the share of trials that end in a wrong class (for a targeted attack, in the target), over images"
        " that "
        "the model classifies correctly if unchanged. Intervals are 95 %, over images.",
        "Sign-flip tests between two models use the images that both classify correctly. Holm's method adjusts all "
        "p-values of the page together.",
        f"Attacks stay within {sig(255 * config['eps'])} grey levels (linf) or {sig(config['eps_l2'])} (l2); "
        "the control of each attack is random noise of equal size.",
        "An attack gives an upper bound of robustness: a stronger attack may fool the model more often.",
        f"Affine transforms follow AffNIST; the padding of the border is {shown(config['padding'])}.",
        f"The patch has {side} x {side} pixels at {_positions(config)} of a grid, the same for all images and models.",
    ]
    if record["token"]:
        token = record["token"]
        fits = "aligned with" if side % token == 0 else "not aligned with"
        sentences.append(f"The patch is {fits} patch tokens of {token} x {token} pixels.")
    if len(record["models"]) > 1:
        sentences.append("All images are resized and cropped for the input of the first model.")
    return sentences


def subject(record: Row) -> tuple[str, str]:
    """Return the names of the models and of the data."""
    spec = record["data"]
    path = str(spec["path"])
    place = f"planted:{path}" if spec["kind"] == "planted" else path.rstrip("/").rpartition("/")[2] or path
    return listed([shown(name) for name in record["models"]]), shown(place)


def _positions(config: Row) -> str:
    number = config["positions"]
    return "all positions" if number is None else f"up to {count(number, 'position')}"


def _points(value: float | None) -> str:
    return "n/a" if value is None or not known(value) else f"{100 * value:+.1f} points"


def _clean(rows: Sequence[Row], model: str) -> float:
    own = (row for row in rows if row["row"] == "clean" and row["model"] == model)
    return next((row["accuracy"] for row in own if known(row["accuracy"])), float("nan"))
