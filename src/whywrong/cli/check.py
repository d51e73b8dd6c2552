"""``whywrong check``."""

from __future__ import annotations

import json
from typing import Annotated

from typer import Argument, Option

from whywrong.cli.next_step import say_next
from whywrong.cli.options import MODEL_HELP, DataOptions, ModelOptions, ProgressKind, choose, given_flags, spread
from whywrong.cli.progress import KINDS, ProgressDisplay
from whywrong.cli.streams import count, printable, say, tell
from whywrong.core.errors import EXIT_DONE, EXIT_FAILED_ITEMS, EXIT_WRONG_USE


@spread
def check(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_HELP)],
    data: Annotated[str, Argument(metavar="DATA", help="Labelled images: class folders, manifest or .npz.")],
    limit: Annotated[
        int | None,
        Option(
            "--images", "--limit", metavar="N", help="Read at most N images, spread over the data; default all.", min=1
        ),
    ] = None,
    progress: ProgressKind = "auto",
    as_json: Annotated[bool, Option("--json", help="Print the report as one JSON object.")] = False,
    model_options: ModelOptions,
    data_options: DataOptions,
) -> int:
    """Check that model, labels and preprocessing fit together; show accuracy and first errors.

    Exits with code 2 if a finding would make the results of a diagnosis meaningless.

    \b
    Examples:
      whywrong check timm:resnet50 photos/val --weights resnet50.safetensors
      whywrong check nets.py:mine digits.npz --images 500
    """
    from whywrong import api

    choose("--progress", progress, KINDS)
    source = api.open_data(data, **data_options.source_keywords())  # check the folder before the model loads
    with ProgressDisplay(progress) as display:
        display.prepare()
        classifier = api.load_classifier(model, **model_options.keywords())
        found = api.check(
            classifier, source, limit=limit, decode_options=data_options.decode_options(), progress=display
        )
    code = EXIT_WRONG_USE if not found.sound else EXIT_FAILED_ITEMS if found.failed else EXIT_DONE
    if as_json:
        tell(json.dumps(found.to_dict()))
        return code
    for warning in found.warnings:
        say(f"note: {warning}")
    right, classes = found.accuracy, count(found.classes, "class", "classes")
    tell(
        f"{found.wrong:,} of {count(found.images, 'image')} wrong; accuracy {100 * right.value:.1f} % "
        f"(95 % interval {100 * right.low:.1f} to {100 * right.high:.1f} %), {classes}."
        if found.images
        else f"No image got a valid answer, {classes}."
    )
    for finding in found.findings:
        tell(f"{finding.level}: {finding.text}")
    if all(finding.level == "note" for finding in found.findings):
        tell("No finding: finite logits, the same answer twice, and no image depends on its neighbours.")
    if found.errors:
        tell()
        tell("First errors:")
        for error in found.errors:
            tell(
                f"  {printable(error.key)}: {printable(error.true)} predicted as {printable(error.predicted)}"
                + (f" ({100 * error.confidence:.0f} %)" if error.confidence is not None else "")
            )
    for key, reason in found.failed[:5]:
        say(f"failed: {printable(key)}: {printable(reason)}")
    if len(found.failed) > 5:
        say(f"... and {count(len(found.failed) - 5, 'more failed item')}")
    if found.sound:
        flags = [*given_flags(model_options), *given_flags(data_options)]
        say_next("diagnose", model, data, *flags, "--out", "runs/a")
    return code
