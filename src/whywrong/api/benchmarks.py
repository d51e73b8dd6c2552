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
    """Check the settings of :func:`benchmark_verdicts` without a model.

    Raises:
        InputError: An unknown cause, or a number out of range.
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
    """Measure how often verdicts are right on planted errors of known causes.

    The errors are diagnosed blind, and the verdicts compared with the truth.

    Args:
        classifier: The classifier or module whose verdicts are measured.
        data: As for :func:`whywrong.diagnose`, or ``planted:test``.
        out: Folder to write: the errors, their run, ``benchmark.json`` and ``benchmark.md``.
        helpers: Other models over the same classes, whose answers are evidence.
        surrogate: Another network, on which adversarial steps are made that transfer.
        adapt: Whether the combiner is also adapted to this model.
        combiner: File of the combiner to measure; default the one that ships with the package.
        depth: ``quick`` or ``standard``, as for :func:`whywrong.verdict`.
        progress: Called with the progress.
        decode_options: How files are decoded.
        reading: As for :func:`open_data`.
        settings: Of :class:`whywrong.planting.verdicts.plan.VerdictPlan`: ``per_cause``, ``reference``, ``seed`` ...

    Returns:
        The figures, as plain values.

    Raises:
        InputError: A setting is out of range, or a helper has other classes.
        DataError: Too few images are predicted as labelled, or no combiner is there.
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
