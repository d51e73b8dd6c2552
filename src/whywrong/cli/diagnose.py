"""``whywrong diagnose``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

from typer import Argument, Option

from whywrong.cli.next_step import say_next
from whywrong.cli.options import MODEL_HELP, RUN, DataOptions, ModelOptions, choose, given_flags, read_settings, spread
from whywrong.cli.progress import KINDS, ProgressDisplay
from whywrong.cli.streams import say, tell
from whywrong.cli.summaries.plans import tell_plan
from whywrong.cli.summaries.runs import end_run
from whywrong.cli.summaries.verdicts import exit_code, judge_rules, tell_verdicts
from whywrong.core.errors import EXIT_DONE, EXIT_FAILED_ITEMS, EXIT_INTERRUPTED, InputError, WhyWrongError


class Stopped(WhyWrongError):
    """Raised when the user interrupts a run that can be resumed."""

    exit_code = EXIT_INTERRUPTED


@spread
def diagnose(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_HELP)],
    data: Annotated[str, Argument(metavar="DATA", help="Labelled images: class folders, manifest or .npz.")],
    out: Annotated[
        Path | None,
        Option(
            metavar="RUN",
            help="Output folder. If it already holds this run, the run is resumed. Required, except with --plan.",
            rich_help_panel=RUN,
        ),
    ] = None,
    plan: Annotated[
        bool,
        Option(
            "--plan",
            help="Only print what would be read, computed and written, from a sample of 64 images; write nothing.",
            rich_help_panel=RUN,
        ),
    ] = False,
    depth: Annotated[
        str, Option(metavar="DEPTH", help="Which methods run: quick, standard or deep.", rich_help_panel=RUN)
    ] = "quick",
    methods: Annotated[
        str | None,
        Option(
            metavar="NAMES",
            help="Methods with commas between, as in cam,inverted; default those of the depth.",
            rich_help_panel=RUN,
        ),
    ] = None,
    images: Annotated[
        int | None,
        Option(
            metavar="N",
            help="Classify at most N images, drawn at random; default all. A larger N adds to a run.",
            min=1,
            rich_help_panel=RUN,
        ),
    ] = None,
    limit: Annotated[
        int,
        Option(
            "--explain",
            "--limit",
            metavar="N",
            help="Explain at most N errors in full, spread over class pairs.",
            min=0,
            rich_help_panel=RUN,
        ),
    ] = 200,
    time_budget: Annotated[
        float | None,
        Option(
            metavar="MINUTES",
            help="Stop after MINUTES of work and report what is done; the same command resumes.",
            min=0.01,
            rich_help_panel=RUN,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        Option(
            "--set",
            metavar="METHOD.SETTING=VALUE",
            help="A setting, such as inverted.overshoot=0.2; may be repeated.",
            rich_help_panel=RUN,
        ),
    ] = None,
    workers: Annotated[
        int, Option(metavar="N", help="Number of processes; each loads the model.", min=1, rich_help_panel=RUN)
    ] = 1,
    engine: Annotated[
        str,
        Option(metavar="NAME", help="Where workers run: local, or the name of a plug-in.", rich_help_panel=RUN),
    ] = "local",
    seed: Annotated[
        int, Option(metavar="N", help="Seed of all methods; a different seed needs a new run.", rich_help_panel=RUN)
    ] = 0,
    verdict: Annotated[
        bool,
        Option(
            "--verdict",
            help="Then find and test the cause of each error, as `whywrong verdict` does.",
            rich_help_panel=RUN,
        ),
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        Option(
            metavar="RULE",
            help='With --verdict, exit with 4 if CAUSE[:TESTED] OP NUMBER[%] holds, such as "spurious>5%"; repeatable.',
            rich_help_panel=RUN,
        ),
    ] = None,
    strict: Annotated[
        bool,
        Option(
            "--strict",
            help="With --fail-on, exit with 5 if the 95 % interval leaves a rule undecided.",
            rich_help_panel=RUN,
        ),
    ] = False,
    progress: Annotated[
        str, Option(metavar="KIND", help="How progress is shown: auto, bar, plain, json or none.", rich_help_panel=RUN)
    ] = "auto",
    model_options: ModelOptions,
    data_options: DataOptions,
) -> int:
    """Find and explain the images that MODEL misclassifies, and write a report.

    All results are written to the output folder. Ctrl-C stops after the current batch, a second Ctrl-C stops at once,
    and the same command resumes the run. With more methods, images or errors, or another depth, it extends the run.

    \b
    Examples:
      whywrong diagnose timm:resnet50 photos/val --weights resnet50.safetensors --out runs/a
      whywrong diagnose nets.py:mine digits.npz --out runs/b --images 2000 --time-budget 10
      whywrong diagnose timm:resnet50 photos/val --depth deep --plan
      whywrong diagnose model.onnx photos --manifest labels.csv --classes classes.json --input-size 224 --out runs/c
    """
    from whywrong import api
    from whywrong.core.registry import DEPTHS
    from whywrong.runs.engines.names import engine_names
    from whywrong.verdicts.telling.fail_on import parse_rule

    choose("--depth", depth, DEPTHS)
    choose("--engine", engine, tuple(engine_names()))
    choose("--progress", progress, KINDS)
    options = read_settings(settings)
    if fail_on and not verdict:
        raise InputError("--fail-on judges verdicts: add --verdict")
    rules = [parse_rule(text) for text in fail_on or []]
    names = [name.strip() for name in methods.split(",")] if methods else None
    keywords = model_options.keywords()
    settled: dict[str, Any] = {
        "depth": depth,
        "methods": names,
        "images": images,
        "limit": limit,
        "workers": workers,
        "batch_size": model_options.batch_size,
        "options": options,
        "decode_options": data_options.decode_options(),
    }

    def opened() -> tuple[Any, Any]:
        api.check_settings(cast(Any, depth), names, options)  # find simple mistakes before the model loads
        source = api.open_data(data, **data_options.source_keywords())
        return api.load_classifier(model, **keywords), source

    if plan:
        with ProgressDisplay(progress) as display:
            display.prepare()
            found = api.forecast(*opened(), **settled)
        tell_plan(found, out)
        asked = {"--depth": depth, "--methods": methods, "--images": images, "--explain": limit, "--workers": workers}
        usual = {"--depth": "quick", "--explain": 200, "--workers": 1}
        chosen = [str(part) for flag in asked.items() if flag[1] not in (None, usual.get(flag[0])) for part in flag]
        chosen += [part for text in settings or [] for part in ("--set", text)]
        flags = [*given_flags(model_options), *given_flags(data_options), *chosen]
        say_next("diagnose", model, data, *flags, "--out", out or "runs/a")
        return EXIT_DONE
    if out is None:
        raise InputError("name the output folder: --out RUN")
    try:
        with ProgressDisplay(progress) as display:
            display.prepare()
            classifier, source = opened()
            run = api.diagnose(
                classifier,
                source,
                out,
                time_budget=None if time_budget is None else 60 * time_budget,
                seed=seed,
                engine=engine,
                progress=display,
                **settled,
            )
            report = None
            if verdict and run.meta["complete"]:
                report = api.verdict(run, classifier, source, workers=workers, engine=engine, progress=display)
    except KeyboardInterrupt:
        raise Stopped(f"interrupted; finished work is kept in {out}, and the same command resumes the run") from None
    code = end_run(run, out)
    if report is not None:
        tell()
        tell_verdicts(report)
        judged = judge_rules(rules, report, strict=strict)
        for one in judged:
            tell(one.text)
        code = exit_code(judged, failed=code == EXIT_FAILED_ITEMS or bool(report.record["failed"]))
    if not run.meta["complete"]:
        say(f"The time budget of {time_budget:g} min is used up; the same command resumes the run")
    deeper = {"quick": "standard", "standard": "deep"}.get(depth)
    flags = [*given_flags(model_options), *given_flags(data_options)]
    if deeper is not None and names is None and run.meta["complete"]:
        say_next("diagnose", model, data, *flags, "--depth", deeper, "--out", out)
    else:
        say_next("query", out)
    return code
