"""Texts of the page of ``whywrong spurious``, built from the tables of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from whywrong.core.statistics import Interval
from whywrong.report.numbers import count, interval, known, listed, percent, share, shown, sig

Row = Mapping[str, Any]


def headline(record: Row, rows: Sequence[Row]) -> str:
    """Summarise the search in one sentence."""
    hits = sorted((row for row in rows if row["verdict"] == "harmful"), key=lambda row: -row["harm"])
    if not hits:
        return (
            f"In {count(record['classes_searched'], 'class', 'classes')}, no component is confirmed to mislead the"
            " model "
            "on these images."
        )
    first = hits[0]
    name, others = shown(first["class_name"]), count(first["carriers"], "image")
    return (
        f"A component of {name} misleads the model: {first['caused']:,} of {others} of other classes that have it "
        f"{'is' if first['caused'] == 1 else 'are'} predicted as {name} because of it."
    )


def _others(rows: Sequence[Row]) -> list[str]:
    """Name the other harmful components in one sentence, if any."""
    hits = sorted((row for row in rows if row["verdict"] == "harmful"), key=lambda row: -row["harm"])[1:]
    if not hits:
        return []
    parts = [
        f"component {row['component']} of {shown(row['class_name'])} ({row['caused']:,} of {row['carriers']:,})"
        for row in hits[:4]
    ]
    if len(hits) > 4:
        parts.append(f"{len(hits) - 4:,} more")
    return [f"Also confirmed: {listed(parts)}."]


def subject(record: Row) -> tuple[str, str]:
    """Return the names of the model and of the data."""
    model = record["model"]["source"] or "a model in memory"
    return shown(str(model).rpartition("/")[2] or model), shown(_place(record["data"]))


def _place(spec: Row) -> str:
    path = str(spec["path"])
    return f"planted:{path}" if spec["kind"] == "planted" else path.rstrip("/").rpartition("/")[2] or path


def lead(record: Row, rows: Sequence[Row], drawn: int) -> list[str]:
    """Describe the search under the headline.

    ``drawn`` is the number of classes on the page.
    """
    found = (
        f"Components were found in {count(record['images_searched'], 'reference image')}"
        if record["reference"]
        else f"No training images were given, so components were found in {count(record['images_searched'], 'image')} "
        "of the data itself; features that do not occur in these images cannot be found"
    )
    sentences = [
        *_others(rows),
        f"{found}. They were tested on {count(record['images_held_out'], 'other image')}, with intervals corrected "
        f"for the search over {count(record['components_searched'], 'component')}.",
        "A component is a direction in which the images of a class differ. You decide whether it shows the object or "
        "something spurious: look at what its images have in common and at the places that the map marks.",
    ]
    if drawn < record["classes_searched"]:
        sentences.append(
            f"This page shows the {drawn:,} of {record['classes_searched']:,} classes whose components mislead most;"
            " the "
            "stored table has all classes."
        )
    return sentences


def statistics(record: Row, rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Return four summary statistics, each with title, value and note."""
    harmful = [row for row in rows if row["verdict"] == "harmful"]
    named = [row for row in rows if row["label"]]
    spurious = sum(row["label"] == "spurious" for row in named)
    short = sum(row["verdict"] == "too few carriers" for row in rows)
    return [
        ("Classes searched", f"{record['classes_searched']:,}", f"{len(record['left_out']):,} left out"),
        ("Components searched", f"{record['components_searched']:,}", f"{short:,} in too few images to test"),
        ("Confirmed harmful", f"{len(harmful):,}", "on images that were not used to find them"),
        ("Labelled by a person", f"{len(named):,}", f"{spurious:,} as spurious"),
    ]


def repairs(record: Row) -> list[dict[str, Any]]:
    """Describe the results before and after each repair."""
    found = []
    for repair in record["repairs"]:
        score = repair["spurious_score"]
        change, name = repair["change"], "the refit" if repair["start"] == "refit" else "SpuFix"
        found.append(
            {
                "title": _REPAIRS[repair["start"]],
                "sentence": f"Of {count(repair['carriers'], 'image')} of other classes that carry a component labelled "
                f"spurious, {repair['read_as']:,} are predicted as its class before {name} and"
                f" {repair['read_as_after']:,} "
                f"after it; accuracy on all {count(repair['images'], 'held-out image')} goes from "
                f"{percent(repair['before']['value'])} to {percent(repair['after']['value'])}.",
                "rows": [
                    (
                        "Images with the component predicted as the class",
                        f"{repair['read_as']:,}",
                        f"{repair['read_as_after']:,}",
                    ),
                    *_bias_row(repair),
                    ("Spurious score, precision-recall", sig(score["ap"]), sig(score["ap_after"])),
                    ("Spurious score, AUC", sig(score["auc"]), sig(score["auc_after"])),
                    ("Accuracy, all classes", *(_share(repair[side]) for side in ("before", "after"))),
                    ("Accuracy, repaired classes", *(_share(repair[side]) for side in ("own_before", "own_after"))),
                ],
                "note": f"Change of accuracy {_points(change['value'])} ({_span(change['low'], change['high'])}). "
                + (repair.get("note") or "Nothing is retrained.")
                + " On held-out images.",
            }
        )
    return found


_REPAIRS = {
    "others": "SpuFix, measured from the level of other classes",
    "class": "SpuFix, measured from the mean of the class as in the paper",
    "refit": "Last layer refitted on images with the least of the component",
}


