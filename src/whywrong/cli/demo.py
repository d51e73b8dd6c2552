"""``whywrong demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from whywrong.cli.options import choose
from whywrong.cli.progress import KINDS, ProgressDisplay
from whywrong.cli.streams import say
from whywrong.cli.summary import end_run


def demo(
    out: Annotated[
        Path, Option(metavar="RUN", help="Folder of the run; kept, and gone on with, if it is there.")
    ] = Path("whywrong-demo"),
    progress: Annotated[str, Option(metavar="KIND", help="auto, bar, plain, json or none.")] = "auto",
    open_report: Annotated[bool, Option("--open", help="Open the report in the browser.")] = False,
) -> int:
    """Train a small network on the digits that come with scikit-learn, and find out why it is wrong.

    Takes under a minute on two cores and downloads nothing. The network sees 500 of the 1,797 handwritten digits
    and is asked about the others.

    \b
    Example:
      whywrong demo --out runs/demo
    """
    from whywrong import api

    choose("--progress", progress, KINDS)
    if not (out / "run.json").exists():
        say(f"Training a small network on {api.DEMO_TRAINED_ON} handwritten digits of scikit-learn ...")
    model, data = api.make_demo(out)
    say(f"Now the real thing: whywrong diagnose {model} {data} --out {out}")
    with ProgressDisplay(progress) as display:
        display.prepare()
        run = api.diagnose(api.load_classifier(model), data, out, progress=display)
    return end_run(run, out, open_report=open_report)
