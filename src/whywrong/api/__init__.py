"""The functions behind the command line and ``import whywrong``: check, diagnose, explain, claims, planting.

Heavy packages are imported inside the functions that need them: importing this module loads no torch.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from whywrong.api.benchmarks import benchmark_verdicts, check_benchmark
from whywrong.api.claims import check_figure, draw_claim, reproduce_claim, reproduce_claims
from whywrong.api.planted import check_planting, plant
from whywrong.api.reading import load_classifier, open_data, open_model, open_pair, open_run
from whywrong.api.surrogates import check_distilling, distil_surrogate
from whywrong.api.training import check_training, train
from whywrong.core.csv_cells import guard_cell
from whywrong.core.errors import DataError
from whywrong.core.registry import Depth

if TYPE_CHECKING:
    from whywrong.api.comparison import RobustnessReport
    from whywrong.api.dissection import DissectionReport
    from whywrong.api.repairs import RepairReport
    from whywrong.api.spurious import SpuriousReport
    from whywrong.api.verdicts import VerdictReport
    from whywrong.data.decoding import DecodeOptions
    from whywrong.data.sources import Source
    from whywrong.models.classifier import Classifier
    from whywrong.runs.check import CheckReport
    from whywrong.runs.folder import RunFolder
    from whywrong.runs.options import RunOptions
    from whywrong.runs.progress import Progress

__all__ = [
    "benchmark_verdicts",
    "check",
    "check_benchmark",
    "check_distilling",
    "check_figure",
    "check_planting",
    "check_settings",
    "check_training",
    "diagnose",
    "dissect",
    "distil_surrogate",
    "doubts",
    "draw_claim",
    "explain_image",
    "headline",
    "load_classifier",
    "open_data",
    "open_run",
    "plant",
    "readings",
    "repair",
    "reproduce_claim",
    "reproduce_claims",
    "robustness",
    "spurious_features",
    "train",
    "verdict",
    "write_report",
]

R = TypeVar("R")

SHOWN = 200  # errors shown in a report, or more if more were explained in full
DEMO = ("planted:cnn-spurious", "planted:causes")  # model and images that ship with the package
DEMO_VERDICT: dict[str, Any] = {"reference_images": 100}  # settings of its verdicts, so that it stays short


def write_report(run: RunFolder | str | Path, path: str | Path | None = None, *, limit: int = SHOWN) -> Path:
    """Write the HTML report of a run.

    Args:
        run: A run or its folder.
        path: The file to write; default ``report.html`` in the folder of the run.
        limit: Most errors to show in full.

    Returns:
        The file written.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> images = torch.rand(12, 3, 64, 64), torch.arange(12)
        >>> run = ww.diagnose(classifier, images, "runs/a", methods=["cam"])
        >>> ww.write_report(run, "report.html").name
        'report.html'
    """
    from whywrong.report.html import write_report as write

    return write(open_run(run) if isinstance(run, (str, Path)) else run, path, limit=limit)


def doubts(run: RunFolder) -> list[str]:
    """Return the caveats of a run, most severe first, each with a remedy."""
    from whywrong.report.doubts import find_doubts
    from whywrong.report.reports import find_reports
    from whywrong.report.summary import summarize_run
    from whywrong.report.tables import Tables

    with Tables(run) as tables:
        summary = summarize_run(tables, find_reports(tables.meta))
        return [doubt.text for doubt in find_doubts(tables.meta, summary)]


def headline(run: RunFolder) -> tuple[str, list[str]]:
    """Return the first sentence of the report and those below it, as plain text."""
    from whywrong.report.headline import headline as sentences
    from whywrong.report.reports import find_reports
    from whywrong.report.summary import summarize_run
    from whywrong.report.tables import Names, Tables

    with Tables(run) as tables:
        reports = find_reports(tables.meta)
        names = Names((tables.meta.get("model") or {}).get("classes"))
        return sentences(summarize_run(tables, reports), names, reports)


def diagnose(
    classifier: Any,
    data: Any,
    out: str | Path,
    *,
    progress: Callable[[Any], None] | None = None,
    **settings: Any,
) -> RunFolder:
    """Find the misclassified images and their causes, and write a report to a folder.

    Args:
        classifier: Result of ``load_classifier``; a module of torch, torchvision, timm or transformers; or an
            image-classification pipeline. Modules and pipelines run in this process only.
        data: Folder, manifest or ``.npz`` file; torch ``Dataset`` or ``DataLoader``, Hugging Face ``Dataset``, (x, y)
            arrays or tensors; or the result of :func:`open_data`. A data set in memory is read in this process only.
        out: Output folder. If it already holds this run, the run is resumed.
        progress: Called with the progress (stage, done, total, errors, failed).
        settings: Fields of :class:`whywrong.runs.options.RunOptions`: ``depth``, ``methods``, ``images``, ``limit``,
            ``time_budget``, ``seed``, ``workers``, ``engine``, ``batch_size``, ``options``, ``decode_options``; all
            other keywords are those of :func:`open_data`.

    Returns:
        The run; ``run.path / "report.html"`` is its report.

    Raises:
        InputError: A setting is invalid, or a label maps to no class.
        RunFolderError: The folder belongs to another model or source, or another run writes there.
        KeyboardInterrupt: The run was interrupted; the same call resumes it.

    Example:
        >>> import tempfile, torch, whywrong as ww
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
        >>> loader = DataLoader(TensorDataset(torch.rand(8, 3, 8, 8), torch.arange(8) % 2))
        >>> run = ww.diagnose(net, loader, tempfile.mkdtemp() + "/run", methods=["inverted"])
        >>> (run.path / "report.html").is_file()
        True
    """
    from whywrong.data.objects.opening import check_reading

    options, reading = _run_options(settings)
    check_reading(reading, (field.name for field in fields(options)))
    return _diagnose(*open_pair(classifier, data, **reading), Path(out), options, progress=progress)


def _run_options(settings: Mapping[str, Any]) -> tuple[RunOptions, dict[str, Any]]:
    """Split keyword arguments into the options of a run and all others."""
    from whywrong.runs.options import RunOptions

    own = {field.name for field in fields(RunOptions)}
    chosen = {name: value for name, value in settings.items() if name in own and value is not None}
    return RunOptions(**chosen), {name: value for name, value in settings.items() if name not in own}


def _diagnose(
    classifier: Classifier,
    source: Source,
    out: Path,
    options: RunOptions,
    *,
    given: Mapping[str, bytes] | None = None,
    progress: Callable[[Any], None] | None = None,
) -> RunFolder:
    from whywrong.report.pages import check_page
    from whywrong.runs.diagnose import diagnose as run_diagnosis

    check_page(out / "report.html")
    run = run_diagnosis(classifier, source, out, options, progress=progress or (lambda _: None), given=given)
    write_report(run, limit=max(options.limit, SHOWN))
    return run


def check_settings(
    depth: Depth, methods: Sequence[str] | None = None, options: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Check depth, methods and settings without a model.

    Arguments as for :func:`diagnose`.

    Raises:
        InputError: One is unknown or invalid; the message names the nearest, or what is allowed.
    """
    from whywrong.runs.setup import choose_steps

    choose_steps(depth, methods, options or {})


