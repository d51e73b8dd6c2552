"""``whywrong explain``."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from whywrong.cli.options import MODEL_HELP, ImageOptions, ModelOptions, read_settings, spread
from whywrong.cli.progress import ProgressDisplay
from whywrong.cli.streams import printable, tell
from whywrong.cli.summary import end_run


@spread
def explain(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_HELP)],
    image: Annotated[Path, Argument(metavar="IMAGE", help="One image file.")],
    label: Annotated[str, Option(metavar="L", help="What it shows: class name, wnid or index.")],
    out: Annotated[
        Path | None, Option(metavar="RUN", help="Folder of the run; default IMAGE's name with -why.")
    ] = None,
    methods: Annotated[
        str | None, Option(metavar="NAMES", help="Methods with commas between; default those of the depth.")
    ] = None,
    depth: Annotated[str, Option(metavar="DEPTH", help="quick, standard or deep.")] = "quick",
    seed: Annotated[int, Option(metavar="N", help="Seeds every method.")] = 0,
    settings: Annotated[
        list[str] | None, Option("--set", metavar="METHOD.SETTING=VALUE", help="A setting; may be repeated.")
    ] = None,
    model_options: ModelOptions,
    image_options: ImageOptions,
) -> int:
    """One image with all its evidence: a short reading here, and a report with the maps.

    \b
    Example:
      whywrong explain timm:resnet50 dog.jpg --label "golden retriever" --weights resnet50.safetensors
    """
    from whywrong import api

    out = out or Path(f"{image.stem}-why")
    with ProgressDisplay("none") as display:
        run = api.explain_image(
            api.load_classifier(model, **model_options.keywords()),
            image,
            label,
            out,
            methods=methods.split(",") if methods else None,
            depth=depth,
            seed=seed,
            options=read_settings(settings),
            progress=display,
            decode_options=image_options.decode_options(),
            label_by=image_options.label_by,
        )
    for sentence in api.readings(run):
        tell(textwrap.fill(printable(sentence), 88))
    return end_run(run, out, sentences=False)
