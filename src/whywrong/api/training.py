"""Train capsule networks, convolutional networks and transformers on labelled images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whywrong.api.reading import open_data

if TYPE_CHECKING:
    from whywrong.data.decoding import DecodeOptions
    from whywrong.runs.progress import Progress
    from whywrong.runs.training.train import Trained


def check_training(family: str, **settings: Any) -> None:
    """Check the settings of :func:`train` without images.

    Raises:
        InputError: The family or a setting is unknown, or a value is out of range.
    """
    _split(family, (3, 64, 64), 2, settings)


def train(
    family: str,
    data: Any,
    out: str | Path,
    *,
    input_size: tuple[int, ...] | None = None,
    images: int | None = None,
    device: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    decode_options: DecodeOptions | None = None,
    reading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Trained:
    """Train a network and write it to a folder, or resume an interrupted training.

    The trained network can then be loaded as the model ``trained:FOLDER``.

    Args:
        family: Architecture: ``capsnet``, ``affcapsnet``, ``gracapsnet``, ``emcapsnet``, ``convnet`` or ``vit``.
        data: Labelled images, as for :func:`whywrong.diagnose`, or ``planted:NAME``.
        out: Output folder. If it already holds this training, the training is resumed.
        input_size: (C, H, W) to which images are stretched; None if all images have the same size.
        images: Maximum number of images, spread over the data; None uses all.
        device: Device to train on; default the first GPU, otherwise the CPU.
        progress: Callback that receives the progress after every step.
        decode_options: How image files are decoded.
        reading: Keyword arguments of :func:`open_data`.
        settings: Fields of :class:`whywrong.models.architectures.architecture.Architecture` and
            :class:`whywrong.runs.training.config.TrainConfig`.

    Returns:
        The folder, the model card and the accuracy on held-out images.

    Raises:
        InputError: The family or a setting is unknown, a value is out of range, or the images differ in size.
        DataError: Fewer than two classes have images.
        RunFolderError: The folder holds other files.
        ModelError: Training diverged.
    """
    from whywrong.models.devices import choose_device
    from whywrong.runs.guard import check_apart
    from whywrong.runs.training.pictures import read_pictures
    from whywrong.runs.training.train import train_network

    check_training(family, **settings)
    target = choose_device(device)
    source = open_data(data, **(reading or {}))
    check_apart(Path(out), source.spec)
    pictures = read_pictures(source, input_size, limit=images, options=decode_options)
    shape = (pictures.spec.channels, pictures.spec.height, pictures.spec.width)
    plan, config = _split(family, shape, len(pictures.classes), settings)
    return train_network(plan, pictures, Path(out), config=config, device=target, progress=progress)


def _split(family: str, shape: tuple[int, int, int], classes: int, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the settings of the network and those of its training."""
    from whywrong.core.config import make_config
    from whywrong.models.architectures.build import plan_network
    from whywrong.runs.training.config import TrainConfig

    names = {field.name for field in fields(TrainConfig)}
    training = {name: value for name, value in settings.items() if name in names}
    network = {name: value for name, value in settings.items() if name not in names}
    return plan_network(family, shape, classes, **network), make_config(TrainConfig, training)
