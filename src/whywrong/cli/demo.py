"""``whywrong demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from whywrong.cli.options import ProgressKind, choose
from whywrong.cli.progress import KINDS, ProgressDisplay
from whywrong.cli.streams import say
from whywrong.cli.summaries.runs import end_run
from whywrong.cli.summaries.verdicts import tell_verdicts


def demo(
    out: Annotated[
        Path, Option(metavar="RUN", help="Output folder. If it already holds this run, the run is resumed.")
    ] = Path("whywrong-demo"),
    progress: ProgressKind = "auto",
    open_report: Annotated[bool, Option("--open", help="Open the report in the browser.")] = False,
) -> int:
    """Diagnose a small network whose mistakes have known causes.

    The network ships with the package. It learned twelve classes from rendered pictures, and also a spurious feature:
    nearly every fish in its training set had a yellow sticker. The demo diagnoses a few hundred pictures, some with
    planted mistakes. The report shows the true cause of each planted mistake next to the findings. The demo takes a
    minute or two on two cores and downloads nothing.

    \b
    Example:
      whywrong demo --out runs/demo
    """
    from whywrong import api

    choose("--progress", progress, KINDS)
    model, data = api.DEMO
    say(f"This is: whywrong diagnose {model} {data} --out {out} --verdict")
    with ProgressDisplay(progress) as display:
        display.prepare()
        classifier = api.load_classifier(model)
        run = api.diagnose(classifier, data, out, progress=display)
        report = api.verdict(run, classifier, data, progress=display, **api.DEMO_VERDICT)
    tell_verdicts(report)
    return end_run(run, out, sentences=False, open_report=open_report)
