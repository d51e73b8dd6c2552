"""Plain readings: what the numbers of one error say, in short sentences with their uncertainty inside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from whywrong.report.numbers import count, grey_levels, known, listed, ordinal, percent, sig
from whywrong.report.tables import Names, Row

CHECKS = {
    "class": ("class control", "passes if the true class is nearer than the other top-scoring classes mostly are"),
    "random": ("random control", "passes if random noise of equal size rarely does the same"),
    "small_noise": ("small-noise control", "passes if the fix mostly still works after a little noise"),
}
GRADE_SENTENCES = {
    "meaningful": "The controls passed: where the fix lies probably tells something about this error.",
    "mixed": "The controls disagree: where the fix lies may or may not tell something about this error.",
    "noise-like": "This map is noise: the controls failed. Only the distance and the rival class can be trusted.",
}


def reading(error: Row, fix: Row | None, cam: Row | None, names: Names, nearer: float) -> list[Markup]:
    """The story of one error.

    Args:
        error: Its row of view ``errors``.
        fix: Its row of view ``inverted``, if any.
        cam: Its row of view ``cam`` with ``half_cells``, the fewest cells that hold half of the evidence, if any.
        names: Class names.
        nearer: Share of the fixed errors that are farther from right than this one, 0..1.
    """
    sentences = [_answer(error, names)]
    if error["near_tie"]:
        sentences.append(Markup("The two best classes are as good as tied, so this error may flip by rounding alone."))
    if fix is not None:
        sentences += _distance(fix, names[error["label"]], nearer)
        sentences += _region(fix)
        sentences += _eight_bit(fix)
    if cam is not None and cam["status"] == "ok" and known(cam["evidence"]):
        sentences.append(_evidence(cam, names[error["predicted"]], names[error["label"]]))
    return sentences


def _answer(error: Row, names: Names) -> Markup:
    rank, classes = error["rank_of_true"], len(names)
    place = Markup("")
    if known(error["true_confidence"]):
        place = Markup(" ({}").format(percent(error["true_confidence"]))
        if known(rank):
            place += Markup(", {} of {}").format(ordinal(int(rank)), f"{classes:,}")
        place += Markup(")")
    confidence = error["confidence"]
    sure = Markup(" ({})").format(percent(confidence)) if known(confidence) else Markup("")
    return Markup(
        "The model reads this as <em class='wrong'>{}</em>{}. It is labelled <em class='true'>{}</em>{}."
    ).format(names[error["predicted"]], sure, names[error["label"]], place)


def _distance(fix: Row, true: str, nearer: float) -> list[Markup]:
    if fix["status"] == "not_fixed_in_budget":
        tried = int(fix["q_candidates"])
        return [Markup("No fix was found with {}, so how far it is from right is unknown.").format(
            count(tried, "changed image")
        )]  # fmt: skip
    if fix["status"] != "fixed":
        return [Markup("The fix was not computed: {}.").format(fix["status"].replace("_", " "))]
    grey = 255 * fix["rho_linf"]
    sentence = Markup("A change of at most {} in any colour value makes it <em class='true'>{}</em>").format(
        grey_levels(grey), true
    )
    if known(nearer) and 0.05 <= nearer <= 0.95:
        sentence += Markup("; nearer to right than {} of the fixed errors").format(percent(round(nearer, 2)))
    elif known(nearer):
        sentence += Markup("; among the {} of all fixed errors").format("nearest" if nearer > 0.95 else "farthest")
    return [sentence + Markup(".")]


def _region(fix: Row) -> list[Markup]:
    grade = fix["grade"]
    if grade == "noise-like" or not fix["detailed"]:
        return []
    if not fix["region_fixed"]:
        return [Markup("No fix confined to a few regions was found.")] if known(fix["region_fixed"]) else []
    many = int(fix["region_count"])
    is_enough = "is enough to change its mind" if many == 1 else "are enough to change its mind"
    sentence = Markup("{}, {} of what the model sees, {}").format(
        count(many, "region"), percent(fix["region_area"]), is_enough
    )
    if known(fix["region_linf"]):
        sentence += Markup(" (changed by up to {})").format(grey_levels(255 * fix["region_linf"]))
    sentences = [sentence + Markup(".")]
    lift = fix["object_lift"]
    if known(lift):
        where = (
            "more on the object than its area would give" if lift > 1 else "less on the object than its area would give"
        )
        sure = ""
        if known(fix["object_lift_p"]) and fix["object_lift_p"] > 0.05:
            sure = ", which may be chance"
        sentences.append(Markup("The fix acts {} (lift {}){}.").format(where, sig(lift, 2), sure))
    return sentences


def _eight_bit(fix: Row) -> list[Markup]:
    if fix["status"] != "fixed" or fix["u8_fixed"] is None:
        return []
    if fix["u8_fixed"]:
        return []
    return [Markup("No 8-bit fix was found: saved as an ordinary image file, this fix is lost.")]


def _evidence(cam: Row, wrong: str, true: str) -> Markup:
    cells = int(cam["rows"]) * int(cam["cols"])
    evidence = float(cam["evidence"])
    if evidence <= 0:
        return Markup(
            "The evidence map alone favours <em class='true'>{}</em> by {} logits; what tips the balance is outside it."
        ).format(true, sig(-evidence))
    sentence = Markup(
        "The evidence for <em class='wrong'>{}</em> exceeds that for <em class='true'>{}</em> by {} logits"
    ).format(wrong, true, sig(evidence))
    if cam["half_cells"]:
        sentence += Markup("; {} of {} cells hold half of what speaks for <em class='wrong'>{}</em>").format(
            f"{cam['half_cells']:,}", f"{cells:,}", wrong
        )
    return sentence + Markup(".")


def half_cells(difference: np.ndarray) -> int:
    """The fewest cells that together hold half of the positive sum of a map (h, w)."""
    positive = np.sort(np.clip(difference, 0, None), axis=None)[::-1]
    total = positive.sum()
    if total <= 0:
        return 0
    return int(np.searchsorted(np.cumsum(positive), total / 2) + 1)


def check_name(name: str) -> str:
    """A control by the name people know it by."""
    return CHECKS.get(name, (name.replace("_", " "), ""))[0]


def controls(ran: Sequence[str], passed: Sequence[str]) -> str:
    """Which controls passed and which failed, in words."""
    good = [check_name(name) for name in ran if name in passed]
    bad = [check_name(name) for name in ran if name not in passed]
    parts = [f"passed: {listed(good)}"] if good else []
    parts += [f"failed: {listed(bad)}"] if bad else []
    return "; ".join(parts) or "no control ran"


def caveats(error: Row, fix: Row | None, cam: Row | None) -> list[str]:
    """What limits the reading of this error."""
    found = [f"Reading the file: {note}." for note in error["notes"] or ()]
    if fix is not None:
        if fix["unstable"]:
            found.append(
                "The fix was right when found and wrong when tested again among other images: it sits on the edge."
            )
        residual = fix["contribution_residual"]
        if known(residual) and abs(residual) > 0.02:
            found.append(
                f"The contribution map misses {percent(abs(residual))} of the change in margin, more than 2 %: read it"
                " with care."
            )
        if fix["status"] == "fixed" and not fix["detailed"]:
            found.append(
                "Explained without region fix and controls: it lies beyond the limit of errors explained in full."
            )
    if cam is not None and cam["status"] == "ok" and not cam["exact"]:
        found.append("The evidence map is approximate for this architecture: it does not have to sum to the logits.")
    return found
