"""``whywrong dissect``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from whywrong.cli.next_step import say_next
from whywrong.cli.options import MODEL_HELP, DataOptions, ModelOptions, ProgressKind, choose, read_pairs, spread
from whywrong.cli.progress import KINDS, ProgressDisplay
from whywrong.cli.streams import count, printable, say, tell
from whywrong.core.errors import EXIT_DONE, EXIT_FAILED_ITEMS

SHOWN = 8


@spread
def dissect(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_HELP)],
    data: Annotated[str, Argument(metavar="DATA", help="Labelled images.")],
    out: Annotated[Path, Option(metavar="DIR", help="Output folder; may hold a run of the same model.")],
    layer: Annotated[
        str | None, Option(metavar="NAME", help="Layer to dissect; default: the last spatial layer.")
    ] = None,
    concepts: Annotated[
        str,
        Option(
            metavar="KIND",
            help="Where concepts come from: planted (pictures shipped with the package), masks (objects in DATA), "
            "painted (colours, textures, faults) or auto.",
        ),
    ] = "auto",
    settings: Annotated[
        list[str] | None, Option("--set", metavar="SETTING=VALUE", help="A setting, such as quantile=0.01; repeatable.")
    ] = None,
    workers: Annotated[
        int, Option(metavar="N", help="Number of worker processes; a crash loses only the image that caused it.")
    ] = 1,
    progress: ProgressKind = "auto",
    as_json: Annotated[bool, Option("--json", help="Print the record of the dissection as one JSON object.")] = False,
    model_options: ModelOptions,
    data_options: DataOptions,
) -> int:
    """Which concepts do the units of a layer detect, and which units promote errors?

    Compares where each unit is active with the masks of concepts; masks swapped between images are the control. Splits
    the change from each error to its smallest fix into contributions of the units, patches the units that contribute
    most, and silences those that promote nearly all errors of a confusion. Ctrl-C stops; the same command resumes.

    \b
    Examples:
      whywrong dissect planted:cnn-spurious planted:causes --out runs/dissect
      whywrong dissect timm:resnet50 photos/val --weights resnet50.safetensors --layer layer3 --out runs/a
    """
    from whywrong import api

    choose("--progress", progress, KINDS)
    given = {"concepts": concepts, **({} if layer is None else {"layer": layer}), **read_pairs(settings)}
    reading = data_options.source_keywords()
    source = api.open_data(data, **reading)  # check the folder before the model loads
    with ProgressDisplay(progress) as display:
        display.prepare()
        report = api.dissect(
            api.load_classifier(model, **model_options.keywords()),
            source,
            out,
            workers=workers,
            progress=display,
            decode_options=data_options.decode_options(),
            reading=reading,
            **given,
        )
    record = report.record
    code = EXIT_FAILED_ITEMS if record["failed"] else EXIT_DONE
    if as_json:
        tell(json.dumps(record))
        return code
    rows = report.tables["dissection"].to_pylist()
    detectors = [row for row in rows if row["detects"]]
    tell(
        f"Layer {printable(record['layer'])}: {len(detectors):,} of {count(record['units'], 'unit')} detect one of "
        f"{count(len(record['concepts']['names']), 'concept')} ({record['concepts']['source']}), "
        f"{len({row['concept'] for row in detectors}):,} of them different."
    )
    if record["explained"]:
        tell(
            f"Units that promote {count(record['explained'], 'error')} most, mean logits against the smallest fix "
            f"(suspects marked *):"
        )
        for row in sorted(rows, key=lambda row: -row["promoted"])[:SHOWN]:
            name = printable(row["concept"]) if row["detects"] else "no concept"
            tell(f" {'*' if row['suspect'] else ' '} unit {row['unit']:<5} {row['promoted']:+.2f}  {name}")
    if record["silenced"]:
        suspects, random = record["silenced"]
        tell(
            f"Without {count(suspects['units'], 'suspect unit')}: {suspects['corrected']:.0f} errors corrected, "
            f"{suspects['broken']:.0f} new; random units: {random['corrected']:.1f} and {random['broken']:.1f}."
        )
    for key, reason in record["failed"][:5]:
        say(f"failed: {printable(key)}: {printable(reason)}")
    tell(f"Page: {report.page}")
    say_next("dissect", model, data, "--out", out, "--layer", "NAME")
    return code
