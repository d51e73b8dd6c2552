"""Test the findings of papers on your own models and images, and draw the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whywrong.api.reading import open_data
from whywrong.core.errors import InputError

if TYPE_CHECKING:
    from whywrong.data.decoding import DecodeOptions
    from whywrong.models.classifier import Classifier
    from whywrong.reproduce.protocol import ClaimResult, SkippedClaim
    from whywrong.runs.labelled import LabelledSource


def reproduce_claim(
    name: str,
    models: Sequence[Any],
    data: Any,
    settings: Mapping[str, Any] | None = None,
    *,
    judges: Sequence[Any] = (),
    progress: Callable[[Any], None] | None = None,
    decode_options: DecodeOptions | None = None,
    **reading: Any,
) -> ClaimResult:
    """Test a finding of a paper on your own models and images.

    Args:
        name: Name of the claim, such as ``inverted.1``.
        models: The classifiers or modules that the claim compares.
        data: As for :func:`whywrong.diagnose`.
        settings: Settings of the claim, such as ``{"limit": 500}``.
        judges: Evaluator models for claims that test whether other models agree with a change.
        progress: Callback that receives the progress (stage, done, total) of a long claim.
        decode_options: How image files are decoded.
        reading: Keyword arguments of :func:`open_data`.

    Raises:
        InputError: The claim is unknown, needs another number of models, takes no judges, or a setting is invalid.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> images = torch.rand(12, 3, 64, 64), torch.arange(12)
        >>> ww.reproduce_claim("inverted.1", [classifier], images).name
        'inverted.1'
    """
    from whywrong.reproduce.running import run_claim

    labelled, models, judges = _open_all(data, models, judges, decode_options, reading)
    return run_claim(name, models, labelled, settings, judges=judges, progress=progress)


def reproduce_claims(
    family: str,
    models: Sequence[Any],
    data: Any,
    settings: Mapping[str, Any] | None = None,
    *,
    judges: Sequence[Any] = (),
    progress: Callable[[Any], None] | None = None,
    decode_options: DecodeOptions | None = None,
    **reading: Any,
) -> Iterator[ClaimResult | SkippedClaim]:
    """Test all claims of a family, and make the measurements that they share once.

    Args:
        family: Name of the family, as in ``inverted``.
        models: One or two classifiers; with one, claims about two are skipped.
        data: As for :func:`whywrong.diagnose`.
        settings: Each is passed to the claims that have it.
        judges: Further classifiers, for the claims that take them.
        progress: As for :func:`reproduce_claim`.
        decode_options: How image files are decoded.
        reading: As for :func:`open_data`.

    Yields:
        For each claim its result, or why it was skipped.

    Raises:
        InputError: No such family, judges that none of its claims takes, or a setting that none has.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> images = torch.rand(12, 3, 64, 64), torch.arange(12)
        >>> [claim.name for claim in ww.reproduce_claims("inverted", [classifier], images)]
        ['inverted.1', 'inverted.2', 'inverted.3', 'inverted.4', 'inverted.5', 'inverted.6']
    """
    from whywrong.reproduce.running import run_claims

    labelled, models, judges = _open_all(data, models, judges, decode_options, reading)
    return run_claims(family, models, labelled, settings, judges=judges, progress=progress)


def _open_all(
    data: Any, models: Any, judges: Any, decode_options: DecodeOptions | None, reading: dict[str, Any]
) -> tuple[LabelledSource, list[Classifier], list[Classifier]]:
    """Open the data, and classifiers of all models and judges."""
    from whywrong.doors.pairs import check_model, open_model
    from whywrong.runs.labelled import LabelledSource

    for name, given in (("models", models), ("judges", judges)):
        if not isinstance(given, (list, tuple)):
            raise InputError(f"{name} must be a list of classifiers, got {type(given).__name__}")
        for model in given:
            check_model(model)
    source = open_data(data, **reading)
    opened, helpers = ([open_model(model, source.facts) for model in given] for given in (models, judges))
    return LabelledSource(source, decode_options), opened, helpers


def draw_claim(result: ClaimResult, path: str | Path) -> Path:
    """Draw the result of a claim to an image file, in the format of its suffix.

    Raises:
        InputError: matplotlib does not support the format, or another file exists there.
        EnvironmentFailure: The file cannot be written.
    """
    from whywrong.reproduce.figure_files import check_place, write_figure
    from whywrong.reproduce.figures import draw

    check_place(Path(path))
    write_figure(draw(result), Path(path))
    return Path(path)


def check_figure(path: str | Path) -> None:
    """Check, before a long computation, that its figure can be written.

    Raises:
        InputError: matplotlib does not support the format, or another file exists there.
    """
    from whywrong.reproduce.figure_files import check_place

    check_place(Path(path))
