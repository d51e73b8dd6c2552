"""``whywrong distil``."""

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
from whywrong.cli.streams import count, say, tell
from whywrong.core.errors import EXIT_DONE, EXIT_FAILED_ITEMS


@spread
def distil(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_HELP)],
    data: Annotated[str, Argument(metavar="DATA", help="Images to send as queries; their labels are not read.")],
    out: Annotated[Path, Option(metavar="FILE", help="Output file, .safetensors; must not exist.")],
    images: Annotated[int, Option(metavar="N", help="Maximum number of images to query.", min=20)] = 2000,
    settings: Annotated[
        list[str] | None,
        Option("--set", metavar="SETTING=VALUE", help="A setting, such as epochs=20 or nets=plain; repeatable."),
    ] = None,
    progress: ProgressKind = "auto",
    as_json: Annotated[bool, Option("--json", help="Print the result as one JSON object.")] = False,
    model_options: ModelOptions,
    data_options: DataOptions,
) -> int:
    """Train a surrogate with gradients for a model that only returns predictions.

    The surrogate learns from the model's predictions; each image costs one query. The method black_box then computes
    directions with the surrogate and needs the model itself only to choose their length.

    \b
    Examples:
      whywrong distil endpoint.toml photos/unlabelled --out surrogate.safetensors --images 1000
      whywrong diagnose endpoint.toml photos/val --out runs/a --methods black_box \\
        --set black_box.distilled=surrogate.safetensors
    """
    from whywrong import api

    choose("--progress", progress, KINDS)
    given = read_pairs(settings)
    api.check_distilling(out, given)
    source = api.open_data(data, **data_options.source_keywords())
    with ProgressDisplay(progress) as display:
        display.prepare()
        surrogate, failed = api.distil_surrogate(
            api.load_classifier(model, **model_options.keywords()),
            source,
            out,
            images=images,
            settings=given,
            options=data_options.decode_options(),
            progress=display,
        )
    card = surrogate.card
    assert card is not None
    if as_json:
        told = {"file": str(out), "queries": card.queries, "agreement": card.agreement, "held_out": card.held_out}
        tell(json.dumps(told | {"nets": card.nets, "access": card.access, "failed": failed}))
        return EXIT_FAILED_ITEMS if failed else EXIT_DONE
    tell(
        f"{out}: {count(card.queries, 'query', 'queries')} answered with {card.access}; on {card.held_out:,} of these "
        f"images, which were not trained on, it predicts what the model predicts for {card.agreement:.0%}."
    )
    if failed:
        say(f"{count(failed, 'image')} could not be read")
    flags = given_flags(model_options)
    use = ["--methods", "black_box", "--set", f"black_box.distilled={out}"]
    say_next("diagnose", model, "LABELLED_DATA", *flags, "--out", "runs/a", *use)
    return EXIT_FAILED_ITEMS if failed else EXIT_DONE
