"""Measure how often verdicts are right on errors whose causes are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whywrong.api.reading import open_model, open_pair

if TYPE_CHECKING:
    from whywrong.data.decoding import DecodeOptions
    from whywrong.runs.progress import Progress


def check_benchmark(**settings: Any) -> None:
    """Check the settings of :func:`benchmark_verdicts` without loading a model.

    Raises:
        InputError: A cause is unknown, or a number is out of range.
    """
    from whywrong.planting.verdicts.plan import VerdictPlan

    VerdictPlan(**settings)


def benchmark_verdicts(
    classifier: Any,
    data: Any,
    out: str | Path,
    *,
    helpers: Sequence[Any] = (),
    surrogate: Any = None,
    adapt: bool = False,
    combiner: str | Path | None = None,
    depth: str = "quick",
    progress: Callable[[Progress], None] | None = None,
    decode_options: DecodeOptions | None = None,
    reading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Measure how often verdicts are right on planted errors with known causes.

    The errors are diagnosed without access to their causes, and the verdicts are then compared with the causes.

    Args:
        classifier: The classifier or module whose verdicts are measured.
        data: As for :func:`whywrong.diagnose`, or ``planted:test``.
        out: Folder to write: the errors, their run, ``benchmark.json`` and ``benchmark.md``.
        helpers: Other models with the same classes. Their predictions are evidence.
        surrogate: Another network, used to create transferable adversarial perturbations.
        adapt: Whether to measure, in addition, a combiner that is adapted to this model.
        combiner: File of the combiner, which turns evidence into causes; default the one shipped with the package.
        depth: ``quick`` or ``standard``, as for :func:`whywrong.verdict`.
        progress: Callback that receives the progress.
        decode_options: How image files are decoded.
        reading: Keyword arguments of :func:`open_data`.
        settings: Fields of :class:`whywrong.planting.verdicts.plan.VerdictPlan`, such as ``per_cause`` and ``seed``.

    Returns:
        The results as plain values, ready for JSON.

    Raises:
        InputError: A setting is out of range, or a helper has other classes.
        DataError: Too few images are classified correctly, or the file of the combiner is missing.
    """
    from whywrong.planting.verdicts.benchmark.running import BenchmarkModels, BenchmarkNames, run_benchmark
    from whywrong.planting.verdicts.plan import VerdictPlan
    from whywrong.runs.guard import check_apart
    from whywrong.runs.labelled import LabelledSource
    from whywrong.verdicts.combiner.stored import load_combiner

    plan = VerdictPlan(**settings)
    model, source = open_pair(classifier, data, **(reading or {}))
    check_apart(Path(out), source.spec)
    models = BenchmarkModels(
        classifier=model,
        helpers=[open_model(helper) for helper in helpers],
        surrogate=None if surrogate is None else open_model(surrogate),
        combiner=None if combiner is None else load_combiner(Path(combiner)),
    )
    names = BenchmarkNames(model=_title(model), data=source.title, helper=", ".join(map(_title, models.helpers)))
    return run_benchmark(
        models, LabelledSource(source, decode_options), Path(out), plan, names, adapted=adapt,
        settings={"depth": depth}, progress=progress,
    )  # fmt: skip


def _title(model: Any) -> str:
    recipe = getattr(model, "recipe", None)
    return str(getattr(recipe, "model", None) or getattr(model, "title", "") or type(model).__name__)
