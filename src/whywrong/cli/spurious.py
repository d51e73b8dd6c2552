"""``whywrong spurious``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from whywrong.cli.next_step import say_next
from whywrong.cli.options import (
    MODEL_HELP,
    DataOptions,
    ModelOptions,
    ProgressKind,
    choose,
    given_flags,
    read_pairs,
    spread,
)
from whywrong.cli.progress import KINDS, ProgressDisplay
from whywrong.cli.streams import count, printable, say, tell
from whywrong.core.errors import EXIT_DONE, EXIT_FAILED_ITEMS, InputError

if TYPE_CHECKING:
    from whywrong.explain.spurious.class_changes import Changes
    from whywrong.explain.spurious.search import Search

SHOWN = 10
REPAIRS = {
    "others": "SpuFix from the level of other classes",
    "class": "SpuFix from the mean of the class, as published",
    "refit": "Last layer fitted again",
}


@spread
def spurious(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_HELP)],
    data: Annotated[str, Argument(metavar="DATA", help="Labelled images on which the findings are evaluated.")],
    out: Annotated[Path, Option(metavar="DIR", help="Output folder; may hold a run of the same model.")],
    reference: Annotated[
        str | None,
        Option(
            metavar="DATA",
            help="Labelled training images in which to search for components; default: a part of DATA.",
        ),
    ] = None,
    class_name: Annotated[
        list[str] | None,
        Option("--class", metavar="NAME", help="Only this class, by name, wnid or index; may be repeated."),
    ] = None,
    labels: Annotated[
        Path | None,
        Option(metavar="FILE", help="CSV of your labels, saved from the page; SpuFix is then measured."),
    ] = None,
    refit: Annotated[
        bool,
        Option(
            "--refit",
            help="With --labels, also refit the last layer on images that show little of the spurious "
            "features, and compare it with SpuFix.",
        ),
    ] = False,
    changes: Annotated[
        bool,
        Option(
            "--changes",
            help="Also change images of other classes into each class and show which features recur: "
            "24 images for each of up to 12 classes, 26 forward and backward passes per image.",
        ),
    ] = False,
    guide: Annotated[
        str | None,
        Option(
            metavar="GUIDE",
            help="Guidance for --changes if the model is not robust: `copy` fine-tunes a robust copy, or name a "
            "robust model with the same classes. Without it, changes of a model that is not robust are not drawn.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, Option("--set", metavar="SETTING=VALUE", help="A setting, such as components=5; repeatable.")
    ] = None,
    workers: Annotated[
        int, Option(metavar="N", help="Number of worker processes; a crash loses only the image that caused it.")
    ] = 1,
    progress: ProgressKind = "auto",
    as_json: Annotated[bool, Option("--json", help="Print the record of the search as one JSON object.")] = False,
    model_options: ModelOptions,
    data_options: DataOptions,
) -> int:
    """Which features other than the object does the model use for a class?

    Splits the logit of each class into components, shows the images with the largest values, and counts how
    many held-out images of other classes are misled. You label the spurious ones on the page. With your labels, the
    command measures a repair without retraining.

    \b
    Examples:
      whywrong spurious planted:cnn-spurious planted:causes --reference planted:marked --out runs/spurious
      whywrong spurious timm:resnet50 photos/val --weights resnet50.safetensors --reference photos/train --out runs/a
      whywrong spurious timm:resnet50 photos/val --weights resnet50.safetensors --reference photos/train --out runs/a \\
        --labels labels.csv
      whywrong spurious planted:cnn-spurious planted:marked --out runs/spurious --changes --guide copy
    """
    from whywrong import api

    choose("--progress", progress, KINDS)
    given = read_pairs(settings)
    if refit and labels is None:
        raise InputError("--refit repairs what is labelled spurious: give the labels with --labels")
    given |= {name: True for name, asked in (("changes", changes), ("refit", refit)) if asked}
    if guide is not None:
        given["guide"] = guide
    reading = data_options.source_keywords()
    source = api.open_data(data, **reading)  # check the folder before the model loads
    with ProgressDisplay(progress) as display:
        display.prepare()
        report = api.spurious_features(
            api.load_classifier(model, **model_options.keywords()),
            source,
            out,
            reference=reference,
            labels=labels,
            workers=workers,
            progress=display,
            decode_options=data_options.decode_options(),
            reading=reading,
            classes=tuple(class_name or ()),
            **given,
        )
    search = report.search
    code = EXIT_FAILED_ITEMS if search.failed else EXIT_DONE
    if as_json:
        tell(json.dumps(report.record))
        return code
    if not search.referenced:
        say("note: no --reference was given: components come from a part of DATA, which may not show what was learnt")
    tell(
        f"{count(search.searched, 'component')} of {count(len(search.classes), 'class', 'classes')} searched in "
        f"{count(len(search.search), 'image')}, judged on {count(len(search.held_out), 'other image')}."
    )
    if search.left_out:
        tell(f"{count(len(search.left_out), 'class', 'classes')} left out: too few images.")
    _tell_harmful(search)
    if report.changes is not None:
        _tell_changes(report.changes, search)
    for repair in report.repairs:
        tell(f"{REPAIRS[repair.start]}: {count(repair.components, 'component')} labelled spurious")
        rows = [
            (
                "images with the feature predicted as the class",
                f"{repair.read_as:,}",
                f"{repair.read_as_after:,} of {repair.carriers:,}",
            ),
            ("accuracy", *(f"{100 * side.value:.2f} %" for side in (repair.before, repair.after))),
        ]
        rows.append(
            ("bias, most minus least of it", *(_points(repair.mean_bias(side)) for side in ("before", "after")))
        )
        for title, name in (("precision-recall", "ap"), ("AUC", "auc")):
            before, after = repair.mean(name), repair.mean(f"{name}_after")
            rows.append((f"spurious score, {title}", f"{before:.4f}", f"{after:.4f}"))
        for title, before, after in rows:
            tell(f"  {title:<34}{before} -> {after}")
    for key, reason in search.failed[:5]:
        say(f"failed: {printable(key)}: {printable(reason)}")
    tell()
    tell(f"Page: {report.page}")
    if labels is None:
        flags = [*given_flags(model_options), *given_flags(data_options)]
        beside = ["--reference", reference] if reference is not None else []
        again = " beside --changes, which the page is written anew with" if report.changes is not None else ""
        tell(f"Look, label, download labels.csv, and give it with --labels{again}; table: {report.folder / 'spurious'}")
        say_next("spurious", model, data, *flags, *beside, "--out", out, "--labels", "labels.csv")
    return code


def _tell_harmful(search: Search) -> None:
    hits = [(found.harm[number], index, number) for index, found in search.classes.items() for number in found.harmful]
    hits.sort(key=lambda hit: -hit[0].share.value)
    tell(f"Confirmed harmful, allowing for all that were searched: {len(hits):,}.")
    for harm, index, number in hits[:SHOWN]:
        tell(
            f"  {printable(search.names[index]):<20} component {number + 1:<3} {harm.caused:,} of "
            f"{count(harm.carriers, 'image')} of other classes that carry it are read so because of it "
            f"({100 * harm.share.low:.0f} to {100 * harm.share.high:.0f} %)"
        )


def _tell_changes(changes: Changes, search: Search) -> None:
    found = list(changes.classes.values())
    images = sum(len(one.rows) for one in found)
    classes = count(len(found), "class", "classes")
    tell(f"Changed {count(images, 'image')} into {classes} of {changes.wanted:,}: {changes.guide.words}.")
    for one in found:
        change = one.route.change
        line = f"  {printable(search.names[one.index]):<20} reached by {one.route.valid.value:.0%}"
        if change.known:
            line += f", {change.outside.value:.0%} of the change outside the object ({change.area:.0%} of the area)"
        if changes.readable and one.others:
            line += f", {sum(tried.confirmed for tried in one.others)} of {len(one.others)} crops work on other images"
        tell(line)


def _points(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{100 * value:+.1f} points"