def _bias_row(repair: Row) -> list[tuple[str, str, str]]:
    """Format the bias before and after a repair.

    It is the accuracy of the repaired classes where the components show most, minus where they show least.
    """
    bias = repair.get("bias")
    return (
        []
        if not bias
        else [("Bias, accuracy with most minus with least", _points(bias["before"]), _points(bias["after"]))]
    )


def _share(value: Row) -> str:
    if not known(value["value"]):
        return "n/a"
    return f"{percent(value['value'])} ({interval(Interval(value['value'], value['low'], value['high']))})"


def _points(value: float | None) -> str:
    if not known(value):
        return "n/a"
    text = sig(100 * float(value or 0), 2)
    return f"{text if text.startswith(chr(0x2212)) or text == '0' else '+' + text}\u00a0points"


def _span(low: float | None, high: float | None) -> str:
    return f"{_points(low)} to {_points(high)}".replace("\u00a0points to", " to")


def sentences(row: Row) -> list[Markup]:
    """Describe the evidence for one component."""
    name, n = shown(row["class_name"]), row["carriers"]
    found = []
    if row["verdict"] == "too few carriers":
        found.append(
            Markup("Undetermined: only {} of other classes have it, too few for a test.").format(
                count(n, "held-out image")
            )
            if n
            else Markup("Undetermined: no held-out image of another class has it.")
        )
    else:
        found.append(
            Markup(
                "{} of {} of other classes that have it {} predicted as <em class='wrong'>{}</em> because of it."
            ).format(f"{row['caused']:,}", count(n, "held-out image"), "is" if row["caused"] == 1 else "are", name)
        )
        found.append(
            Markup(
                "Confirmed: at least {} with the interval corrected for {}; of the images without it, at most {}."
                if row["verdict"] == "harmful"
                else "Not confirmed: with the interval corrected for {1} it may be only {0}; of the images without it, "
                "up to {2}."
            ).format(
                percent(row["harm_adjusted_low"]),
                count(row["searched"], "component searched", "components searched"),
                percent(row["base_adjusted_high"]),
            )
        )
    if row["verdict"] == "harmful":
        found.append(
            Markup("Removing it changes accuracy by {} in all, and by {} on images of {}.").format(
                _points(row["accuracy_change"]), _points(row["own_change"]), name
            )
        )
    if known(row["outside"]):
        found.append(
            Markup("On the images with most of it, {} of what it adds lies outside the object.").format(
                percent(round(row["outside"], 2))
            )
        )
    if known(row["bias"]) and row["own_images"] >= 8 and (row["bias_low"] > 0 or row["bias_high"] < 0):
        found.append(
            Markup(
                "Of the images of the class with most of the component, {} are predicted correctly; of those with "
                "least, {}."
            ).format(percent(row["accuracy_high"]), percent(row["accuracy_low"]))
        )
    return found


def numbers(row: Row) -> list[tuple[str, str, str]]:
    """Return the measurements of one component, each with name, value and note."""
    harm = Interval(row["harm"] if known(row["harm"]) else float("nan"), row["harm_low"], row["harm_high"])
    bias = f"{_points(row['bias'])} ({_span(row['bias_low'], row['bias_high'])})"
    scores = [(row["score_ap"], row["score_ap_fixed"]), (row["score_auc"], row["score_auc_fixed"])]
    return [
        ("Share of variance", percent(row["share"]), f"{sig(row['spread'])} logits within the class"),
        ("Predicted as the class", share(row["read_as"], row["carriers"]), "of other classes that have it"),
        ("Because of it", share(row["caused"], row["carriers"]), f"95 % interval {interval(harm)}"),
        ("Without it", percent(row["base"]), "of images of other classes without it are predicted as the class"),
        (
            "Removed",
            f"{_points(row['accuracy_change'])} of accuracy over all classes",
            f"{_points(row['own_change'])} on images of the class",
        ),
        (
            "Spurious score",
            f"{sig(scores[0][0])} to {sig(scores[0][1])}",
            f"area under precision-recall, before and after; AUC {sig(scores[1][0])} to {sig(scores[1][1])}",
        ),
        ("Bias", bias if known(row["bias"]) else "n/a", "accuracy with most of it minus accuracy with least"),
        (
            "Threshold",
            f"{sig(row['bar'])} logits",
            f"to count as an image with it; usual level of other classes {sig(row['level'])}",
        ),
    ]


def method(record: Row) -> list[str]:
    """Describe the method and its limits."""
    config = record["config"]
    return [
        "Neural PCA by class (Neuhaus et al. 2023, arXiv 2212.04871): the products of weights and features of the last "
        "layer are split along the directions in which images of the class differ. The components and the bias add up"
        " to "
        f"the logit; here the relative error of the sum is at most {sig(record['residual'], 2)}.",
        "An image has a component if the component adds more than in 99 % of the images of other classes, or more than"
        " in "
        "three quarters of the images of the class itself, whichever is less. An image is predicted as the class"
        " because "
        "of it if the prediction changes once the component is removed.",
        "A component is harmful if more images are predicted as the class because of it than images without it are,"
        " with "
        f"joint {percent(1 - config['level'])} intervals over all {record['components_searched']:,} components. A"
        " harmful "
        "component need not be spurious: classes that look alike also mislead each other.",
        f"{count(record['shared'], 'image')} of the data {'is' if record['shared'] == 1 else 'are'} also among the "
        "reference images, and left out of the tests."
        if record["shared"]
        else "No test image was among the images in which components were found.",
        f"whywrong {record['whywrong']}; model {record['model']['identity'][:12]}, "
        f"{record['model']['features']:,} features; search {record['basis']}.",
    ]
