"""Facts about each error that need no method, such as its predicted and its labelled class."""

from __future__ import annotations

from markupsafe import Markup

from whywrong.report.numbers import known, ordinal, percent, shown, sig
from whywrong.report.primitives.sections import Block, true_class, wrong_class
from whywrong.report.tables import Names, Row


def sentences(error: Row, names: Names) -> list[Markup]:
    """Write the first sentences about an error.

    Args:
        error: A row of view ``errors``.
        names: Class names.
    """
    found = [_answer(error, names), *_runner_up(error)]
    if error["near_tie"]:
        found.append(Markup("The two best classes are almost tied, so rounding alone may correct this error."))
    return found


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
    return Markup("The model predicts {}{}; the label is {}{}.").format(
        wrong_class(names[error["predicted"]]), sure, true_class(names[error["label"]]), place
    )


def _runner_up(error: Row) -> list[Markup]:
    """Say how far the labelled class leads the next one, if it clearly does."""
    about = error["runner_up"]
    if about is None or not about["clear"]:
        return []
    lead = f"{sig(about['lead'], 2)} ×" if known(about["lead"]) else "as large as can be"
    return [
        Markup(
            "The true class is the clear runner-up (lead over the next class {}). A random label reaches this in 5 %"
            " of cases, the runner-up of correctly classified images in {}."
        ).format(lead, percent(round(about["role_play_rate"], 2)))
    ]


def block(error: Row) -> Block:
    """Build the folded block with the margin and the identity of the image."""
    margin = error["margin"]
    facts = [
        ("margin", f"{sig(margin)} logits", "best other class minus the labelled one; positive is wrong"),
        ("image", f"{error['width']} × {error['height']} pixels", f"image_id {(error['image_id'] or '')[:16]}…"),
        ("item", error["item_id"], "item_id"),
    ]
    return Block("Image and margin", f"margin {sig(margin)} logits" if known(margin) else "", facts)


def caveats(error: Row) -> list[str]:
    """List the unusual properties of the image file."""
    return [f"Reading the file: {shown(note)}." for note in error["notes"] or ()]
