"""``whywrong diagnose``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

from typer import Argument, Option

from whywrong.cli.options import MODEL_HELP, RUN, DataOptions, ModelOptions, choose, read_settings, spread
from whywrong.cli.progress import KINDS, ProgressDisplay
from whywrong.cli.summary import end_run
from whywrong.core.errors import EXIT_INTERRUPTED, WhyWrongError


class Stopped(WhyWrongError):
    """The user stopped a run that can be gone on with."""

    exit_code = EXIT_INTERRUPTED


@spread
def diagnose(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_HELP)],
    data: Annotated[str, Argument(metavar="DATA", help="Labelled images: class folders, manifest or .npz.")],
    out: Annotated[
        Path, Option(metavar="RUN", help="Folder of the run; a run that is there is gone on with.", rich_help_panel=RUN)
    ],
    depth: Annotated[str, Option(metavar="DEPTH", help="quick, standard or deep.", rich_help_panel=RUN)] = "quick",
    methods: Annotated[
        str | None,
        Option(
            metavar="NAMES",
            help="Methods with commas between, as in cam,inverted; default those of the depth.",
            rich_help_panel=RUN,
        ),
    ] = None,
    limit: Annotated[
        int,
        Option(
            metavar="N", help="Most errors to explain in full, spread over class pairs.", min=0, rich_help_panel=RUN
        ),
    ] = 200,
    settings: Annotated[
        list[str] | None,
        Option(
            "--set",
            metavar="METHOD.SETTING=VALUE",
            help="A setting, as in inverted.overshoot=0.2; may be repeated.",
            rich_help_panel=RUN,
        ),
    ] = None,
    workers: Annotated[
        int, Option(metavar="N", help="Processes; the model is loaded in each.", min=1, rich_help_panel=RUN)
    ] = 1,
    engine: Annotated[
        str, Option(metavar="NAME", help="Where the work is done: local.", rich_help_panel=RUN)
    ] = "local",
    seed: Annotated[int, Option(metavar="N", help="Seeds every method; part of the run.", rich_help_panel=RUN)] = 0,
    progress: Annotated[
        str, Option(metavar="KIND", help="auto, bar, plain, json or none.", rich_help_panel=RUN)
    ] = "auto",
    model_options: ModelOptions,
    data_options: DataOptions,
) -> int:
    """Find the images that MODEL gets wrong, find out why, and write the report.

    Everything lands in the folder of the run. Ctrl-C stops between two steps, a second one at once; the same
    command goes on where the run stopped. More methods, another depth or limit add to a run.

    \b
    Examples:
      whywrong diagnose timm:resnet50 photos/val --weights resnet50.safetensors --out runs/a
      whywrong diagnose nets.py:mine digits.npz --out runs/b --limit 50 --workers 4
      whywrong diagnose model.onnx photos --manifest labels.csv --classes classes.json --input-size 224 --out runs/c
    """
    from whywrong import api
    from whywrong.core.registry import DEPTHS

    choose("--depth", depth, DEPTHS)
    choose("--engine", engine, ("local",))
    choose("--progress", progress, KINDS)
    options = read_settings(settings)
    try:
        with ProgressDisplay(progress) as display:
            display.prepare()
            run = api.diagnose(
                api.load_classifier(model, **model_options.keywords()),
                data,
                out,
                depth=cast(Any, depth),
                methods=[name.strip() for name in methods.split(",")] if methods else None,
                limit=limit,
                seed=seed,
                workers=workers,
                batch_size=model_options.batch_size,
                options=options,
                progress=display,
                decode_options=data_options.decode_options(),
                **data_options.source_keywords(),
            )
    except KeyboardInterrupt:
        raise Stopped(f"interrupted; what is done is kept in {out}, the same command goes on from there") from None
    return end_run(run, out)