def check(
    classifier: Any,
    data: Any,
    *,
    limit: int | None = None,
    show: int = 10,
    decode_options: DecodeOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
    **reading: Any,
) -> CheckReport:
    """Check accuracy and health of a classifier on labelled images.

    Args:
        classifier: As for :func:`diagnose`.
        data: As for :func:`diagnose`.
        limit: Most images to read, spread over the data; None reads all.
        show: Most errors to return.
        decode_options: How files are decoded.
        progress: Called after every batch with the progress.
        reading: As for :func:`open_data`.

    Returns:
        The report, with the first errors.

    Raises:
        DataError: No image could be read, or none has a label.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> images = torch.rand(12, 3, 64, 64), torch.arange(12)
        >>> ww.check(classifier, images).images
        12
    """
    from whywrong.runs.check import check as run_check

    classifier, source = open_pair(classifier, data, **reading)
    return run_check(classifier, source, limit=limit, show=show, decode_options=decode_options, progress=progress)


def explain_image(
    classifier: Any,
    image: Any,
    label: str | int,
    out: str | Path,
    *,
    label_by: str | None = None,
    progress: Callable[[Any], None] | None = None,
    **settings: Any,
) -> RunFolder:
    """Diagnose one image and write a run of one item with its report.

    Args:
        classifier: As for :func:`diagnose`.
        image: The file, or a Pillow image, array or tensor.
        label: Its true class, as name, wnid or index.
        out: Folder of the run.
        label_by: How the label names its class, if that is ambiguous.
        progress: As for :func:`diagnose`.
        settings: Fields of :class:`whywrong.runs.options.RunOptions`, as for :func:`diagnose`.

    Raises:
        DataError: There is no such file.
        InputError: The label names no class of the model, or several.
        RunFolderError: The folder holds something else, or the run of another image.

    Example:
        >>> import whywrong as ww
        >>> from PIL import Image
        >>> Image.new("RGB", (64, 64)).save("photo.png")
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> run = ww.explain_image(classifier, "photo.png", "mug", "runs/photo", methods=["cam"])
        >>> run.query("select label_name from items").to_pylist()
        [{'label_name': 'mug'}]
    """
    from whywrong.core.label_match import match_labels
    from whywrong.runs.store.given import put_into_run

    options, unknown = _run_options(settings)
    if unknown:
        raise TypeError(f"explain_image() got an unexpected keyword argument {next(iter(unknown))!r}")
    if not isinstance(image, (str, Path)):
        pair = open_pair(classifier, [(image, label)], label_by=label_by)
        return _diagnose(*pair, Path(out), options, progress=progress)
    classifier = open_model(classifier)
    image, out, label = Path(image), Path(out), str(label)
    if not image.is_file():
        raise DataError(f"{image}: no such image")
    if classifier.classes is not None:  # raised before anything is written, and without naming an internal file
        match_labels([label], classifier.classes, label_by=label_by)
    listed = io.StringIO(newline="")
    csv.writer(listed).writerows([("path", "label"), (guard_cell(image.name), guard_cell(label))])
    given = {"image.csv": listed.getvalue().encode("utf-8", "surrogateescape")}
    put_into_run(out, given)
    linked = os.path.realpath(image) != os.path.join(os.path.realpath(image.parent), image.name)
    source = open_data(image.parent, manifest=out / "image.csv", label_by=label_by, follow_links=linked)
    return _diagnose(classifier, source, out, options, given=given, progress=progress)


