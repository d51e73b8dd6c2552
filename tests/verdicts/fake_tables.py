"""A plausible set of tables of the analysis ``verdict`` for the errors of a run, without measuring anything."""

from __future__ import annotations

from typing import Any

from whywrong.core.registry import find_analysis
from whywrong.runs.folder import RunFolder
from whywrong.runs.store.results import write_results
from whywrong.verdicts.result import VerdictResult
from whywrong.verdicts.tables import ADVICE, GROUPS, INTERVENTIONS, SIGNS, VERDICTS

CAUSES = ("corruption", "spurious", "adversarial", "occluded", "label", "undetermined")


def fake_result(run: RunFolder) -> VerdictResult:
    """Tables of all errors of a run: every cause in turn, the first two groups share a mark and a class."""
    errors = run.query("select * from errors order by item_id").to_pylist()
    names = run.meta["model"]["classes"]
    rows = {
        "verdicts": [_verdict(number, row, names) for number, row in enumerate(errors)],
        "signs": [_sign(row, name) for row in errors for name in ("noise_level", "margin")],
        "interventions": [_intervention(number, row) for number, row in enumerate(errors)],
        "groups": _groups(errors, names),
        "advice": [_advice(arm) for arm in ("nothing", "action", "sham")] if errors else [],
    }
    counts: dict[str, int] = {}
    for row in rows["verdicts"]:
        counts[row["cause"]] = counts.get(row["cause"], 0) + 1
    facts = {
        "errors": len(errors),
        "counts": counts,
        "reference": {"images": 120, "source": "data"},
        "combiner": {"hash": "0" * 12},
        "costs": {"forwards": 34 * len(errors), "backwards": len(errors), "reference": 12_000},
        "lacks": ["no helper model"],
        "notes": [],
    }
    return VerdictResult(rows, facts)


def write_fake(run: RunFolder) -> None:
    """Write these tables into the folder of the run."""
    result = fake_result(run)
    write_results(run.path, find_analysis("verdict"), result.tables(), result.record, basis="fake")


def _verdict(number: int, row: dict[str, Any], names: list[str]) -> dict[str, Any]:
    cause = CAUSES[number % len(CAUSES)]
    tested = "supported" if cause in CAUSES[:3] else "untested"
    label, other = names[row["label"]], names[row["predicted"]]
    why = {
        "supported": f"Probably {cause} (0.91).",
        "untested": f"Looks like {cause} (0.74).",
    }[tested]
    blank = dict.fromkeys(VERDICTS.schema.names)
    return blank | {
        "item_id": row["item_id"],
        "image_id": row["image_id"],
        "label": row["label"],
        "predicted": row["predicted"],
        "cause": cause,
        "kind": "noise" if cause == "corruption" else None,
        "probability": 0.91 if tested == "supported" else 0.74,
        "probability_flat": 0.8,
        "causes": [{"cause": "corruption", "probability": 0.91}, {"cause": "occluded", "probability": 0.05}],
        "ordinary": 0.04,
        "set90": ["corruption", "occluded"],
        "tested": tested,
        "test": "denoising" if tested == "supported" else None,
        "restored": 1.0,
        "control": 0.01,
        "effect": 0.99,
        "p": 0.01,
        "why_text": "Undetermined: nothing stands out." if cause == "undetermined" else why,
        "for_text": [f"Denoising restores {label} in 3 of 3 tries; it changes 1 of 100 comparable correct images."],
        "against_text": [f"The second model predicts {other} too."],
        "do_text": "Denoise such images before they are classified.",
        "lacks": ["no helper model"],
        "stage": 2,
        "access": "INTERNALS",
        "helper": [],
        "combiner": "0" * 12,
        "group_id": 1 if number % 6 == 1 else None,
        "forwards": 34,
        "backwards": 1,
    }


def _sign(row: dict[str, Any], name: str) -> dict[str, Any]:
    return dict.fromkeys(SIGNS.schema.names) | {
        "item_id": row["item_id"],
        "image_id": row["image_id"],
        "sign": name,
        "group": "pixels_global" if name == "noise_level" else "scores",
        "raw": 0.07,
        "normal": 2.4,
        "reference_n": 120,
        "access": "LABELS" if name == "noise_level" else "SCORES",
        "status": "ok",
    }


def _intervention(number: int, row: dict[str, Any]) -> dict[str, Any]:
    cause = CAUSES[number % 3]
    return dict.fromkeys(INTERVENTIONS.schema.names) | {
        "item_id": row["item_id"],
        "image_id": row["image_id"],
        "intervention": "denoising",
        "cause": cause,
        "edits": 3,
        "restored": 1.0,
        "control_reference": 0.01,
        "effect": 0.99,
        "low": 0.7,
        "high": 1.0,
        "p": 0.01,
        "p_holm": 0.01,
        "direction": "remove",
        "outcome": "supported",
        "forwards": 3,
    }


def _groups(errors: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    marked = [row["item_id"] for row in errors[1::6]]
    found = []
    if marked:
        other = names[errors[1]["predicted"]]
        found.append(
            {
                "group_id": 1,
                "name": f"mark at the lower right, predicted as {other}",
                "cause": "spurious",
                "kind": "mark",
                "members": marked,
                "suspected": False,
                "sentence": f"{len(marked)} errors share a mark at the lower right and are predicted as {other}.",
                "action": "Cover the mark.",
                "place": [0.7, 0.7, 0.95, 0.95],
                "held_out_p": 0.01,
                "cohesion": 0.9,
                "effect": 0.6,
                "low": 0.4,
                "high": 0.8,
                "statistics": '{"transplant": [9, 16]}',
            }
        )
    if errors:
        rest = [row["item_id"] for row in errors[2:9]] or [errors[0]["item_id"]]
        found.append(
            {
                "group_id": len(found) + 1,
                "name": "blurred pictures",
                "cause": "",
                "kind": "blurred",
                "members": rest,
                "suspected": True,
                "sentence": f"{len(rest)} errors are blurred.",
                "action": "Look at them.",
                "statistics": "{}",
            }
        )
    blank = dict.fromkeys(GROUPS.schema.names)
    return [
        blank
        | group
        | {"size": len(group["members"]), "share": len(group["members"]) / len(errors), "medoids": group["members"][:4]}
        for group in found
    ]


def _advice(arm: str) -> dict[str, Any]:
    mended = {"nothing": 0, "action": 14, "sham": 1}[arm]
    return dict.fromkeys(ADVICE.schema.names) | {
        "group_id": 1,
        "action": "cover the mark",
        "arm": arm,
        "n_held": 15,
        "mended": mended,
        "low": max(0.0, mended / 15 - 0.2),
        "high": min(1.0, mended / 15 + 0.2),
        "net_gain": mended / 300,
        "net_low": mended / 400,
        "net_high": mended / 200,
        "negative_flips": 0,
        "advised": arm == "action",
        "command": "mask the lower right corner before classification",
    }
