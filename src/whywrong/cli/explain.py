"""``whywrong explain``."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated, Any, cast

from typer import Argument, Option

from whywrong.cli.next_step import say_next
from whywrong.cli.options import MODEL_HELP, ImageOptions, ModelOptions, choose, read_settings, spread
from whywrong.cli.progress import ProgressDisplay
from whywrong.cli.streams import printable, tell
from whywrong.cli.summaries.runs import end_run
from whywrong.core.errors import DataError


@spread
def explain(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_HELP)],
    image: Annotated[Path, Argument(metavar="IMAGE", help="One image file.")],
    label: Annotated[str, Option(metavar="L", help="True class of the image: name, wnid or index.")],
    out: Annotated[
        Path | None, Option(metavar="RUN", help="Output folder; default: the name of IMAGE with -why.")
    ] = None,
    methods: Annotated[
        str | None, Option(metavar="NAMES", help="Methods, separated by commas; default: those of the depth.")
    ] = None,
    depth: Annotated[str, Option(metavar="DEPTH", help="Which methods run: quick, standard or deep.")] = "quick",
    reference: Annotated[
        str | None,
        Option(metavar="DATA", help="Labelled images used as controls; without them, there is no verdict."),
    ] = None,
    seed: Annotated[int, Option(metavar="N", help="Seed of every method.")] = 0,
    settings: Annotated[
        list[str] | None, Option("--set", metavar="METHOD.SETTING=VALUE", help="A setting; may be repeated.")
    ] = None,
    model_options: ModelOptions,
    image_options: ImageOptions,
) -> int:
    """Explain one image in a few sentences here, and in full in a report.

    \b
    Example:
      whywrong explain timm:resnet50 dog.jpg --label "golden retriever" --weights resnet50.safetensors
    """
    from whywrong import api
    from whywrong.core.registry import DEPTHS

    choose("--depth", depth, DEPTHS)
    names = [name.strip() for name in methods.split(",")] if methods else None
    options = read_settings(settings)
    api.check_settings(cast(Any, depth), names, options)  # find simple mistakes before the model loads
    if not image.is_file():
        raise DataError(f"{image}: no such image")
    out = out or Path(f"{image.stem}-why")
    with ProgressDisplay("auto") as display:
        display.prepare()
        classifier = api.load_classifier(model, **model_options.keywords())
        source = None if reference is None else api.open_data(reference)  # before the work begins
        run = api.explain_image(
            classifier,
            image,
            label,
            out,
            methods=names,
            depth=depth,
            seed=seed,
            options=options,
            progress=display,
            decode_options=image_options.decode_options(),
            label_by=image_options.label_by,
        )
        report = None
        if len(run.errors()):
            report = api.verdict(run, classifier, reference=source, force=True, seed=seed, progress=display)
    if report is not None:
        _tell_verdict(report.tables["verdicts"].to_pylist()[0])
    for sentence in api.readings(run):
        tell(textwrap.fill(printable(sentence), 88))
    code = end_run(run, out, sentences=False)
    say_next("query", out)
    return code


def _tell_verdict(row: dict[str, Any]) -> None:
    """Print the verdict on the image."""
    texts = (("Why", [row["why_text"]]), ("Because", row["for_text"]), ("Against", row["against_text"]),
             ("Do", [row["do_text"]]), ("Lacks", row["lacks"]))  # fmt: skip
    for title, sentences in texts:
        if sentences:
            joined = ("; " if title == "Lacks" else " ").join(sentences)
            tell(textwrap.fill(printable(joined), 88, initial_indent=f"{title:<9}", subsequent_indent=" " * 9))
    tell()
