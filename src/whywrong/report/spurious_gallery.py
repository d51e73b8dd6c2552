"""The page of ``whywrong spurious``: components to look at, their evidence, and labels set by keyboard.

One self-contained HTML file made from what :mod:`whywrong.runs.spurious_files` wrote; loads no torch.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from whywrong._version import __version__
from whywrong.core.statistics import Interval
from whywrong.report.html import STATIC, _replace
from whywrong.report.numbers import count, interval, known, listed, percent, share, shown, sig
from whywrong.report.overlays import data_uri, density, signed_png
from whywrong.runs.spurious_files import read_search

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tile:
    """One image shown with a component.

    Attributes:
        picture: ``data:`` address of what the model sees.
        map: ``data:`` address of the map over it, or None.
        small: Whether it is enlarged by whole pixels.
        alt: What it is, in words.
        line: What stands under it.
        caused: Whether the model is wrong here because of the component.
        ratio: Width divided by height.
    """

    picture: str
    map: str | None
    small: bool
    alt: str
    line: Markup
    caused: bool
    ratio: str


@dataclass(frozen=True, slots=True)
class Card:
    """One component.

    Attributes:
        anchor: Id of its element.
        class_name: As shown.
        write_as: How the class is named in the file of labels.
        component: From 1.
        verdict: ``harmful``, ``not confirmed`` or ``too few carriers``.
        label: What a person said, or None.
        sentences: Its evidence in words.
        numbers: Name, value and note of each number behind them.
        tops, carriers: Images.
        unit: What the colours of the maps mean; empty without maps.
    """

    anchor: str
    class_name: str
    write_as: str
    component: int
    verdict: str
    label: str | None
    sentences: Sequence[Markup]
    numbers: Sequence[tuple[str, str, str]]
    tops: Sequence[Tile]
    carriers: Sequence[Tile]
    unit: str


def write_gallery(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a search as one HTML file that refers to nothing outside itself.

    Args:
        folder: The folder that ``whywrong spurious --out`` wrote.
        path: The file to write; default ``spurious.html`` in the folder. It is replaced in one step.

    Raises:
        RunFolderError: There is no search in the folder, or it is damaged.
        EnvironmentFailure: The file cannot be written.
    """
    record, rows, pictures = read_search(folder)
    target = path or folder / "spurious.html"
    script = (STATIC / "spurious.js").read_text(encoding="utf-8")
    style = "".join((STATIC / name).read_text(encoding="utf-8") for name in ("report.css", "spurious.css"))
    cards = _cards(record, rows, pictures)
    environment = Environment(
        loader=PackageLoader("whywrong.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals["count"] = count
    pieces = environment.get_template("spurious.html.j2").generate(
        subject=_subject(record),
        headline=headline(record, rows),
        lede=_lede(record, rows, len({card.class_name for card in cards})),
        strip=_strip(record, rows),
        repairs=_repairs(record),
        groups=_groups(cards, rows),
        classes=list(dict.fromkeys(card.class_name for card in cards)),
        total=len(cards),
        basis=record["basis"],
        method=_method(record),
        left_out=[(shown(name), reason) for name, reason in record["left_out"].items()],
        failed=[(shown(key), shown(reason)) for key, reason in record["failed"][:20]],
        failed_more=max(0, len(record["failed"]) - 20),
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        version=__version__,
    )
    _replace(target, pieces)
    return target


def headline(record: Row, rows: Sequence[Row]) -> str:
    """What was found, in one sentence."""
    hits = sorted((row for row in rows if row["verdict"] == "harmful"), key=lambda row: -row["harm"])
    if not hits:
        return (
            f"No component of {count(record['classes_searched'], 'class', 'classes')} is confirmed to mislead the "
            "model on these images."
        )
    first = hits[0]
    name, others = shown(first["class_name"]), count(first["carriers"], "image")
    return (
        f"A component of {name} misleads the model: {first['caused']:,} of {others} of other classes that carry it "
        f"{'is' if first['caused'] == 1 else 'are'} read as {name} because of it."
    )


def _others(rows: Sequence[Row]) -> list[str]:
    """What else is harmful, in one sentence, where anything is."""
    hits = sorted((row for row in rows if row["verdict"] == "harmful"), key=lambda row: -row["harm"])[1:]
    if not hits:
        return []
    parts = [
        f"component {row['component']} of {shown(row['class_name'])} ({row['caused']:,} of {row['carriers']:,})"
        for row in hits[:4]
    ]
    if len(hits) > 4:
        parts.append(f"{len(hits) - 4:,} more")
    return [f"Confirmed as well: {listed(parts)}."]


def _subject(record: Row) -> tuple[str, str]:
    model = record["model"]["source"] or "a model in memory"
    return shown(str(model).rpartition("/")[2] or model), shown(_place(record["data"]))


def _place(spec: Row) -> str:
    path = str(spec["path"])
    return f"planted:{path}" if spec["kind"] == "planted" else path.rstrip("/").rpartition("/")[2] or path


def _lede(record: Row, rows: Sequence[Row], drawn: int) -> list[str]:
    found = (
        f"Components were found in {count(record['images_searched'], 'reference image')}"
        if record["reference"]
        else f"No training images were given, so components were found in {count(record['images_searched'], 'image')} "
        "of the data itself; a feature that these images do not show cannot be found"
    )
    sentences = [
        *_others(rows),
        f"{found}. They were judged on {count(record['images_held_out'], 'other image')}, with intervals that allow "
        f"for the {count(record['components_searched'], 'component')} searched.",
        "A component is only a direction in which the images of a class differ. Whether it is the object or something "
        "spurious is for you to say: look at what its images have in common, and where the map lies.",
    ]
    if drawn < record["classes_searched"]:
        sentences.append(
            f"{drawn:,} of {record['classes_searched']:,} classes are drawn here, those that mislead most; the table "
            "holds all of them."
        )
    return sentences


def _strip(record: Row, rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    harmful = [row for row in rows if row["verdict"] == "harmful"]
    named = [row for row in rows if row["label"]]
    spurious = sum(row["label"] == "spurious" for row in named)
    short = sum(row["verdict"] == "too few carriers" for row in rows)
    return [
        ("Classes searched", f"{record['classes_searched']:,}", f"{len(record['left_out']):,} left out"),
        ("Components searched", f"{record['components_searched']:,}", f"{short:,} carried by too few images to judge"),
        ("Confirmed harmful", f"{len(harmful):,}", "on images that took no part in finding them"),
        ("Labelled by a person", f"{len(named):,}", f"{spurious:,} as spurious"),
    ]


def _repairs(record: Row) -> list[dict[str, Any]]:
    found = []
    for repair in record["repairs"]:
        score = repair["spurious_score"]
        change = repair["change"]
        found.append(
            {
                "title": "counted from the level of other classes"
                if repair["start"] == "others"
                else "counted from the mean of the class, as published",
                "sentence": f"Of {count(repair['carriers'], 'image')} of other classes that carry a component labelled "
                f"spurious, {repair['read_as']:,} are read as its class before and {repair['read_as_after']:,} after "
                f"SpuFix; accuracy on all {count(repair['images'], 'held-out image')} goes from "
                f"{percent(repair['before']['value'])} to {percent(repair['after']['value'])}.",
                "rows": [
                    ("Carriers read as the class", f"{repair['read_as']:,}", f"{repair['read_as_after']:,}"),
                    ("Spurious score, precision-recall", sig(score["ap"]), sig(score["ap_after"])),
                    ("Spurious score, AUC", sig(score["auc"]), sig(score["auc_after"])),
                    ("Accuracy, all classes", *(_share(repair[side]) for side in ("before", "after"))),
                    ("Accuracy, repaired classes", *(_share(repair[side]) for side in ("own_before", "own_after"))),
                ],
                "note": f"Change of accuracy {_points(change['value'])} ({_span(change['low'], change['high'])}).",
            }
        )
    return found


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


def _cards(record: Row, rows: Sequence[Row], pictures: Sequence[Row]) -> list[Card]:
    names = record["model"]["classes"]
    drawn: dict[tuple[int, int], list[Row]] = {}
    for picture in pictures:
        drawn.setdefault((picture["class"], picture["component"]), []).append(picture)
    by_place = {(row["class"], row["component"]): row for row in rows}
    return [_card(by_place[place], drawn[place], names) for place in drawn]


def _groups(cards: Sequence[Card], rows: Sequence[Row]) -> list[tuple[str, int, list[Card]]]:
    images = {shown(row["class_name"]): row["images"] for row in rows}
    groups: dict[str, list[Card]] = {}
    for card in cards:
        groups.setdefault(card.class_name, []).append(card)
    return [(name, images[name], sorted(some, key=lambda card: card.component)) for name, some in groups.items()]


def _card(row: Row, drawn: Sequence[Row], names: Sequence[str]) -> Card:
    cells = [density(_grid(picture)) for picture in drawn if picture["map"] is not None]
    # One scale for all images of a component, so that they can be compared.
    scale = max((float(np.quantile(np.abs(values), 0.98)) for values in cells), default=0.0)
    tiles = {
        group: [_tile(picture, names, scale) for picture in drawn if picture["group"] == group]
        for group in ("top", "carrier")
    }
    unit = ""
    if cells:
        rows_cols = " × ".join(map(str, cells[0].shape))
        adds = "" if row["map"] == "exact" else " The map is approximate for this model: it need not add up."
        unit = (
            f"{rows_cols} cells. Orange adds to the class, blue takes away; full colour from ± {sig(scale, 2)} logits "
            f"per 1\u00a0% of the area, for all images of this component; small values fade.{adds}"
        )
    return Card(
        anchor=f"c{row['class']}-{row['component']}",
        class_name=shown(row["class_name"]),
        write_as=_written(row["class"], names),
        component=row["component"],
        verdict=row["verdict"],
        label=row["label"],
        sentences=_sentences(row),
        numbers=_numbers(row),
        tops=tiles["top"],
        carriers=tiles["carrier"],
        unit=unit,
    )


def _written(index: int, names: Sequence[str]) -> str:
    """A name for the file of labels that stands for this class alone."""
    name = names[index]
    return name if names.count(name) == 1 and name.strip() == name and name.isprintable() else str(index)


def _grid(picture: Row) -> np.ndarray:
    return np.array(picture["map"], dtype=np.float32).reshape(picture["rows"], picture["cols"])


def _faded(values: np.ndarray, scale: float) -> np.ndarray:
    """Small values smaller still, so that the even level of a class does not veil its images."""
    return values * np.minimum(np.abs(values) / scale, 1) if scale > 0 else values


def _tile(picture: Row, names: Sequence[str], scale: float) -> Tile:
    label, predicted = shown(names[picture["label"]]), shown(names[picture["predicted"]])
    kind = "png" if picture["picture"].startswith(b"\x89PNG") else "jpeg"
    adds = f"{'+' if picture['alpha'] > 0 else ''}{sig(picture['alpha'], 2)} logits"
    if picture["group"] == "top":
        line = Markup("<b class='number'>{}</b>").format(adds)
        if picture["predicted"] != picture["label"]:
            line += Markup(" read as {}").format(predicted)
    else:
        line = Markup("{} <span class='arrow' aria-label='read as'>→</span> {}").format(label, predicted)
        if picture["caused"]:
            line += Markup(" <strong>because of it</strong>")
    return Tile(
        picture=data_uri(picture["picture"], kind),
        map=None if picture["map"] is None else signed_png(_faded(density(_grid(picture)), scale), scale),
        small=max(picture["width"], picture["height"]) <= 64,
        alt=f"{shown(picture['key'])}, labelled {label}, read as {predicted}; this component adds {adds}",
        line=line,
        caused=bool(picture["caused"]),
        ratio=f"{picture['width']}/{picture['height']}",
    )


def _sentences(row: Row) -> list[Markup]:
    name, n = shown(row["class_name"]), row["carriers"]
    found = []
    if row["verdict"] == "too few carriers":
        found.append(
            Markup("Undetermined: only {} of other classes carry it, too few to judge.").format(
                count(n, "held-out image")
            )
            if n
            else Markup("Undetermined: no held-out image of another class carries it.")
        )
    else:
        found.append(
            Markup(
                "{} of {} of other classes that carry it {} read as <em class='wrong'>{}</em> because of it."
            ).format(f"{row['caused']:,}", count(n, "held-out image"), "is" if row["caused"] == 1 else "are", name)
        )
        found.append(
            Markup(
                "Confirmed: at least {} even after allowing for {}, against at most {} of the images without it."
                if row["verdict"] == "harmful"
                else "Not confirmed: allowing for {1} it may be as little as {0}, against up to {2} of the images "
                "without it."
            ).format(
                percent(row["harm_adjusted_low"]),
                count(row["searched"], "component searched", "components searched"),
                percent(row["base_adjusted_high"]),
            )
        )
    if row["verdict"] == "harmful":
        found.append(
            Markup("Taken away, it changes accuracy by {} in all, and by {} on images of {}.").format(
                _points(row["accuracy_change"]), _points(row["own_change"]), name
            )
        )
    if known(row["outside"]):
        found.append(
            Markup("On its strongest images {} of what it adds lies outside the object.").format(
                percent(round(row["outside"], 2))
            )
        )
    if known(row["bias"]) and row["own_images"] >= 8 and (row["bias_low"] > 0 or row["bias_high"] < 0):
        more, less = ("more", row["accuracy_high"]), ("least", row["accuracy_low"])
        found.append(
            Markup("The class is read rightly in {} of its images with most of it, and in {} of those with {}.").format(
                percent(more[1]), percent(less[1]), less[0]
            )
        )
    return found


def _numbers(row: Row) -> list[tuple[str, str, str]]:
    harm = Interval(row["harm"] if known(row["harm"]) else float("nan"), row["harm_low"], row["harm_high"])
    bias = f"{_points(row['bias'])} ({_span(row['bias_low'], row['bias_high'])})"
    scores = [(row["score_ap"], row["score_ap_fixed"]), (row["score_auc"], row["score_auc_fixed"])]
    return [
        ("Share of variance", percent(row["share"]), f"{sig(row['spread'])} logits within the class"),
        ("Read as the class", share(row["read_as"], row["carriers"]), "of other classes that carry it"),
        ("Because of it", share(row["caused"], row["carriers"]), f"95 % interval {interval(harm)}"),
        ("Without it", percent(row["base"]), "of other classes that do not carry it, read as the class"),
        (
            "Taken away",
            f"{_points(row['accuracy_change'])} of accuracy",
            f"{_points(row['own_change'])} on images of the class",
        ),
        (
            "Spurious score",
            f"{sig(scores[0][0])} to {sig(scores[0][1])}",
            f"area under precision-recall, before and after; AUC {sig(scores[1][0])} to {sig(scores[1][1])}",
        ),
        ("Bias", bias if known(row["bias"]) else "n/a", "accuracy with most of it minus accuracy with least"),
        ("Carried from", f"{sig(row['bar'])} logits", f"other classes mostly stay below {sig(row['level'])}"),
    ]


def _method(record: Row) -> list[str]:
    config = record["config"]
    return [
        "Neural PCA by class (Neuhaus et al. 2023, arXiv 2212.04871): weights times features of the last layer, split "
        "along the directions in which images of the class differ. The components and the bias add up to the logit; "
        f"here they miss it by at most {sig(record['residual'], 2)} of its terms.",
        "An image carries a component if it has more of it than 99 % of the images of other classes, or than three in "
        "four images of the class itself, whichever is less. Because of it: read as the class, and no longer so once "
        "the component is taken away.",
        "Harmful: the share that is read as the class because of it lies above the share read so without it, both "
        f"with intervals at {percent(1 - config['level'])} over all {record['components_searched']:,} components "
        "together. It does not say that the component is spurious: two classes that look alike mislead each other.",
        f"{count(record['shared'], 'image')} of the data {'is' if record['shared'] == 1 else 'are'} among the "
        "reference images, too, and judged nothing."
        if record["shared"]
        else "No image that judged was among those in which components were found.",
        f"whywrong {record['whywrong']}; model {record['model']['identity'][:12]}, "
        f"{record['model']['features']:,} features; search {record['basis']}.",
    ]
