"""Open classifiers, images and runs by name or path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whywrong.data.sources import Source
    from whywrong.models.classifier import Classifier
    from whywrong.runs.folder import RunFolder


def load_classifier(model: Any, **options: Any) -> Classifier:
    """Load a classifier with :func:`whywrong.models.loading.zoo.load_classifier`.

    The loader is imported only when this function is called.
    """
    from whywrong.models.loading.zoo import load_classifier as load

    return load(model, **options)


def open_data(data: Any, **reading: Any) -> Source:
    """Open the data at a path, or a data set in memory.

    Args:
        data: Folder, manifest or ``.npz`` file; torch ``Dataset`` or ``DataLoader``, Hugging Face ``Dataset`` or (x, y)
            arrays; or a source, which is returned unchanged.
        reading: ``label_by``, ``split``, ``image_column`` and ``label_column``. A path also takes ``manifest``,
            ``boxes`` and ``follow_links``. A data set in memory also takes ``mean`` and ``std``, the normalisation of
            its images.

    Raises:
        DataError: The data is missing, empty or cannot be read.
        InputError: The type of ``data`` is not supported, or an option does not apply to it.
    """
    from whywrong.data.objects.opening import open_any

    return open_any(data, **reading)


def open_model(model: Any) -> Classifier:
    """Open a model with :func:`whywrong.doors.pairs.open_model`.

    The function is imported only when this one is called.
    """
    from whywrong.doors.pairs import open_model as open_one

    return open_one(model)


def open_pair(model: Any, data: Any, **reading: Any) -> tuple[Classifier, Source]:
    """Open a model and its data with :func:`whywrong.doors.pairs.open_pair`.

    The function is imported only when this one is called.
    """
    from whywrong.doors.pairs import open_pair as open_both

    return open_both(model, data, **reading)


def open_run(path: str | Path) -> RunFolder:
    """Open an existing run, finished or not.

    Raises:
        RunFolderError: The folder holds no run, or a damaged one.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> images = torch.rand(12, 3, 64, 64), torch.arange(12)
        >>> run = ww.diagnose(classifier, images, "runs/a", methods=["cam"])
        >>> ww.open_run("runs/a").meta["seed"]
        0
    """
    from whywrong.runs.folder import RunFolder

    return RunFolder(path)
