"""The functions behind the command line and ``import whywrong``: check, diagnose, explain, claims, planting.

Importing this module does not load torch, because each function imports the heavy packages that it needs.
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
    from whywrong.runs.forecast import Forecast
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
        path: Path of the report; default ``report.html`` in the folder of the run.
        limit: Maximum number of errors shown in full.

    Returns:
        Path of the report.

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
    """Return the caveats of a run, the most severe first, each with a remedy."""
    from whywrong.report.doubts import find_doubts
    from whywrong.report.reports import find_reports
    from whywrong.report.summary import summarize_run
    from whywrong.report.tables import Tables

    with Tables(run) as tables:
        summary = summarize_run(tables, find_reports(tables.meta))
        return [doubt.text for doubt in find_doubts(tables.meta, summary)]


def headline(run: RunFolder) -> tuple[str, list[str]]:
    """Return the first sentence of a report and the sentences below it, as plain text."""
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
    """Find the misclassified images, explain them, and write a report to a folder.

    Args:
        classifier: Result of ``load_classifier``; a module of torch, torchvision, timm or transformers; or an
            image-classification pipeline. Modules and pipelines cannot be sent to worker processes.
        data: Folder, manifest or ``.npz`` file; torch ``Dataset`` or ``DataLoader``, Hugging Face ``Dataset``, (x, y)
            arrays or tensors; or the result of :func:`open_data`. A data set in memory cannot be sent to worker
            processes.
        out: Output folder. If it already holds this run, the run is resumed.
        progress: Callback that receives the progress (stage, done, total, errors, failed).
        settings: Fields of :class:`whywrong.runs.options.RunOptions`: ``depth``, ``methods``, ``images``, ``limit``,
            ``time_budget``, ``seed``, ``workers``, ``engine``, ``batch_size``, ``options``, ``decode_options``. Other
            keywords are passed to :func:`open_data`.

    Returns:
        The run, whose report is ``run.path / "report.html"``.

    Raises:
        InputError: A setting is invalid, or a label matches no class of the model.
        RunFolderError: The folder holds a run of another model or source, or another process is writing to it.
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


