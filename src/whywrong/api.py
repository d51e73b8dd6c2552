"""What joins the packages: check, diagnose, one image, claims, the demo. The only module that sees everything.

Heavy packages are imported inside the functions that need them: importing this module loads no torch.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whywrong.core.errors import DataError, InputError
from whywrong.core.registry import Depth

if TYPE_CHECKING:
    from whywrong.data.decoding import DecodeOptions
    from whywrong.data.sources import Source
    from whywrong.models.classifier import Classifier
    from whywrong.planting.mistakes import Tally
    from whywrong.reproduce.protocol import ClaimResult, SkippedClaim
    from whywrong.runs.check import CheckReport
    from whywrong.runs.diagnose import Progress
    from whywrong.runs.folder import RunFolder
    from whywrong.runs.spurious.report import SpuriousReport

SHOWN = 200  # errors that a report shows, or more where more were explained in full
DEMO = ("planted:cnn-spurious", "planted:causes")  # model and images that ship with the package


def load_classifier(model: str | Path, **options: Any) -> Classifier:
    """As :func:`whywrong.models.zoo.load_classifier`, imported when it is called."""
    from whywrong.models.zoo import load_classifier as load

    return load(model, **options)


def open_data(data: str | Path | Source, **reading: Any) -> Source:
    """The source behind a path; a source is returned as it is.

    Args:
        data: Folder, manifest, ``.npz`` file or source.
        reading: As for ``open_source``: ``manifest``, ``boxes``, ``label_by``, ``follow_links``, ``split``.

    Raises:
        DataError: The path is missing, empty or cannot be read.
    """
    from whywrong.data.sources import open_source

    return open_source(data, **reading) if isinstance(data, (str, Path)) else data


def open_run(path: str | Path) -> RunFolder:
    """An existing run, finished or not.

    Raises:
        RunFolderError: There is no run, or it is damaged.
    """
    from whywrong.runs.folder import RunFolder

    return RunFolder(path)


def write_report(run: RunFolder | str | Path, path: str | Path | None = None, *, limit: int = SHOWN) -> Path:
    """Write the HTML report of a run.

    Args:
        run: A run or its folder.
        path: The file to write; default ``report.html`` in the folder of the run.
        limit: Most errors to show in full.

    Returns:
        The file written.
    """
    from whywrong.report.html import write_report as write

    return write(open_run(run) if isinstance(run, (str, Path)) else run, path, limit=limit)


def headline(run: RunFolder) -> tuple[str, list[str]]:
    """The first sentence of the report, and those under it, as plain text."""
    from whywrong.report.facts import gather
    from whywrong.report.headline import headline as sentences
    from whywrong.report.tables import Names, Tables

    with Tables(run) as tables:
        return sentences(gather(tables), Names((tables.meta.get("model") or {}).get("classes")))


def diagnose(
    classifier: Classifier,
    data: str | Path | Source,
    out: str | Path,
    *,
    depth: Depth = "quick",
    methods: Sequence[str] | None = None,
    limit: int = 200,
    seed: int = 0,
    workers: int = 1,
    batch_size: int | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    decode_options: DecodeOptions | None = None,
    progress: Callable[[Any], None] | None = None,
    **reading: Any,
) -> RunFolder:
    """Find the images that a classifier gets wrong, and why; write everything, and the report, to a folder.

    Args:
        classifier: From ``load_classifier``, or a wrapped module, which then runs in this process only.
        data: Folder, manifest, ``.npz`` file or source.
        out: Folder of the run; a run that is there is gone on with.
        depth: ``quick``, ``standard`` or ``deep``.
        methods: Names of methods; default those of the depth.
        limit: Most errors to explain in full, spread over class pairs.
        seed: Seed of every method.
        workers: Processes.
        batch_size: Images in one pass; default what fits in memory.
        options: Settings by method: ``{"inverted": {"overshoot": 0.2}}``.
        decode_options: How files are decoded.
        progress: Called with what is done so far (stage, done, total, errors, failed).
        reading: As for :func:`open_data`.

    Returns:
        The run; ``run.path / "report.html"`` is its report.

    Raises:
        InputError: A setting breaks its contract, or a label maps to no class.
        RunFolderError: The folder belongs to another model or source, or another run writes there.
        KeyboardInterrupt: The run was interrupted; the same call goes on from there.
    """
    from whywrong.runs.diagnose import diagnose as run_diagnosis

    run = run_diagnosis(
        classifier,
        open_data(data, **reading),
        Path(out),
        depth=depth,
        methods=methods,
        limit=limit,
        seed=seed,
        workers=workers,
        batch_size=batch_size,
        options=options or {},
        decode_options=decode_options,
        progress=progress,
    )
    write_report(run, limit=max(limit, SHOWN))
    return run


def check(
    classifier: Classifier,
    data: str | Path | Source,
    *,
    limit: int | None = None,
    show: int = 10,
    decode_options: DecodeOptions | None = None,
    **reading: Any,
) -> CheckReport:
    """Accuracy, health and first errors of a classifier on labelled images.

    Args:
        classifier: The model to check.
        data: Folder, manifest, ``.npz`` file or source.
        limit: Most images to read, spread over the data; None reads all.
        show: Most errors to return.
        decode_options: How files are decoded.
        reading: As for :func:`open_data`.

    Raises:
        DataError: No image could be read, or none has a label.
    """
    from whywrong.runs.check import check as run_check

    return run_check(classifier, open_data(data, **reading), limit=limit, show=show, decode_options=decode_options)


def explain_image(
    classifier: Classifier,
    image: str | Path,
    label: str,
    out: str | Path,
    *,
    label_by: str | None = None,
    **options: Any,
) -> RunFolder:
    """Diagnose one image: a run of one item, with its report.

    Args:
        classifier: From ``load_classifier``, or a wrapped module.
        image: The file.
        label: What it shows: name, wnid or index of a class.
        out: Folder of the run.
        label_by: How the label names its class, where that is ambiguous.
        options: As for :func:`diagnose`.

    Raises:
        DataError: There is no such file.
    """
    image, out = Path(image), Path(out)
    if not image.is_file():
        raise DataError(f"{image}: no such image")
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / "image.csv"
    with open(manifest, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file).writerows([("path", "label"), (image.name, label)])
    return diagnose(classifier, image.parent, out, manifest=manifest, label_by=label_by, **options)


def plant(
    classifier: Classifier,
    data: str | Path | Source,
    out: str | Path,
    *,
    progress: Callable[[Progress], None] | None = None,
    decode_options: DecodeOptions | None = None,
    reading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Tally:
    """Write mistakes of known causes into a folder, each with the same image without its cause.

    Args:
        classifier: Whose mistakes they shall be.
        data: Folder, manifest, ``.npz`` file, ``planted:test`` or source.
        out: Folder to write; must not hold anything yet.
        progress: Told the cause and how many of its mistakes are there, after every step.
        decode_options: How files are decoded.
        reading: As for :func:`open_data`.
        settings: Of :class:`whywrong.planting.kinds.PlantConfig`: ``causes``, ``kinds``, ``per_cause``, ``strength``...

    Returns:
        How many were planted and tried, by cause.

    Raises:
        InputError: An unknown cause or kind, a strength out of range, or a folder that is not empty.
        DataError: Too few images are read as labelled.
    """
    from whywrong.planting.folder import PlantedFolder
    from whywrong.planting.kinds import PlantConfig
    from whywrong.planting.mistakes import Tally
    from whywrong.planting.plant import plant as run
    from whywrong.runs.labelled import LabelledSource

    names = {name: tuple(settings.pop(name, ())) for name in ("causes", "kinds")}
    config = PlantConfig(**names, **settings)
    labelled = LabelledSource(open_data(data, **(reading or {})), decode_options)
    settled = labelled.settle(classifier)
    tally = Tally(config.per_cause)
    known = settled.classes.names
    with PlantedFolder(Path(out), spec=settled.spec, labels=settled.labels, names=known) as folder:
        for planted in run(classifier, labelled, settled, config=config, tally=tally, progress=progress):
            folder.add(planted)
    return tally


def readings(run: RunFolder, limit: int = 1) -> list[str]:
    """The plain readings of the first errors of a run; of its first images where none is wrong."""
    from whywrong.report.cases import build
    from whywrong.report.selection import select
    from whywrong.report.tables import Names, Tables

    tables = Tables(run)
    names = Names((tables.meta.get("model") or {}).get("classes"))
    chosen, _ = select(tables, limit)
    sentences = [
        sentence.striptags()
        for number, row in enumerate(chosen, start=1)
        for sentence in build(tables, row, names, number, float("nan")).sentences
    ]
    if not chosen:
        rows = tables.rows(f"select predicted, confidence from predictions where status = 'ok' limit {limit}")
        for row in rows:
            sure = f" ({100 * row['confidence']:.0f} %)" if row["confidence"] is not None else ""
            sentences.append(f"The model reads this as {names[row['predicted']]}{sure}, which is what it is labelled.")
    return sentences


def spurious_features(
    classifier: Classifier,
    data: str | Path | Source,
    out: str | Path,
    *,
    reference: str | Path | Source | None = None,
    labels: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    decode_options: DecodeOptions | None = None,
    reading: Mapping[str, Any] | None = None,
    **settings: Any,
) -> SpuriousReport:
    """Find what a classifier takes for a class and is not the object; write tables and a page to look at.

    Args:
        classifier: From ``load_classifier``, or a wrapped module; its logits must come from a linear last layer.
        data: Labelled images that judge what was found: folder, manifest, ``.npz`` file or source.
        out: Folder to write: that of a run of the same model, or one of its own.
        reference: Labelled training images, in which components are looked for; None takes a part of ``data``.
        labels: CSV with a person's labels, as the page writes it; SpuFix is then measured.
        progress: Told the stage and how far it is, after every batch.
        decode_options: How files are decoded.
        reading: As for :func:`open_data`, for ``data`` and for ``reference`` without the files that list images.
        settings: Of :class:`whywrong.runs.spurious.search.SpuriousConfig`: ``classes``, ``components``, ``start`` ...

    Returns:
        The search with what was written; ``report.page`` is the page, ``report.repaired(classifier)`` the repair.

    Raises:
        InputError: An unknown class, a setting or a label that breaks its contract.
        ModelError: The classifier has no linear last layer.
        DataError: Too few images.
        RunFolderError: ``out`` is the run of another model.
    """
    from whywrong.report.spurious_gallery import write_gallery
    from whywrong.runs.spurious.report import spurious_report

    reading = dict(reading or {})
    beside = {name: value for name, value in reading.items() if name not in ("manifest", "boxes")}
    report = spurious_report(
        classifier,
        open_data(data, **reading),
        None if reference is None else open_data(reference, **beside),
        Path(out),
        labels=None if labels is None else Path(labels),
        settings=settings,
        decode_options=decode_options,
        progress=progress,
    )
    write_gallery(report.folder)
    return report


def reproduce_claim(
    name: str,
    models: Sequence[Classifier],
    data: str | Path | Source,
    settings: Mapping[str, Any] | None = None,
    *,
    judges: Sequence[Classifier] = (),
    progress: Callable[[Any], None] | None = None,
    decode_options: DecodeOptions | None = None,
    **reading: Any,
) -> ClaimResult:
    """Test a finding of a paper on one's own models and images.

    Args:
        name: Name of the claim, as in ``inverted.1``.
        models: The classifiers it compares.
        data: Folder, manifest, ``.npz`` file or source.
        settings: Settings of the claim, as in ``{"limit": 500}``.
        judges: Further classifiers, for a claim that asks them for their opinion.
        progress: Called with what is done so far (stage, done, total) where a claim takes long.
        decode_options: How files are decoded.
        reading: As for :func:`open_data`.

    Raises:
        InputError: No such claim, another number of models, judges that it does not take, or a setting that breaks its
            contract.
    """
    from whywrong.reproduce import run_claim
    from whywrong.runs.labelled import LabelledSource

    labelled = LabelledSource(open_data(data, **reading), decode_options)
    return run_claim(name, models, labelled, settings, judges=judges, progress=progress)


def reproduce_claims(
    family: str,
    models: Sequence[Classifier],
    data: str | Path | Source,
    settings: Mapping[str, Any] | None = None,
    *,
    judges: Sequence[Classifier] = (),
    progress: Callable[[Any], None] | None = None,
    decode_options: DecodeOptions | None = None,
    **reading: Any,
) -> Iterator[ClaimResult | SkippedClaim]:
    """Test all claims of a family, as in ``inverted``; what several need is measured once.

    Args:
        family: Name of the family.
        models: One classifier or two; without a second, claims about two are skipped.
        data: Folder, manifest, ``.npz`` file or source.
        settings: Each goes to the claims that have it.
        judges: Further classifiers, for the claims that take them.
        progress: As for :func:`reproduce_claim`.
        decode_options: How files are decoded.
        reading: As for :func:`open_data`.

    Yields:
        A result for each claim, or why there is none.

    Raises:
        InputError: No such family, judges that none of its claims takes, or a setting that none has.
    """
    from whywrong.reproduce import run_claims
    from whywrong.runs.labelled import LabelledSource

    labelled = LabelledSource(open_data(data, **reading), decode_options)
    return run_claims(family, models, labelled, settings, judges=judges, progress=progress)


def draw_claim(result: ClaimResult, path: str | Path) -> Path:
    """Draw the outcome of a claim to a file whose ending names the format.

    Raises:
        InputError: matplotlib knows no such format.
    """
    from whywrong.reproduce.figures import draw

    check_figure(path)
    draw(result).savefig(path)
    return Path(path)


def check_figure(path: str | Path) -> None:
    """Refuse a file for a figure before anything is computed for it.

    Raises:
        InputError: matplotlib knows no such format.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if Path(path).suffix[1:].lower() not in known:
        raise InputError(f"{path}: figures end in {', '.join(f'.{ending}' for ending in sorted(known))}")
