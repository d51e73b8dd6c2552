"""Train a surrogate on a model's answers to images, and write it to a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whywrong.core.config import make_config
from whywrong.core.errors import DataError, InputError

if TYPE_CHECKING:
    from whywrong.attacks.surrogates.models import Surrogate
    from whywrong.attacks.surrogates.train import DistilConfig
    from whywrong.data.decoding import DecodeOptions
    from whywrong.data.sources.base import Source
    from whywrong.models.classifier import Classifier
    from whywrong.runs.progress import Progress

SUFFIX = ".safetensors"


def check_distilling(out: Path, settings: Mapping[str, Any]) -> DistilConfig:
    """Check the settings and the output file before the model is loaded.

    Raises:
        InputError: A setting is invalid, or the file exists or does not end in ``.safetensors``.
    """
    from whywrong.attacks.surrogates.train import DistilConfig

    config = make_config(DistilConfig, dict(settings), "distil")
    if config.rounds:
        raise InputError("rounds need misclassified images with their true classes: use whywrong.distil in Python")
    if out.suffix != SUFFIX:
        raise InputError(f"{out}: a surrogate is written to a {SUFFIX} file")
    if os.path.lexists(out):
        raise InputError(f"{out}: exists already, and is kept; give another name")
    if not out.absolute().parent.is_dir():
        raise InputError(f"{out.absolute().parent}: no such folder")
    return config


def distil_surrogate(
    classifier: Classifier,
    source: Source,
    out: Path,
    *,
    images: int,
    settings: Mapping[str, Any],
    options: DecodeOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Surrogate, int]:
    """Train a surrogate on a model's answers to images, and write it to a file.

    Args:
        classifier: The black box.
        source: Images, whose labels are ignored.
        out: Path of the ``.safetensors`` file to write.
        images: Maximum number of images to query, spread over the source; each costs one query.
        settings: Fields of :class:`whywrong.attacks.surrogates.train.DistilConfig`.
        options: How image files are decoded.
        progress: Callback that receives the progress of the stages ``read`` and ``train``.

    Returns:
        The surrogate, and the number of images that could not be read.

    Raises:
        InputError: As :func:`check_distilling`, or there are fewer than 20 images.
        DataError: No image can be read.
    """
    import torch

    from whywrong.attacks.surrogates.distil import distil
    from whywrong.data.batches import load_images
    from whywrong.doors.pairs import input_spec
    from whywrong.runs.progress import Progress

    config = check_distilling(out, settings)
    tell = progress or (lambda _: None)
    spec = input_spec(classifier, source)
    parts, failed, total = [], 0, min(images, len(source))
    for batch in load_images(source, spec=spec, batch_size=classifier.batch_size, options=options, limit=images):
        failed += len(batch.failed)
        parts.append(batch.x)
        tell(Progress("read", sum(map(len, parts)), total, 0, failed))
    if not sum(map(len, parts)):
        raise DataError(f"{source.title}: no image could be read")
    epochs = len(config.nets) * config.epochs
    x = torch.cat(parts).to(classifier.device)
    found = distil(classifier, x, config=config, progress=lambda done: tell(Progress("train", done, epochs, 0, failed)))
    found.write(out)
    return found, failed
