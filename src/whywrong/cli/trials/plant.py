"""``whywrong plant``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from whywrong.cli.next_step import say_next
from whywrong.cli.options import MODEL_HELP, DataOptions, ModelOptions, ProgressKind, choose, given_flags, spread
from whywrong.cli.progress import KINDS, ProgressDisplay
from whywrong.cli.streams import count, tell


@spread
def plant(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_HELP)],
    data: Annotated[str, Argument(metavar="DATA", help="Labelled images: folder, manifest, .npz or planted:test.")],
    out: Annotated[Path, Option(metavar="DIR", help="Output folder; must be empty or missing.")],
    cause: Annotated[
        list[str] | None,
        Option(
            metavar="NAME",
            help="label, corruption, adversarial, spurious, occluded, confusion or shift; may be repeated. Default: "
            "all that the images allow.",
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        Option(metavar="NAME", help="Only this kind of perturbation, such as fog or pgd; may be repeated."),
    ] = None,
    per_cause: Annotated[int, Option(metavar="N", help="Number of verified mistakes per cause.", min=1)] = 100,
    strength: Annotated[
        int | None, Option(metavar="1..5", help="Strength; default: the smallest that causes a misclassification.")
    ] = None,
    tries: Annotated[int, Option(metavar="N", help="Maximum number of images tried per mistake.", min=1)] = 20,
    on_object: Annotated[bool, Option("--on-object", help="Cover only objects whose mask or box is known.")] = False,
    seed: Annotated[int, Option(metavar="N", help="Seed of every random choice.")] = 0,
    progress: ProgressKind = "auto",
    as_json: Annotated[bool, Option("--json", help="Print the counts as one JSON object.")] = False,
    model_options: ModelOptions,
    data_options: DataOptions,
) -> None:
    """Create mistakes with known causes, to test what an explanation finds.

    Each mistake starts from a correctly classified image and adds one cause: a wrong label, a corruption, an attack, a
    painted cue, or a covered object. It counts only if the model is right without the cause and wrong with it. Both
    images are stored, with cause, strength and masks.

    \b
    Examples:
      whywrong plant planted:cnn planted:test --out mistakes
      whywrong plant timm:resnet50 photos/val --weights resnet50.safetensors --out mistakes --cause corruption
      whywrong diagnose MODEL mistakes/mistakes --out runs/a
    """
    from whywrong import api

    choose("--progress", progress, KINDS)
    settings: dict[str, Any] = {
        "causes": tuple(cause or ()),
        "kinds": tuple(kind or ()),
        "per_cause": per_cause,
        "strength": strength,
        "tries": tries,
        "on_object": on_object,
        "seed": seed,
    }
    api.check_planting(**settings)  # find simple mistakes before the model loads
    source = api.open_data(data, **data_options.source_keywords())
    with ProgressDisplay(progress) as display:
        display.prepare()
        tally = api.plant(
            api.load_classifier(model, **model_options.keywords()),
            source,
            out,
            progress=display,
            decode_options=data_options.decode_options(),
            **settings,
        )
    causes = [one for one in tally.tried if tally.tried[one]]
    if as_json:
        counts = {one: {"planted": tally.planted[one], "tried": tally.tried[one]} for one in causes}
        tell(json.dumps({"wanted": tally.wanted, "right": tally.right, "causes": counts, "left_out": tally.refused}))
        return
    tell(f"{count(tally.right, 'image')} of {tally.read:,} were predicted as labelled. Verified mistakes, by cause:")
    for one in causes:
        short = "" if tally.planted[one] == tally.wanted else f"  fewer than the {tally.wanted} wanted"
        tell(f"  {one:<12} {tally.planted[one]:>5}  from {count(tally.tried[one], 'image')} tried{short}")
    for one, reason in tally.refused.items():
        tell(f"  {one:<12} left out: {reason}")
    say_next("diagnose", model, out / "mistakes", *given_flags(model_options), "--out", "runs/planted")