def readings(run: RunFolder, limit: int = 1) -> list[str]:
    """Return the explanations of the first errors of a run in sentences.

    If no image is misclassified, the predictions of the first images.
    """
    from whywrong.report.error_view import build
    from whywrong.report.primitives.run_summary import RunSummary
    from whywrong.report.reports import find_reports
    from whywrong.report.selection import select
    from whywrong.report.tables import Names, Tables

    with Tables(run) as tables:
        names = Names((tables.meta.get("model") or {}).get("classes"))
        reports, summary = find_reports(tables.meta), RunSummary()
        chosen, _ = select(tables, reports, limit)
        sentences = [
            sentence.striptags()
            for number, row in enumerate(chosen, start=1)
            for sentence in build(tables, reports, summary, row, names, number).sentences
        ]
        right = tables.rows(f"select predicted, confidence from predictions where status = 'ok' limit {limit}")
    if not chosen:
        for row in right:
            sure = f" ({100 * row['confidence']:.0f} %)" if row["confidence"] is not None else ""
            sentences.append(f"The model predicts {names[row['predicted']]}{sure}, which is the label.")
    return sentences


def spurious_features(
    classifier: Any,
    data: Any,
    out: str | Path,
    *,
    reference: str | Path | Source | None = None,
    labels: str | Path | None = None,
    workers: int = 1,
    engine: str = "local",
    progress: Callable[[Progress], None] | None = None,
    decode_options: DecodeOptions | None = None,
    reading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> SpuriousReport:
    """Find spurious features of a classifier and write a page to review them.

    Args:
        classifier: As for :func:`diagnose`; its logits must come from a linear last layer.
        data: Labelled images on which the findings are evaluated, as for :func:`diagnose`.
        out: Output folder, which may hold a run of the same model.
        reference: Labelled training images in which components are searched; None uses a part of ``data``.
        labels: CSV with a user's labels, as the page writes it; SpuFix is then evaluated.
        workers: 1 works in this process; more are spawned processes, whose crash does not end the search.
        engine: Where the work runs.
        progress: Called with the stage and its progress, twice a second.
        decode_options: How files are decoded.
        reading: As for :func:`open_data`, for ``data``; for ``reference`` all but manifest, boxes, split and columns.
        settings: Of :class:`whywrong.explain.spurious.config.SpuriousConfig`: ``classes``, ``components`` ...

    Returns:
        The search with what was written; ``report.page`` is the page, ``report.repaired(classifier)`` the repair.

    Raises:
        InputError: A class is unknown, or a setting or label is invalid.
        ModelError: The classifier has no linear last layer.
        DataError: Too few images.
        RunFolderError: ``out`` is the run of another model.
        Interrupted: The search was interrupted by a signal; the same call resumes it.

    Example:
        >>> import torch, whywrong as ww
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 3))
        >>> classifier = ww.Classifier(net, classes=["a", "b", "c"], preprocess=ww.InputSpec(height=8, width=8))
        >>> x = torch.rand(300, 3, 8, 8)
        >>> ww.spurious_features(classifier, (x, classifier.predict(x)), "spurious").folder.name
        'spurious'
    """
    from whywrong.api.spurious import spurious_report
    from whywrong.report.analyses.spurious.gallery import write_gallery
    from whywrong.report.pages import check_page
    from whywrong.runs.analyses import AnalysisOptions

    check_page(Path(out) / "spurious.html")
    reading = dict(reading or {})
    tables = ("manifest", "boxes", "split", "image_column", "label_column")  # these describe ``data`` alone
    beside = {name: value for name, value in reading.items() if name not in tables}
    report = spurious_report(
        *open_pair(classifier, data, **reading),
        None if reference is None else open_data(reference, **beside),
        Path(out),
        labels=None if labels is None else Path(labels),
        settings=settings,
        options=AnalysisOptions(workers=workers, engine=engine, decode=decode_options),
        progress=progress,
    )
    write_gallery(report.folder)
    return report


def robustness(
    classifiers: Any,
    data: Any,
    out: str | Path,
    *,
    names: Sequence[str] | None = None,
    workers: int = 1,
    engine: str = "local",
    progress: Callable[[Progress], None] | None = None,
    decode_options: DecodeOptions | None = None,
    reading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> RobustnessReport:
    """Compare the robustness of classifiers side by side and write a page.

    Args:
        classifiers: One classifier, as for :func:`diagnose`, or a list of them, of the same classes and input size.
        data: Labelled images, as for :func:`diagnose`, read as the first classifier takes them.
        out: Output folder, which may hold a run of the first classifier.
        names: Name of each classifier; default ``model 1``, ``model 2`` ...
        workers: 1 works in this process; more are spawned processes, whose crash does not end the comparison.
        engine: Where the work runs.
        progress: Called with the stage and its progress, twice a second.
        decode_options: How files are decoded.
        reading: As for :func:`open_data`.
        settings: Of :class:`whywrong.explain.robustness.config.RobustnessConfig`: ``rows``, ``images``, ``eps`` ...

    Returns:
        The rows and tests with what was written; ``report.page`` is the page.

    Raises:
        InputError: A setting is invalid, a classifier is given twice, or classes or input sizes differ.
        DataError: No labelled image could be read.
        RunFolderError: ``out`` is the run of another model.
        Interrupted: The comparison was interrupted by a signal; the same call resumes it.

    Example:
        >>> import torch, whywrong as ww
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 3))
        >>> classifier = ww.Classifier(net, classes=["a", "b", "c"], preprocess=ww.InputSpec(height=8, width=8))
        >>> x = torch.rand(30, 3, 8, 8)
        >>> report = ww.robustness([classifier], (x, classifier.predict(x)), "robustness", rows=["pgd_linf"])
        >>> [row["row"] for row in report.rows]
        ['clean', 'noise_linf', 'pgd_linf']
    """
    from whywrong.api.comparison import robustness_report
    from whywrong.core.errors import InputError
    from whywrong.report.analyses.robustness.page import write_comparison
    from whywrong.report.pages import check_page
    from whywrong.runs.analyses import AnalysisOptions

    given = list(classifiers) if isinstance(classifiers, (list, tuple)) else [classifiers]
    if not given:
        raise InputError("give at least one classifier to compare")
    called = [f"model {number}" for number in range(1, len(given) + 1)] if names is None else [str(n) for n in names]
    if len(called) != len(given) or len(set(called)) != len(called):
        raise InputError(f"names must be {len(given)} different names, one for each classifier, got {called}")
    check_page(Path(out) / "robustness.html")
    first, source = open_pair(given[0], data, **dict(reading or {}))
    report = robustness_report(
        [first, *(open_model(one) for one in given[1:])],
        called,
        source,
        Path(out),
        settings={name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()},
        options=AnalysisOptions(workers=workers, engine=engine, decode=decode_options),
        progress=progress,
    )
    write_comparison(report.folder)
    return report


def dissect(
    classifier: Any,
    data: Any,
    out: str | Path,
    *,
    workers: int = 1,
    engine: str = "local",
    progress: Callable[[Progress], None] | None = None,
    decode_options: DecodeOptions | None = None,
    reading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> DissectionReport:
    """Name what the units of a layer detect and which promote errors.

    Args:
        classifier: As for :func:`diagnose`; its layers must be accessible.
        data: Labelled images, as for :func:`diagnose`.
        out: Output folder, which may hold a run of the same model.
        workers: 1 works in this process; more are spawned processes, whose crash does not end the dissection.
        engine: Where the work runs.
        progress: Called with the stage and its progress, twice a second.
        decode_options: How files are decoded.
        reading: As for :func:`open_data`.
        settings: Of :class:`whywrong.explain.dissection.config.DissectionConfig`: ``layer``, ``concepts`` ...

    Returns:
        Tables and record; ``report.page`` is the page.

    Raises:
        InputError: A setting is invalid, or the concepts do not fit the data.
        ModelError: The layer does not exist.
        DataError: Fewer than two images can be used.
        RunFolderError: ``out`` is the run of another model.
        Interrupted: Interrupted by a signal; the same call resumes.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> images = torch.rand(8, 3, 64, 64), torch.arange(8)
        >>> report = ww.dissect(classifier, images, "units", layer="stem", images_each=1, permutations=19, errors=2)
        >>> report.tables["dissection"].num_rows
        24
    """
    from whywrong.api.dissection import PAGE, dissection_report
    from whywrong.report.analyses.dissection import write_dissection
    from whywrong.report.pages import check_page
    from whywrong.runs.analyses import AnalysisOptions

    check_page(Path(out) / PAGE)
    report = dissection_report(
        *open_pair(classifier, data, **(reading or {})),
        Path(out),
        settings=settings,
        options=AnalysisOptions(workers=workers, engine=engine, decode=decode_options),
        progress=progress,
    )
    write_dissection(report.folder)
    return report


def verdict(
    run: RunFolder | str | Path,
    model: Any = None,
    data: Any = None,
    *,
    helpers: Sequence[Any] = (),
    reference: Any = None,
    adapt: bool = False,
    workers: int = 1,
    engine: str = "local",
    progress: Callable[[Progress], None] | None = None,
    reading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> VerdictReport:
    """Find and test the cause of each error of a run, and measure what helps.

    The tables are written to the folder of the run, and its report is written again. An interrupted call is resumed by
    the same call.

    Args:
        run: A run or its folder.
        model: Its model, as for :func:`diagnose`; None loads the model that the run names.
        data: Its images, as for :func:`diagnose`; None opens those of the run.
        helpers: Other models over the same classes, as for :func:`diagnose` or by name; their answers are evidence.
        reference: Images whose correctly predicted ones replace those of the run as what errors are compared with.
        adapt: Whether errors of known causes are first planted in correct images, to fit the verdicts to this model;
            the figures are in ``report.record["combiner"]["adapted"]``.
        workers: 1 works in this process; more are spawned processes.
        engine: Where the work runs.
        progress: Called with the stage and its progress, twice a second.
        reading: As for :func:`open_data`, for ``data``.
        settings: Of :class:`whywrong.verdicts.config.VerdictConfig`: ``depth``, ``force``, ``seed`` ...

    Returns:
        The verdicts; ``report.verdicts``, ``report.groups`` and ``report.advice`` are data frames.

    Raises:
        InputError: Nearly all images are misclassified, a helper has other classes, or the run does not name its
            model or data.
        RunFolderError: The run is of another model.
        Interrupted: The call was interrupted by a signal; the same call resumes it.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> images = torch.rand(30, 3, 64, 64), classifier.predict(torch.rand(30, 3, 64, 64))
        >>> run = ww.diagnose(classifier, images, "runs/v", methods=["cam"])
        >>> report = ww.verdict(run, classifier, images, depth="free", force=True)
        >>> report.tables["verdicts"].num_rows == len(run.errors())
        True
    """
    from whywrong.api.verdicts import adapted_combiner, data_of, decoding_of, give_verdicts, model_of
    from whywrong.runs.analyses import AnalysisOptions

    run = open_run(run) if isinstance(run, (str, Path)) else run
    found = model_of(run, load_classifier) if model is None else model
    source = data_of(run) if data is None else data
    classifier, source = open_pair(found, source, **(reading or {}))
    others = [load_classifier(one) if isinstance(one, str) else open_model(one) for one in helpers]
    combiner = adapted_combiner(classifier, source, others, decoding_of(run), progress) if adapt else None
    return _with_report(
        run,
        give_verdicts(
            run,
            classifier,
            source,
            helpers=others,
            combiner=combiner,
            reference=None if reference is None else open_data(reference),
            settings=settings,
            options=AnalysisOptions(workers=workers, engine=engine, decode=decoding_of(run)),
            progress=progress,
        ),
    )


def repair(
    run: RunFolder | str | Path,
    model: Any = None,
    data: Any = None,
    *,
    training: Any = None,
    workers: int = 1,
    engine: str = "local",
    progress: Callable[[Progress], None] | None = None,
    reading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> RepairReport:
    """Sort the errors of a run into lists of work, and measure fine-tuning on them.

    Copies of the model are fine-tuned on one half of the images and measured on the other, beside controls; the model
    is never changed. Lists, weights and tables are written to the folder of the run, and its report is written again.
    An interrupted call is resumed by the same call.

    Args:
        run: A run or its folder.
        model: Its model, as for :func:`diagnose`; None loads the model that the run names.
        data: Its images, as for :func:`diagnose`; None opens those of the run.
        training: Training images, which keep what the model knows; None takes correct images of the run.
        workers: 1 works in this process; more are spawned processes.
        engine: Where the work runs.
        progress: Called with the stage and its progress, twice a second.
        reading: As for :func:`open_data`, for ``data``.
        settings: Of :class:`whywrong.verdicts.repair.config.RepairConfig`: ``train``, ``arms``, ``steps``, ``seed`` ...

    Returns:
        The lists of work, the arms, and the path of the weights if a safe repair was found.

    Raises:
        InputError: The run does not name its model or data.
        RunFolderError: The run is of another model, or somebody changed a file that would be written.
        Interrupted: The call was interrupted by a signal; the same call resumes it.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> images = torch.rand(30, 3, 64, 64), torch.arange(30) % 8
        >>> run = ww.diagnose(classifier, images, "runs/r", methods=["cam"])
        >>> report = ww.repair(run, classifier, images, train=False)
        >>> report.tables["work"].num_rows == len(run.errors())
        True
    """
    from whywrong.api.repairs import repair_run
    from whywrong.api.verdicts import data_of, decoding_of, model_of
    from whywrong.runs.analyses import AnalysisOptions

    run = open_run(run) if isinstance(run, (str, Path)) else run
    found = model_of(run, load_classifier) if model is None else model
    source = data_of(run) if data is None else data
    classifier, source = open_pair(found, source, **(reading or {}))
    return _with_report(
        run,
        repair_run(
            run,
            classifier,
            source,
            train=None if training is None else open_data(training),
            settings=settings,
            options=AnalysisOptions(workers=workers, engine=engine, decode=decoding_of(run)),
            progress=progress,
        ),
    )


def _with_report(run: RunFolder, report: R) -> R:
    """Write the report of a run again, with the results of an analysis."""
    write_report(open_run(run.path), limit=max(int(run.meta["limit"] or 0), SHOWN))
    return report
