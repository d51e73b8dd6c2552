"""``whywrong reproduce``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from whywrong.cli.options import MODEL_HELP, DataOptions, ModelOptions, ProgressKind, choose, read_pairs, spread
from whywrong.cli.progress import KINDS, ProgressDisplay
from whywrong.cli.streams import say, tell
from whywrong.core.errors import EXIT_FAILED_ITEMS, InputError

if TYPE_CHECKING:
    from whywrong.reproduce.protocol import ClaimResult, SkippedClaim

ALL = ".all"


@spread
def reproduce(
    *,
    name: Annotated[
        str | None,
        Argument(
            metavar="CLAIM",
            help="A claim such as inverted.1, or inverted.all; without it, the command lists all claims.",
        ),
    ] = None,
    data: Annotated[str | None, Argument(metavar="DATA", help="Labelled images.")] = None,
    model: Annotated[str | None, Option(metavar="MODEL", help=MODEL_HELP)] = None,
    model2: Annotated[
        str | None, Option(metavar="MODEL", help="The second model, for claims that compare two.")
    ] = None,
    judge: Annotated[
        list[str] | None,
        Option(metavar="MODEL", help="An evaluator model, for claims that use evaluators; may be repeated."),
    ] = None,
    limit: Annotated[
        int | None,
        Option("--errors", "--limit", metavar="N", help="Use at most N misclassified images; default all.", min=1),
    ] = None,
    settings: Annotated[
        list[str] | None, Option("--set", metavar="SETTING=VALUE", help="A setting of the claim; may be repeated.")
    ] = None,
    as_json: Annotated[
        bool, Option("--json", help="Print the result as one JSON object, or a list of them for `.all`.")
    ] = False,
    figure: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Also draw the result: .png, .svg or .pdf. For `.all`, a folder or a path with {name} in it.",
        ),
    ] = None,
    progress: ProgressKind = "auto",
    model_options: ModelOptions,
    data_options: DataOptions,
) -> None:
    """Test a finding of a paper on your own model and images.

    Prints effect, interval and verdict: `holds`, `does not hold`, or `undecided` if the interval contains the bound.
    FAMILY.all tests all claims of a family. The options of the model apply to --model; further models need none, such
    as FILE.py:FUNCTION.

    \b
    Examples:
      whywrong reproduce
      whywrong reproduce inverted.1 photos/val --model timm:resnet50 --weights resnet50.safetensors
      whywrong reproduce inverted.1 photos/val --model nets.py:mine --set attack=sign --json
      whywrong reproduce inverted.all photos/val --model nets.py:mine --figure figures/
    """
    from whywrong import api

    if name is None:
        from whywrong.core.registry import claims

        for claim in claims().values():
            tell(f"{claim.name:<12} {claim.title}")
        say("Next: whywrong reproduce CLAIM DATA --model MODEL")
        return
    _check_name(name)
    if data is None or model is None:
        raise InputError("reproduce needs images and a model: whywrong reproduce CLAIM DATA --model MODEL")
    choose("--progress", progress, KINDS)
    options = read_pairs(settings)
    if limit is not None:
        options["limit"] = limit
    files = _figure_files(name, figure)
    source = api.open_data(data, **data_options.source_keywords())  # check the folder before a model loads
    others = model_options.of_others()
    models = [api.load_classifier(model, **model_options.keywords())]
    if model2 is not None:
        models.append(api.load_classifier(model2, **others))
    relay = _Relay()
    keywords: dict[str, Any] = {
        "judges": [api.load_classifier(text, **others) for text in judge or ()],
        "progress": relay,
        "decode_options": data_options.decode_options(),
    }
    outcomes = (
        api.reproduce_claims(name.removesuffix(ALL), models, source, options, **keywords)
        if name.endswith(ALL)
        else (api.reproduce_claim(*each, **keywords) for each in [(name, models, source, options)])
    )
    done = _print_all(outcomes, relay, progress, files, as_json=as_json)
    if as_json:
        records = [one.to_dict() for one in done]
        tell(json.dumps(records if name.endswith(ALL) else records[0]))
    if any(getattr(one, "failed", False) for one in done):
        raise typer.Exit(EXIT_FAILED_ITEMS)


def _check_name(name: str) -> None:
    """Check that a claim or family exists, before anything is loaded.

    Raises:
        InputError: Names the claims of the family, or the families.
    """
    from whywrong.core.registry import find_claim, find_claims

    if name.endswith(ALL):
        find_claims(name.removesuffix(ALL))
    else:
        find_claim(name)


class _Relay:
    """Passes the progress of a claim to its display."""

    display: ProgressDisplay | None = None

    def __call__(self, done: Any) -> None:
        if self.display is not None:
            self.display(done)


def _print_all(
    outcomes: Iterator[ClaimResult | SkippedClaim],
    relay: _Relay,
    kind: str,
    files: dict[str, Path],
    *,
    as_json: bool,
) -> list[ClaimResult | SkippedClaim]:
    """Print each outcome as soon as it is known.

    The display ends before results are printed, so that they go to stdout.
    """
    done: list[ClaimResult | SkippedClaim] = []
    while True:
        with ProgressDisplay(kind) as display:
            relay.display = display
            outcome = next(outcomes, None)
        if outcome is None:
            return done
        done.append(outcome)
        _print(outcome, files.get(outcome.name), as_json=as_json)


def _print(outcome: ClaimResult | SkippedClaim, file: Path | None, *, as_json: bool) -> None:
    from whywrong import api
    from whywrong.reproduce.protocol import SkippedClaim

    if isinstance(outcome, SkippedClaim):
        line = f"{outcome.name}  skipped: {outcome.reason}"
        say(line) if as_json else tell(line)
        return
    if not as_json:
        tell(f"{outcome.name}  {outcome.title}")
        tell(f"{outcome.verdict}: {outcome.sentence}")
        for key, value in outcome.numbers.items():
            tell(f"  {key:<28} {value if not isinstance(value, float) else format(value, '.4g')}")
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        say(f"figure: {api.draw_claim(outcome, file)}")


def _figure_files(name: str, figure: Path | None) -> dict[str, Path]:
    """Return the file of each claim's figure, and check now that it can be written.

    Raises:
        InputError: No such claim or format, one file for several figures, or a missing folder.
    """
    if figure is None:
        return {}
    from whywrong import api
    from whywrong.core.registry import find_claims

    if not name.endswith(ALL):
        api.check_figure(figure)
        return {name: figure}
    if "{name}" not in str(figure):
        if figure.suffix and not figure.is_dir():
            raise InputError(f"{figure}: {name} draws several figures; name a folder, or a file with {{name}} in it")
        figure = figure / "{name}.png"
    files = {
        claim.name: Path(str(figure).replace("{name}", claim.name)) for claim in find_claims(name.removesuffix(ALL))
    }
    for file in files.values():
        api.check_figure(file)
    return files
