"""Plant mistakes with known causes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whywrong.api.reading import open_pair

if TYPE_CHECKING:
    from whywrong.data.decoding import DecodeOptions
    from whywrong.planting.mistakes import Tally
    from whywrong.runs.progress import Progress


def check_planting(**settings: Any) -> None:
    """Check the settings of :func:`plant` without loading a model.

    Raises:
        InputError: A cause or kind is unknown, or a number is out of range.
    """
    from whywrong.planting.perturbations import PlantConfig

    PlantConfig(**settings)


def plant(
    classifier: Any,
    data: Any,
    out: str | Path,
    *,
    progress: Callable[[Progress], None] | None = None,
    decode_options: DecodeOptions | None = None,
    reading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Tally:
    """Plant mistakes with known causes and write them to a folder.

    Args:
        classifier: The classifier or module that is made to misclassify images.
        data: As for :func:`whywrong.diagnose`, or ``planted:test``.
        out: Output folder, empty or missing.
        progress: Callback that receives, after every step, the cause and the number of mistakes planted with it.
        decode_options: How image files are decoded.
        reading: Keyword arguments of :func:`open_data`.
        settings: Fields of :class:`whywrong.planting.perturbations.PlantConfig`, such as ``causes`` and ``per_cause``.

    Returns:
        Numbers of images tried and of mistakes planted, per cause.

    Raises:
        InputError: A cause or kind is unknown, a strength is out of range, or the folder is not empty.
        DataError: Too few images are classified correctly.

    Example:
        >>> import torch, whywrong as ww
        >>> def read(x):  # dark or light
        ...     score = 20 * (x.mean((1, 2, 3)) - 0.5)
        ...     return torch.stack([-score, score], 1)
        >>> classifier = ww.Classifier(read, classes=["dark", "light"], preprocess=ww.InputSpec(height=32, width=32))
        >>> images, labels = torch.rand(40, 3, 32, 32) / 2, torch.arange(40) % 2
        >>> images[labels == 1] += 0.5
        >>> dict(ww.plant(classifier, (images, labels), "mistakes", causes=("label",), per_cause=4).planted)
        {'label': 4}
    """
    from whywrong.planting.folder import PlantedFolder
    from whywrong.planting.mistakes import Tally
    from whywrong.planting.perturbations import PlantConfig
    from whywrong.planting.plant import plant as run
    from whywrong.runs.guard import check_apart
    from whywrong.runs.labelled import LabelledSource

    config = PlantConfig(**settings)
    classifier, source = open_pair(classifier, data, **(reading or {}))
    check_apart(Path(out), source.spec)
    labelled = LabelledSource(source, decode_options)
    settled = labelled.settle(classifier)
    tally = Tally(config.per_cause)
    known = settled.classes.names
    with PlantedFolder(Path(out), spec=settled.spec, labels=settled.labels, names=known) as folder:
        for planted in run(classifier, labelled, settled, config=config, tally=tally, progress=progress):
            folder.add(planted)
    return tally
