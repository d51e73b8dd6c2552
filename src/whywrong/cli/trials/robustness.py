"""``whywrong robustness``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from whywrong.cli.options import MODEL_HELP, DataOptions, ModelOptions, ProgressKind, choose, read_pairs, spread
from whywrong.cli.progress import KINDS, ProgressDisplay
from whywrong.cli.streams import count, printable, say, tell
from whywrong.core.errors import EXIT_DONE, EXIT_FAILED_ITEMS, InputError


@spread
def robustness(
    *,
    model: Annotated[list[str], Argument(metavar="MODEL", help=f"One or more models. {MODEL_HELP}")],
    data: Annotated[str, Argument(metavar="DATA", help="Labelled images, resized and cropped for the first model.")],
    out: Annotated[Path, Option(metavar="DIR", help="Output folder; may hold a run of the first model.")],
    row: Annotated[
        list[str] | None, Option(metavar="NAME", help="Only this row, such as pgd_linf; may be repeated. Default: all.")
    ] = None,
    images: Annotated[
        int | None, Option(metavar="N", min=1, help="Use at most N images, spread over the data; default 200.")
    ] = None,
    settings: Annotated[
        list[str] | None, Option("--set", metavar="SETTING=VALUE", help="A setting, such as eps=1/255; repeatable.")
    ] = None,
    workers: Annotated[
        int, Option(metavar="N", help="Number of worker processes; a crash loses only the image that caused it.")
    ] = 1,
    progress: ProgressKind = "auto",
    as_json: Annotated[bool, Option("--json", help="Print record, rows and tests as one JSON object.")] = False,
    model_options: ModelOptions,
    data_options: DataOptions,
) -> int:
    """Which model resists shifts, corruptions, attacks and patches?

    Tests all models on the same images with affine transforms, corruptions, PGD and APGD next to random noise of equal
    size, and one patch that is corrupted, random or adversarial. Writes a page and a table with intervals and paired
    tests. A model that grants only labels or scores skips the rows that need more.

    Device, precision and batch size apply to all models, the other options of the model only to the first.

    \b
    Examples:
      whywrong robustness planted:cnn planted:vit planted:test --out runs/robustness
      whywrong robustness nets.py:cnn nets.py:vit photos/val --images 100 --row pgd_linf --out runs/a
      whywrong robustness timm:resnet18 photos/val --weights resnet18.safetensors --set eps=1/255 --out runs/b
    """
    from whywrong import api

    choose("--progress", progress, KINDS)
    given = read_pairs(settings)
    for name, value in (("rows", tuple(row or ())), ("images", images)):
        if value and name in given:
            raise InputError(f"{name} is given by an option and by --set; give it once")
        if value:
            given[name] = value
    if len(set(model)) < len(model):
        twice = next(name for name in model if model.count(name) > 1)
        raise InputError(f"{printable(twice)} is given twice; give each model once")
    reading = data_options.source_keywords()
    source = api.open_data(data, **reading)  # check the folder before the models load
    others = model_options.of_others()
    with ProgressDisplay(progress) as display:
        display.prepare()
        report = api.robustness(
            [
                api.load_classifier(model[0], **model_options.keywords()),
                *(api.load_classifier(name, **others) for name in model[1:]),
            ],
            source,
            out,
            names=_short_names(model),
            workers=workers,
            progress=display,
            decode_options=data_options.decode_options(),
            reading=reading,
            **given,
        )
    code = EXIT_FAILED_ITEMS if report.record["failed"] else EXIT_DONE
    if as_json:
        tell(json.dumps({"record": report.record, "rows": list(report.rows), "tests": list(report.tests)}))
        return code
    models = count(len(model), "model")
    images_told = count(report.record["images"], "image")
    tell(f"{models} on {images_told}; share of right answers, or of trials that fool a model.")
    for one in report.rows:
        tell(f"  {one['row']:<24}{printable(one['model']):<28}{_figures(one)}")
    _tell_tests(report.tests)
    for key, reason in report.record["failed"][:5]:
        say(f"failed: {printable(key)}: {printable(reason)}")
    tell()
    tell(f"Page: {report.page}")
    return code


def _short_names(models: Sequence[str]) -> list[str]:
    """Return names without their folders, where that tells them apart."""
    short = [printable(name.rsplit("/", 1)[-1]) for name in models]
    return short if len(set(short)) == len(short) else [printable(name) for name in models]


def _figures(row: Mapping[str, Any]) -> str:
    if row["reason"]:
        return f"not measured: {printable(row['reason'])}"
    if row["fooled"] is None:
        return f"{_span(row, 'accuracy')} right"
    origin = f" (made for {printable(row['source'])})" if row["source"] != row["model"] else ""
    return f"{_span(row, 'fooled')} fooled{origin}"


def _span(row: Mapping[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    span = "no interval" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f} %"
    return f"{100 * row[name]:5.1f} % ({span})"


def _tell_tests(tests: Sequence[Mapping[str, Any]]) -> None:
    decided = [one for one in tests if one["kind"] == "models" and one["p_adjusted"] is not None]
    told = [one for one in decided if one["p_adjusted"] <= 0.05]
    if decided:
        tell(f"Paired tests between models: {len(told)} of {len(decided)} differ at 5 %, allowing for all tests.")
    for one in told:
        tell(
            f"  {one['row']:<24}{printable(one['first'])} minus {printable(one['second'])}: "
            f"{100 * one['difference']:+.1f} points, adjusted p {one['p_adjusted']:.2g}"
        )
