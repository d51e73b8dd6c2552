"""``whywrong verdict``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

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
from whywrong.cli.streams import tell
from whywrong.cli.summaries.verdicts import exit_code, judge_rules, tell_verdicts

DEPTHS = ("free", "quick", "standard")  # written out, as importing them takes longer than printing the help


@spread
def verdict(
    *,
    run: Annotated[Path, Argument(metavar="RUN", help="Folder of a finished run.")],
    model: Annotated[
        str | None, Argument(metavar="[MODEL]", help=f"The model of the run; default: as recorded in RUN. {MODEL_HELP}")
    ] = None,
    data: Annotated[
        str | None, Argument(metavar="[DATA]", help="The images of the run; default: as recorded in RUN.")
    ] = None,
    helper: Annotated[
        list[str] | None,
        Option(metavar="MODEL", help="Another model with the same classes, used as evidence; repeatable."),
    ] = None,
    reference: Annotated[
        str | None,
        Option(
            metavar="DATA",
            help="Labelled images used as controls instead of those of the run.",
        ),
    ] = None,
    depth: Annotated[
        str,
        Option(
            metavar="DEPTH",
            help="free: use stored evidence only; quick: measure until the cause is clear; standard: measure all.",
        ),
    ] = "quick",
    adapt: Annotated[
        bool, Option("--adapt", help="First adapt the verdicts to this model with 20 planted errors per cause.")
    ] = False,
    force: Annotated[
        bool, Option("--force", help="Give verdicts even if nearly all images are misclassified.")
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        Option(
            metavar="RULE",
            help='Exit with 4 if CAUSE[:TESTED] OP NUMBER[%] holds, such as "spurious>5%" or "label:supported>10"; '
            "repeatable.",
        ),
    ] = None,
    strict: Annotated[
        bool, Option("--strict", help="With --fail-on, exit with 5 if the 95 % interval leaves a rule undecided.")
    ] = False,
    settings: Annotated[
        list[str] | None, Option("--set", metavar="SETTING=VALUE", help="A setting, such as seed=1; repeatable.")
    ] = None,
    workers: Annotated[int, Option(metavar="N", help="Number of worker processes; each loads the model.", min=1)] = 1,
    progress: ProgressKind = "auto",
    as_json: Annotated[bool, Option("--json", help="Print record, groups and rules as one JSON object.")] = False,
    model_options: ModelOptions,
    data_options: DataOptions,
) -> int:
    """Why is each image of RUN misclassified, and what helps?

    Measures each error, combines the evidence into a calibrated cause, tests the cause against comparable correct
    images, and groups the errors. A cause is stated only if its test supports it; otherwise the verdict only says what
    the error looks like. The tables are stored in the run, and its report is updated. Ctrl-C stops; the same command
    resumes.

    \b
    Examples:
      whywrong verdict runs/a
      whywrong verdict runs/a timm:resnet50 photos/val --weights resnet50.safetensors --helper nets.py:other
      whywrong verdict runs/a --depth standard --fail-on "spurious>5%" --strict
    """
    from whywrong import api
    from whywrong.verdicts.telling.fail_on import parse_rule

    choose("--progress", progress, KINDS)
    choose("--depth", depth, DEPTHS)
    rules = [parse_rule(text) for text in fail_on or []]  # find simple mistakes before the model loads
    given = read_pairs(settings)
    reading = data_options.source_keywords()
    found = api.open_run(run)
    with ProgressDisplay(progress) as display:
        display.prepare()
        name = model or found.meta["model"].get("source")
        report = api.verdict(
            found,
            None if name is None else api.load_classifier(name, **model_options.keywords()),
            None if data is None else api.open_data(data, **reading),
            helpers=[api.load_classifier(one, **model_options.of_others()) for one in helper or []],
            reference=reference,
            adapt=adapt,
            depth=depth,
            force=force,
            workers=workers,
            progress=display,
            **given,
        )
    judged = judge_rules(rules, report, strict=strict)
    if as_json:
        groups = report.tables["groups"].drop_columns(["members"]).to_pylist()
        told = {**report.record, "groups": groups, "rules": [one.to_dict() for one in judged]}
        tell(json.dumps(told, default=str))
    else:
        tell_verdicts(report)
        for one in judged:
            tell(one.text)
        tell(f"Report: {run / 'report.html'}")
        named = [one for one in (model, data) if one is not None]
        say_next("repair", run, *named, *given_flags(model_options), *given_flags(data_options))
    return exit_code(judged, failed=bool(report.record["failed"]))
