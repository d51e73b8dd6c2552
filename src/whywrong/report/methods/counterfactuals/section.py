"""Section on visible changes into the true class and deeper into the predicted class.

A counterfactual is drawn as an explanation only if its change is trusted. All others are small and grey, with a
sentence that gives the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from whywrong.core.status import Status
from whywrong.report.numbers import count, known, percent, shown, sig
from whywrong.report.primitives import overlays
from whywrong.report.primitives.charts import Sparkline, sparkline
from whywrong.report.primitives.sections import (
    Block,
    Change,
    Context,
    Doubted,
    Picture,
    Section,
    SliderPanel,
    true_class,
    wrong_class,
)
from whywrong.report.tables import Row

TRUSTED = "semantic"
NOISE = "none"  # guided by incoherent gradients: its picture would be noise
ROLES = ("true", "wrong")
VERDICTS = {
    "semantic": "semantic: other models see the change as well",
    "adversarial": "adversarial: only this model reacts to it",
    "undecided": "undecided",
    "unchecked": "unchecked: no other model was asked",
}


def section(context: Context) -> Section | None:
    """Build the section on one error.

    Returns None if the error has no rows.
    """
    rows: list[Row] | None = context.row["counterfactuals"]
    if not rows or rows[0]["status"] == Status.SKIPPED:
        return None
    first = rows[0]
    if first["status"] != "ok":
        reason = shown(first["reason"] or "no reason given")
        return Section(blocks=[Block("Counterfactuals", "refused", [("refused", "", reason)])])
    chosen = {role: row for role in ROLES if (row := largest(rows, role)) is not None}
    if not chosen:
        return None
    found = Section(blocks=[_block(rows, context)])
    if first["reason"]:
        found.caveats.append(f"Counterfactuals: {shown(first['reason'])}.")
    panel = _panel(chosen, context)
    if panel.changes or panel.doubted:
        found.panels.append(panel)
    return found


def largest(rows: Sequence[Row], role: str) -> Row | None:
    """Return the counterfactual of a role with the largest radius.

    Only the picture of this one is stored.
    """
    found = [row for row in rows if row["role"] == role and known(row["eps"])]
    return max(found, key=lambda row: row["eps"]) if found else None


def trusted(row: Row) -> bool:
    """Test whether a counterfactual may be drawn as an explanation.

    If the guidance was noise, it may not, whatever the evaluator models say.
    """
    return row["trust"] == TRUSTED and row.get("guide") != NOISE


def _panel(chosen: dict[str, Row], context: Context) -> SliderPanel:
    stored = context.maps("counterfactuals")
    image = stored.get("image_u8")
    good = [role for role, row in chosen.items() if trusted(row)]
    changes = {role: _change_of(stored, role) for role in good}
    scale = overlays.common_scale([change for change in changes.values() if change is not None], 0.99)
    drawn = [role for role in good if image is not None and f"{role}_u8" in stored]
    pictures = _pictures(drawn, stored, context) if drawn else []
    width = 0 if image is None else max(image.shape[-2:])
    panel = SliderPanel(
        kind="counterfactuals",
        title="What would have to change" if good else "What would have to change: nothing that can be trusted",
        pictures=pictures,
        changes=[],
        doubted=[],
        slider="From the image as it is to its counterfactual",
        unit=f"Colours reach full strength at ± {sig(255 * scale, 2)} grey levels (mean of the channels), in every"
        " counterfactual of this image."
        if scale
        else "",
        tiny=0 < width <= 64,
        notes=[],
    )
    for role, row in chosen.items():
        if role in good:
            panel.changes.append(_change(role, row, changes[role], image, scale, context))
        else:
            panel.doubted.append(_doubted(role, row, stored, context))
    led = _led(list(chosen.values()))
    if led:
        panel.notes.append(led)
    if good:
        panel.notes.append(_how(next(iter(chosen.values()))))
    return panel


def _led(rows: Sequence[Row]) -> str:
    """Say how the searches were guided and what follows for the pictures.

    Empty if unknown, as in older runs.
    """
    guides = {row.get("guide") for row in rows}
    cosines = [row["coherence"] for row in rows if known(row.get("coherence"))]
    cosine = f" (cosine {sig(min(cosines), 2)}; a robust model has 0.6 or more)" if cosines else ""
    if "auxiliary" in guides:
        who = shown(rows[0].get("guided_by") or "a robust model helped")
        return (
            f"Guidance of the search: {who}. The probabilities are those of the explained model. A change is drawn"
            " only if"
            " evaluator models follow it further than the changes that this model finds without guidance."
        )
    if "given" in guides:
        return "Guidance of the search: an objective given by the caller."
    if NOISE in guides:
        return (
            "The search had no guidance, and the gradients of this model change direction under small noise"
            f"{cosine}. The changes found are therefore noise to other models and are not drawn. A robust model of the"
            " same classes can guide the search (counterfactuals.aux); other models can check it"
            " (counterfactuals.judges)."
        )
    if "own gradient" in guides:
        kept = f" (cosine {sig(min(cosines), 2)})" if cosines else ""
        return f"Guidance of the search: the model's own gradients, which keep their direction under small noise{kept}."
    return ""


def _pictures(good: list[str], stored: dict[str, np.ndarray], context: Context) -> list[Picture]:
    """Collect the pictures of the slider.

    They go from deeper in the predicted class, through the unchanged image, to the true class.
    """
    labels = {"wrong": f"more {context.wrong}", "image": "as it is", "true": context.true}
    alts = {
        "wrong": f"Changed to look more like {context.wrong} to the model",
        "image": "The image as the model sees it",
        "true": f"Changed into {context.true} for the model",
    }
    order = [role for role in ("wrong", "image", "true") if role == "image" or role in good]
    return [Picture(role, labels[role], overlays.picture(stored[f"{role}_u8"]), alts[role]) for role in order]


def _change_of(stored: dict[str, np.ndarray], role: str) -> np.ndarray | None:
    """Return the change (H, W), mean of the colours, in [-1, 1]."""
    change, image = stored.get(f"{role}_change"), stored.get("image_u8")
    return None if change is None or image is None else change / image.shape[0]


def _change(
    role: str, row: Row, change: np.ndarray | None, image: np.ndarray | None, scale: float, context: Context
) -> Change:
    name = _name(role, context)
    start, end = row["probability_target_start"], row["probability_target_end"]
    verb = "the model predicts" if row["valid"] else "the model does not yet predict"
    sentence = Markup("With this change, {} {}: {} ({} before).").format(verb, name, percent(end), percent(start))
    sentences = [sentence]
    extra = _where(row)
    if extra:
        sentences.append(Markup("{}").format(extra))
    reason = f" ({shown(row['trust_reason'])})" if row["trust_reason"] else ""
    sentences.append(Markup("Other classifiers see the change as well{}.").format(reason))
    difference = "" if change is None or image is None else overlays.changed_picture(image, change, scale)
    title = "Into the true class" if role == "true" else "Deeper into the predicted class"
    return Change(role, title, sentences, difference, _spark(row, role, context))


def _where(row: Row) -> str:
    parts = []
    if known(row["pix90"]):
        parts.append(f"90 % of the change is in {percent(row['pix90'])} of the pixels")
    if known(row["object_share"]):
        parts.append(f"{percent(row['object_share'])} of it on the object")
    text = ", ".join(parts)
    if row["valid"] and row["valid_u8"] is False:
        text += ("; " if text else "") + "the change is lost if the image is saved in whole grey levels"
    return text + "." if text else ""


def _doubted(role: str, row: Row, stored: dict[str, np.ndarray], context: Context) -> Doubted:
    name = _name(role, context)
    effect = "after which the model predicts" if role == "true" else "that makes the model more confident in"
    reached = Markup("A change {} {}").format(effect, name)
    if not row["valid"]:
        reached = Markup("A change towards {}, which it does not reach,").format(name)
    reason = f": {shown(row['trust_reason'])}" if row["trust_reason"] else ""
    text = {
        "adversarial": "was found (probability {}), but it is adversarial noise, not an explanation{}.",
        "undecided": "was found (probability {}); its meaning is undecided, so it is not shown as an explanation{}.",
    }.get(
        row["trust"],
        "was found (probability {}); no other model has checked it, so it is not shown as an explanation{}.",
    )
    sentence = reached + Markup(" ") + Markup(text).format(percent(row["probability_target_end"]), reason)
    pixels = stored.get(f"{role}_u8")
    image = "" if pixels is None or row.get("guide") == NOISE else overlays.grey_picture(pixels)
    target = context.true if role == "true" else context.wrong
    return Doubted(role, image, f"Change towards {target}, not to be taken as an explanation", sentence)


def _name(role: str, context: Context) -> Markup:
    return true_class(context.true) if role == "true" else wrong_class(context.wrong)


def _spark(row: Row, role: str, context: Context) -> Sparkline | None:
    course = [math.exp(value) for value in row["trajectory"] or () if known(value)]
    target = context.true if role == "true" else context.wrong
    start, end = percent(row["probability_target_start"]), percent(row["probability_target_end"])
    described = f"Probability of {target} along the search, from {start} to {end}"
    return sparkline(course, start=start, end=end, described=described)


def _how(row: Row) -> str:
    p = "∞" if row["p"] == math.inf else sig(row["p"])
    return (
        f"Largest change allowed: {sig(row['eps'])} in the l{p} norm over all pixels in [0, 1]. The slider mixes the"
        " pictures; every mixture is within that bound."
    )


def _block(rows: Sequence[Row], context: Context) -> Block:
    body = []
    for row in rows:
        if not known(row["eps"]):
            continue
        target = context.names[row["target"]]
        reached = percent(row["probability_target_end"])
        before = percent(row["probability_target_start"])
        state = "predicted as the target" if row["valid"] else f"predicted as {context.names[row['predicted_end']]}"
        title = {"true": "into the true class", "wrong": "deeper into the predicted class"}.get(
            row["role"], f"{str(row['role']).replace('_', ' ')}: {target}"
        )
        u8 = "" if row["valid_u8"] is None else f"; in whole grey levels {'as well' if row['valid_u8'] else 'not'}"
        body.append((f"{title}, radius {sig(row['eps'])}", f"{before} → {reached}", f"{state}{u8}"))
        numbers = [f"norm {sig(row['norm'])}", f"90 % of it on {percent(row['pix90'])} of the pixels"]
        if known(row["gap"]):
            numbers.append(f"Frank-Wolfe gap {sig(row['gap'], 2)} (0 is stationary)")
        if known(row["steps"]):
            numbers.append(f"{count(int(row['steps']), 'step')}, ended: {str(row['ending']).replace('_', ' ')}")
        body.append(("its size and check", numbers[0], "; ".join(numbers[1:])))
        score = f"score {sig(row['trust_score'], 2)}; " if known(row["trust_score"]) else ""
        verdict = VERDICTS.get(row["trust"], shown(row["trust"]))
        body.append(("trust", verdict, score + shown(row["trust_reason"] or "no reason given")))
    forwards, backwards = int(rows[0]["forwards"] or 0), int(rows[0]["backwards"] or 0)
    body.append(("cost", f"{forwards:,} forward and {backwards:,} backward passes", "of this error, all targets"))
    words = [row["trust"] for role in ROLES if (row := largest(rows, role)) is not None and row["trust"]]
    return Block("Counterfactuals", ", ".join(dict.fromkeys(words)), body)
