# ruff: noqa: C408  (keywords read better than quoted keys in these long rows)
"""Verdicts, groups and advice on the errors of a made-up run, in the tables of the analysis."""

from __future__ import annotations

from typing import Any

from tests.report.fake_run import FakeRun

from whywrong.verdicts.tables import ADVICE, GROUPS, INTERVENTIONS, VERDICTS

CAUSES = ("spurious", "label", "corruption", "undetermined", "confusion", "occluded")


def add_verdicts(run: FakeRun, *, text: str = "", groups: bool = True) -> FakeRun:
    """Give every error a verdict, the first third of them ``spurious`` and supported by a test.

    Args:
        run: Changed in place.
        text: Put into every field that holds free text.
        groups: Whether errors are grouped.
    """
    errors = run._views["errors"].to_pylist()
    third = max(1, len(errors) // 3)
    rows, tests = [], []
    for i, error in enumerate(errors):
        cause = "spurious" if i < third else CAUSES[1 + i % 5]
        rows.append(verdict(error, cause, "supported" if cause == "spurious" else "untested", text))
        if cause != "undetermined":
            tests.append(intervention(error, cause, "supported" if cause == "spurious" else "untested"))
    run._views["verdicts"] = VERDICTS.table(rows)
    run._views["verdict_interventions"] = INTERVENTIONS.table(tests)
    if groups:
        ids = [error["item_id"] for error in errors]
        made = [
            group(1, "a mark at the lower right", "spurious", ids[:third], len(ids), suspected=False, text=text),
            group(2, "cut off by the crop", "", ids[third + 2 :], len(ids), suspected=True, text=text),
            group(3, "suspected labels", "label", ids[third : third + 2], len(ids), suspected=True, text=text),
            group(4, "one placeholder picture", "", ids[-1:], len(ids), suspected=True, text=text),
        ]
        run._views["groups"] = GROUPS.table([one for one in made if one["size"]])
        run._views["advice"] = ADVICE.table([*arms(1, third, text)])
    return run


def verdict(error: dict[str, Any], cause: str, tested: str, text: str = "") -> dict[str, Any]:
    """One row of the verdicts."""
    none = cause == "undetermined"
    ranked = [] if none else [{"cause": cause, "probability": 0.82}, {"cause": "shift", "probability": 0.11}]
    words = "Undetermined: nothing tested explains it." if none else f"Probably {cause} (0.82)."
    return dict(
        item_id=error["item_id"], image_id=error["image_id"], label=error["label"], predicted=error["predicted"],
        cause=cause, kind=None, probability=0.82, probability_flat=0.7, causes=ranked, ordinary=0.07,
        set90=[cause], tested=tested, test=None if none else "cover", restored=0.9, control=0.1, effect=0.8, p=0.01,
        power=0.9, why_text=f"{words}{text}",
        for_text=[f"Covering the mark restores the label in 9 of 10 tries, in 1 of 100 comparable images.{text}"],
        against_text=[f"The second model is wrong here too.{text}"], do_text=f"Cover the cue.{text}",
        lacks=[f"a second model{text}"], stage=3, access="internals", helper=[], combiner="c0ffee", group_id=1,
        forwards=40, backwards=1,
    )  # fmt: skip


def intervention(error: dict[str, Any], cause: str, outcome: str) -> dict[str, Any]:
    """One row of the tests."""
    return dict(
        item_id=error["item_id"], image_id=error["image_id"], intervention=f"take {cause} away", cause=cause, edits=10,
        restored=0.9, control_reference=0.1, control_place=0.05, effect=0.8, low=0.6, high=0.9, p=0.01, p_holm=0.02,
        direction="remove", outcome=outcome, forwards=10,
    )  # fmt: skip


def group(
    number: int, name: str, cause: str, members: list[str], errors: int, *, suspected: bool, text: str = ""
) -> dict[str, Any]:
    """One row of the groups."""
    n = len(members)
    start = "Perhaps" if suspected else "Tested:"
    return dict(
        group_id=number, name=f"{name}{text}", cause=cause, kind="mark", size=n, share=n / errors, suspected=suspected,
        sentence=f"{start} {n} errors share {name}.{text}", action=f"Look at {name}.{text}", medoids=members[:2],
        members=members, pair=None, place=None, held_out_p=0.01, cohesion=0.8, effect=0.8, low=0.6, high=0.9,
        statistics="{}",
    )  # fmt: skip


def arms(number: int, held: int, text: str = "") -> list[dict[str, Any]]:
    """The rows of an advised action and its sham."""
    row = dict(
        group_id=number, action=f"cover{text}", n_held=held, low=0.5, high=1.0, net_gain=0.09, net_low=0.05,
        net_high=0.12, negative_flips=1, worst_class=None, command=f"whywrong verdict RUN --apply{text}",
    )  # fmt: skip
    return [
        {**row, "arm": "action", "mended": max(held - 1, 0), "advised": True},
        {**row, "arm": "sham", "mended": 0, "advised": False},
    ]
