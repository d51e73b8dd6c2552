"""``whywrong benchmark``, commands that measure how reliable whywrong is on a user's model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from whywrong.cli.help import PlainCommand, PlainGroup
from whywrong.cli.options import MODEL_HELP, DataOptions, ModelOptions, ProgressKind, choose, spread
from whywrong.cli.progress import KINDS, ProgressDisplay
from whywrong.cli.streams import tell

DEPTHS = ("quick", "standard")

app = typer.Typer(cls=PlainGroup, no_args_is_help=True, help="Measure how often verdicts are right on your model.")


@app.callback()
def benchmark() -> None:
    """Measure how often the verdicts of whywrong are right on your model and images."""


@spread
def verdict(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_HELP)],
    data: Annotated[str, Argument(metavar="DATA", help="Labelled images: folder, manifest, .npz or planted:test.")],
    out: Annotated[Path, Option(metavar="DIR", help="Output folder; the same command resumes.")],
    helper: Annotated[
        list[str] | None,
        Option(metavar="MODEL", help="Another model with the same classes, used as evidence; repeatable."),
    ] = None,
    surrogate: Annotated[
        str | None,
        Option(metavar="MODEL", help="Another network, used to create transferable adversarial perturbations."),
    ] = None,
    adapt: Annotated[
        bool, Option("--adapt", help="Also measure a combiner adapted to this model with 20 planted errors per cause.")
    ] = False,
    combiner: Annotated[
        Path | None, Option(metavar="FILE", help="Combiner to measure; default: the one shipped with the package.")
    ] = None,
    per_cause: Annotated[int, Option(metavar="N", help="Number of single-cause errors per cause.", min=1)] = 40,
    reference: Annotated[
        int, Option(metavar="N", help="Maximum number of correct images used as controls.", min=1)
    ] = 300,
    half: Annotated[
        int | None,
        Option(metavar="NUMBER", help="Use only half 0 or 1 of the images; the other half is left for training."),
    ] = None,
    depth: Annotated[str, Option(metavar="DEPTH", help="quick or standard, as for `whywrong verdict`.")] = "quick",
    seed: Annotated[int, Option(metavar="N", help="Seed of every random choice.", min=0)] = 0,
    progress: ProgressKind = "auto",
    as_json: Annotated[bool, Option("--json", help="Print the figures as one JSON object.")] = False,
    model_options: ModelOptions,
    data_options: DataOptions,
) -> None:
    """How often are the verdicts on MODEL right?

    Plants errors with known causes in DATA: damage, covers, cues, adversarial perturbations, wrong labels, two causes
    at once, and damage that did not cause the error. Then it diagnoses them without access to the causes, as
    `whywrong verdict` does, and compares the verdicts with the causes.

    \b
    Examples:
      whywrong benchmark verdict planted:cnn planted:test --helper planted:vit --out bench
      whywrong benchmark verdict nets.py:mine photos/val --adapt --out bench
    """
    from whywrong import api

    choose("--progress", progress, KINDS)
    choose("--depth", depth, DEPTHS)
    settings: dict[str, Any] = {"per_cause": per_cause, "reference": reference, "half": half, "seed": seed}
    api.check_benchmark(**settings)
    source = api.open_data(data, **data_options.source_keywords())
    with ProgressDisplay(progress) as display:
        display.prepare()
        record = api.benchmark_verdicts(
            api.load_classifier(model, **model_options.keywords()),
            source,
            out,
            helpers=[api.load_classifier(one) for one in helper or []],
            surrogate=None if surrogate is None else api.load_classifier(surrogate),
            adapt=adapt,
            combiner=combiner,
            depth=depth,
            progress=display,
            decode_options=data_options.decode_options(),
            **settings,
        )
    if as_json:
        tell(json.dumps(record))
        return
    _tell_figures(record)
    tell(f"Figures: {out / 'benchmark.md'} and {out / 'benchmark.json'}")


app.command("verdict", cls=PlainCommand, short_help="Plant errors with known causes and diagnose them blind.")(verdict)


def _tell_figures(record: dict[str, Any]) -> None:
    columns = [("shipped", record["figures"])]
    if "adapted" in record:
        columns.append(("adapted", record["adapted"]))
    tell(f"{record['figures']['figures']['n']} errors of known causes, against {record['reference']} correct images.")
    tell(f"{'':<44}" + "".join(f"{name:>10}" for name, _ in columns))
    for key, words in (
        ("f1_causes", "macro-F1 of the causes"),
        ("f1_all", "macro-F1 with ordinary errors"),
        ("accuracy_70", "accuracy of the surest 70 %"),
        ("coverage", "share with a named cause"),
        ("stated_right", "named causes that are right"),
        ("ordinary_called", "ordinary errors with a named cause"),
        ("bystanders_corruption", "bystanders called corruption"),
        ("ece", "calibration error"),
        ("ece_high", "that of a perfect forecaster, 95 % quantile"),
    ):
        cells = (one["figures"].get(key) for _, one in columns)
        tell(f"  {words:<42}" + "".join(f"{'-' if cell is None else f'{cell:.3f}':>10}" for cell in cells))
    best = max(record["groups_alone"].items(), key=lambda one: one[1][1] or 0.0, default=None)
    if best is not None:
        tell(f"Best group of signs alone: {best[0]}, macro-F1 with ordinary errors {best[1][1]:.3f}")
    costs = record["costs"]
    if costs.get("for_each_error") is not None:
        tell(f"Cost: {costs['for_each_error']:.1f} passes an error, {costs['seconds']:.0f} s")