def forecast(classifier: Any, data: Any, **settings: Any) -> Forecast:
    """Estimate the size and cost of a diagnosis from a sample of its images.

    Up to 64 images are read and classified; nothing is written.

    Args:
        classifier, data, settings: As for :func:`diagnose`.

    Raises:
        InputError: A setting is invalid, or a label matches no class of the model.
        DataError: None of the images of the sample can be read.

    Example:
        >>> import torch, whywrong as ww
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
        >>> plan = ww.forecast(net, (torch.rand(8, 3, 8, 8), torch.arange(8) % 2), methods=["inverted"])
        >>> plan.images, plan.sampled
        (8, 8)
    """
    from whywrong.runs.forecast import forecast as of_run

    options, reading = _run_options(settings)
    return of_run(*open_pair(classifier, data, **reading), options)


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
    """Check the depth, the methods and their settings without loading a model.

    Arguments are as for :func:`diagnose`.

    Raises:
        InputError: An argument is unknown or invalid; the message names the nearest name or the allowed values.
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
    """Measure the accuracy of a classifier and check that it is set up correctly.

    Args:
        classifier: As for :func:`diagnose`.
        data: As for :func:`diagnose`.
        limit: Maximum number of images to read, spread over the data; None reads all.
        show: Maximum number of errors to return.
        decode_options: How image files are decoded.
        progress: Callback that receives the progress after every batch.
        reading: Keyword arguments of :func:`open_data`.

    Returns:
        Accuracy, findings of the health checks, and the first errors.

    Raises:
        DataError: No image could be read, or no image has a label.

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
    """Diagnose one image and write a report on it.

    Args:
        classifier: As for :func:`diagnose`.
        image: Path of an image file, or a Pillow image, array or tensor.
        label: True class of the image, as name, WordNet ID (wnid) or index.
        out: Output folder, which becomes a run with one item.
        label_by: How to read an ambiguous label: ``name``, ``wnid`` or ``index``.
        progress: As for :func:`diagnose`.
        settings: Fields of :class:`whywrong.runs.options.RunOptions`, as for :func:`diagnose`.

    Raises:
        DataError: The file does not exist.
        InputError: The label matches no class of the model, or several.
        RunFolderError: The folder holds the run of another image, or other files.

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
    """Describe the first ``limit`` errors of a run in sentences.

    If no image is misclassified, describe the first correct predictions.
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
        classifier: As for :func:`diagnose`. Its last layer must be linear.
        data: Labelled images on which the findings are evaluated, as for :func:`diagnose`.
        out: Output folder. It may already hold a run of the same model.
        reference: Labelled training images in which to search for components; None uses a part of ``data``.
        labels: CSV file of labels that the user exported from the page. SpuFix is then evaluated with them.
        workers: Number of worker processes; 1 computes in this process. The search survives the crash of a worker.
        engine: Where workers run: ``local``, or the name of an engine plug-in.
        progress: Callback that receives stage and progress twice a second.
        decode_options: How image files are decoded.
        reading: Keyword arguments of :func:`open_data` for ``data``. They also apply to ``reference``, except manifest,
            boxes, split and columns.
        settings: Fields of :class:`whywrong.explain.spurious.config.SpuriousConfig`, such as ``classes``.

    Returns:
        The findings and the files written. ``report.page`` is the path of the page, and ``report.repaired(classifier)``
        returns the repaired classifier.

    Raises:
        InputError: A class is unknown, or a setting or label is invalid.
        ModelError: The classifier has no linear last layer.
        DataError: There are too few images.
        RunFolderError: ``out`` holds a run of another model.
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
        classifiers: One classifier, as for :func:`diagnose`, or a list of classifiers with the same classes and input
            size.
        data: Labelled images, as for :func:`diagnose`, resized and cropped for the first classifier.
        out: Output folder. It may already hold a run of the first classifier.
        names: Names of the classifiers; default ``model 1``, ``model 2`` ...
        workers: Number of worker processes; 1 computes in this process. The comparison survives the crash of a worker.
        engine: Where workers run: ``local``, or the name of an engine plug-in.
        progress: Callback that receives stage and progress twice a second.
        decode_options: How image files are decoded.
        reading: Keyword arguments of :func:`open_data`.
        settings: Fields of :class:`whywrong.explain.robustness.config.RobustnessConfig`, such as ``rows`` and ``eps``.

    Returns:
        The rows of the table, the statistical tests, and the files written. ``report.page`` is the path of the page.

    Raises:
        InputError: A setting is invalid, a classifier occurs twice, or the classes or input sizes differ.
        DataError: No labelled image could be read.
        RunFolderError: ``out`` holds a run of another model.
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
    """Find the concepts that units of a layer detect, and the units that cause errors.

    Args:
        classifier: As for :func:`diagnose`. The classifier must grant access to its layers.
        data: Labelled images, as for :func:`diagnose`.
        out: Output folder. It may already hold a run of the same model.
        workers: Number of worker processes; 1 computes in this process. The dissection survives the crash of a worker.
        engine: Where workers run: ``local``, or the name of an engine plug-in.
        progress: Callback that receives stage and progress twice a second.
        decode_options: How image files are decoded.
        reading: Keyword arguments of :func:`open_data`.
        settings: Fields of :class:`whywrong.explain.dissection.config.DissectionConfig`, such as ``layer``.

    Returns:
        The tables and a summary of the dissection. ``report.page`` is the path of the page.

    Raises:
        InputError: A setting is invalid, or the concepts do not match the data.
        ModelError: The layer does not exist.
        DataError: Fewer than two images can be used.
        RunFolderError: ``out`` holds a run of another model.
        Interrupted: The dissection was interrupted by a signal; the same call resumes it.

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
    """Find and test the cause of each error of a run, and measure possible remedies.

    The tables are written to the folder of the run, and the report is updated. If the call is interrupted, repeat it to
    resume.

    Args:
        run: A run, or the path of its folder.
        model: The model of the run, as for :func:`diagnose`; None loads it by the name stored in the run.
        data: The images of the run, as for :func:`diagnose`; None opens them at the path stored in the run.
        helpers: Other models with the same classes, by name or as for :func:`diagnose`. Their predictions are evidence.
        reference: Labelled images. Those that the model classifies correctly become the controls, instead of the
            correct images of the run.
        adapt: Whether to first adapt the verdicts to this model, using errors with known causes that are planted in
            correct images. The resulting figures are in ``report.record["combiner"]["adapted"]``.
        workers: Number of worker processes; 1 computes in this process.
        engine: Where workers run: ``local``, or the name of an engine plug-in.
        progress: Callback that receives stage and progress twice a second.
        reading: Keyword arguments of :func:`open_data` for ``data``.
        settings: Fields of :class:`whywrong.verdicts.config.VerdictConfig`, such as ``depth`` and ``force``.

    Returns:
        The verdicts, with the data frames ``report.verdicts``, ``report.groups`` and ``report.advice``.

    Raises:
        InputError: Nearly all images are misclassified, a helper has other classes, or the run does not name its model
            or data.
        RunFolderError: The run belongs to another model.
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
    """Sort the errors of a run by remedy, and test whether fine-tuning corrects them.

    Copies of the model are fine-tuned on one half of the images and compared with controls on the other half; the model
    itself is never changed. Lists of work, weights and tables are written to the folder of the run, and the report is
    updated. If the call is interrupted, repeat it to resume.

    Args:
        run: A run, or the path of its folder.
        model: The model of the run, as for :func:`diagnose`; None loads it by the name stored in the run.
        data: The images of the run, as for :func:`diagnose`; None opens them at the path stored in the run.
        training: Training images that prevent forgetting; None uses correctly classified images of the run.
        workers: Number of worker processes; 1 computes in this process.
        engine: Where workers run: ``local``, or the name of an engine plug-in.
        progress: Callback that receives stage and progress twice a second.
        reading: Keyword arguments of :func:`open_data` for ``data``.
        settings: Fields of :class:`whywrong.verdicts.repair.config.RepairConfig`, such as ``train`` and ``arms``.

    Returns:
        The lists of work, the results of each way of fine-tuning (arm), and the path of the weights if a safe repair
        was found.

    Raises:
        InputError: The run does not name its model or data.
        RunFolderError: The run belongs to another model, or an output file was edited since it was written.
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
