"""``whywrong reproduce``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from whywrong.cli.options import MODEL_HELP, DataOptions, ModelOptions, read_pairs, spread
from whywrong.cli.streams import say, tell
from whywrong.core.errors import InputError


@spread
def reproduce(
    *,
    name: Annotated[
        str | None, Argument(metavar="CLAIM", help="As in inverted.1; without one, all are listed.")
    ] = None,
    data: Annotated[str | None, Argument(metavar="DATA", help="Labelled images.")] = None,
    model: Annotated[str | None, Option(metavar="MODEL", help=MODEL_HELP)] = None,
    model2: Annotated[str | None, Option(metavar="MODEL", help="The second model, for claims that compare.")] = None,
    limit: Annotated[int | None, Option(metavar="N", help="Most errors to use; default all.", min=1)] = None,
    settings: Annotated[
        list[str] | None, Option("--set", metavar="SETTING=VALUE", help="A setting of the claim; may be repeated.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="The whole result as one JSON object.")] = False,
    figure: Annotated[Path | None, Option(metavar="FILE", help="Also draw it: .png, .svg or .pdf.")] = None,
    model_options: ModelOptions,
    data_options: DataOptions,
) -> None:
    """Re-run a finding of a paper on your own model and images: effect, interval, verdict.

    The verdict is `holds`, `does not hold`, or `undecided` where the interval covers the bound.

    \b
    Examples:
      whywrong reproduce
      whywrong reproduce inverted.1 photos/val --model timm:resnet50 --weights resnet50.safetensors
      whywrong reproduce inverted.1 photos/val --model nets.py:mine --set attack=sign --json
    """
    from whywrong import api

    if name is None:
        from whywrong.core.registry import claims

        for claim in claims().values():
            tell(f"{claim.name:<12} {claim.title}")
        return
    if data is None or model is None:
        raise InputError("reproduce needs images and a model: whywrong reproduce CLAIM DATA --model MODEL")
    options = read_pairs(settings)
    if limit is not None:
        options["limit"] = limit
    result = api.reproduce_claim(
        name,
        [api.load_classifier(text, **model_options.keywords()) for text in (model, model2) if text is not None],
        data,
        options,
        decode_options=data_options.decode_options(),
        **data_options.source_keywords(),
    )
    if figure is not None:
        api.draw_claim(result, figure)
        say(f"figure: {figure}")
    if as_json:
        tell(json.dumps(result.to_dict()))
        return
    tell(f"{result.name}  {result.title}")
    tell(f"{result.verdict}: {result.sentence}")
    for key, value in result.numbers.items():
        tell(f"  {key:<28} {value if not isinstance(value, float) else format(value, '.4g')}")
