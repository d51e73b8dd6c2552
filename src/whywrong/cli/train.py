"""``whywrong train``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from whywrong.cli.next_step import say_next
from whywrong.cli.options import DataOptions, ProgressKind, choose, read_pairs, read_size, spread
from whywrong.cli.progress import KINDS, ProgressDisplay
from whywrong.cli.streams import count, tell
from whywrong.core.errors import InputError


@spread
def train(
    *,
    family: Annotated[
        str, Argument(metavar="FAMILY", help="capsnet, affcapsnet, gracapsnet, emcapsnet, convnet or vit.")
    ],
    data: Annotated[str, Argument(metavar="DATA", help="Labelled images: folder, manifest, .npz or planted:NAME.")],
    out: Annotated[
        Path, Option(metavar="DIR", help="Output folder. If it already holds this training, the training is resumed.")
    ],
    input_size: Annotated[
        str | None,
        Option(metavar="SIZE", help="Size to which images are stretched: 64, 48x64 (height x width) or 1x28x28."),
    ] = None,
    epochs: Annotated[int, Option(metavar="N", help="Passes over the training images.", min=1)] = 10,
    rate: Annotated[float, Option(metavar="R", help="Maximum learning rate.")] = 2e-3,
    flip: Annotated[bool, Option("--flip", help="Flip half of the training images left to right.")] = False,
    seed: Annotated[int, Option(metavar="N", help="Seed of every random choice.", min=0)] = 0,
    settings: Annotated[
        list[str] | None, Option("--set", metavar="SETTING=VALUE", help="A setting, such as width=32; repeatable.")
    ] = None,
    images: Annotated[
        int | None, Option(metavar="N", help="Use at most N images, spread over the data; default: all.", min=2)
    ] = None,
    device: Annotated[str | None, Option(metavar="NAME", help="cpu, cuda ...; default: a GPU, else the CPU.")] = None,
    progress: ProgressKind = "auto",
    as_json: Annotated[bool, Option("--json", help="Print the result as one JSON object.")] = False,
    data_options: DataOptions,
) -> None:
    """Train a capsule network, a convnet or a transformer on your images.

    Train several families on the same images to find out whether errors depend on the architecture. A tenth of the
    images is held out to measure the accuracy. The same command resumes an interrupted training.

    \b
    Examples:
      whywrong train capsnet planted:test --out nets/capsnet
      whywrong train convnet photos/train --out nets/convnet --input-size 64 --epochs 30 --flip
      whywrong train capsnet digits.npz --out nets/r1 --set iterations=1 --set decoder=true
      whywrong check trained:nets/capsnet planted:test
    """
    from whywrong import api

    choose("--progress", progress, KINDS)
    given: dict[str, Any] = read_pairs(settings)
    options = {"epochs": epochs, "rate": rate, "flip": flip, "seed": seed}
    for name in options:
        if name in given:
            raise InputError(f"--set {name} has an option of its own: --{name}")
    given |= options
    api.check_training(family, **given)  # find simple mistakes before images are read
    with ProgressDisplay(progress) as display:
        trained = api.train(
            family,
            data,
            out,
            input_size=read_size(input_size),
            images=images,
            device=device,
            progress=display,
            decode_options=data_options.decode_options(),
            reading=data_options.source_keywords(),
            **given,
        )
    card, found = trained.card, trained.accuracy
    if as_json:
        accuracy = None if card.accuracy is None else {"value": found.value, "low": found.low, "high": found.high}
        record = {"images": card.images, "held_out": card.held_out, "accuracy": accuracy, "losses": list(card.losses)}
        tell(json.dumps({**record, "resumed": trained.resumed}))
        return
    if trained.resumed:
        tell(f"{count(trained.resumed, 'epoch')} of {len(card.losses):,} were finished before.")
    tell(f"Trained {family} on {count(card.images, 'image')} of {count(len(card.classes), 'class', 'classes')}.")
    tell(f"  loss of the last epoch  {card.losses[-1]:.4f}")
    if card.accuracy is not None:
        tell(
            f"  held-out accuracy       {100 * found.value:.1f} % of {count(card.held_out, 'image')} "
            f"({100 * found.low:.1f} to {100 * found.high:.1f} %)"
        )
    tell(f"  model card              {trained.folder / 'model_card.md'}")
    say_next("check", f"trained:{trained.folder}", data)
