"""``whywrong repair``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from whywrong.cli.next_step import say_next
from whywrong.cli.options import MODEL_HELP, DataOptions, ModelOptions, ProgressKind, choose, read_pairs, spread
from whywrong.cli.progress import KINDS, ProgressDisplay
from whywrong.cli.streams import tell
from whywrong.cli.summaries.repairs import tell_repairs
from whywrong.core.errors import EXIT_DONE


@spread
def repair(
    *,
    run: Annotated[Path, Argument(metavar="RUN", help="Folder of a finished run.")],
    model: Annotated[
        str | None, Argument(metavar="[MODEL]", help=f"The model of the run; default: as recorded in RUN. {MODEL_HELP}")
    ] = None,
    data: Annotated[
        str | None, Argument(metavar="[DATA]", help="The images of the run; default: as recorded in RUN.")
    ] = None,
    train: Annotated[
        str | None,
        Option(
            metavar="DATA",
            help="Training images that prevent forgetting; default: correct images of the run.",
        ),
    ] = None,
    lists_only: Annotated[bool, Option("--lists-only", help="Write the lists of work without training.")] = False,
    settings: Annotated[
        list[str] | None, Option("--set", metavar="SETTING=VALUE", help="A setting, such as steps=400; repeatable.")
    ] = None,
    workers: Annotated[int, Option(metavar="N", help="Number of worker processes; each loads the model.", min=1)] = 1,
    progress: ProgressKind = "auto",
    as_json: Annotated[bool, Option("--json", help="Print the record and the arms as one JSON object.")] = False,
    model_options: ModelOptions,
    data_options: DataOptions,
) -> int:
    """What should be done about the errors of RUN, and does fine-tuning on them help?

    Puts every error on a list of work (check the label, damaged, misleading region, close classes ...) as CSV and JSON.
    Then copies of the model are fine-tuned on one half of the images in several ways and measured on the other half,
    beside two controls that learn nothing from the errors. Weights are written only if an arm corrects more errors
    than the controls and harms no class. The model itself is never changed. Ctrl-C stops; the same command resumes.

    \b
    Examples:
      whywrong repair runs/a
      whywrong repair runs/a --lists-only
      whywrong repair runs/a timm:resnet50 photos/val --weights resnet50.safetensors --train photos/train
    """
    from whywrong import api

    choose("--progress", progress, KINDS)
    given: dict[str, Any] = {**read_pairs(settings), **({"train": False} if lists_only else {})}
    reading = data_options.source_keywords()
    found = api.open_run(run)
    with ProgressDisplay(progress) as display:
        display.prepare()
        name = model or found.meta["model"].get("source")
        report = api.repair(
            found,
            None if name is None else api.load_classifier(name, **model_options.keywords()),
            None if data is None else api.open_data(data, **reading),
            training=train,
            workers=workers,
            progress=display,
            **given,
        )
    if as_json:
        tell(json.dumps({**report.record, "arms": report.tables["repair"].to_pylist()}, default=str))
        return EXIT_DONE
    tell_repairs(report)
    tell(f"Report: {run / 'report.html'}")
    say_next("query", run, "select work, key, label, predicted, evidence from work")
    return EXIT_DONE
