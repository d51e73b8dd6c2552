"""Where labelled images come from."""

from __future__ import annotations

import os

from whywrong.core.errors import DataError
from whywrong.data.files import path_bytes, to_text
from whywrong.data.sources.base import Entry, Source, SourceSpec
from whywrong.data.sources.wrong_types import refuse_type

__all__ = ["Entry", "Source", "SourceSpec", "open_source", "source_from_spec"]

_MANIFESTS = ("manifest.csv", "manifest.parquet")
_SAVED = ("dataset_dict.json", "state.json")  # of a data set that Hugging Face saved to disk
_TABLES = (".csv", ".tsv", ".parquet")


def open_source(
    path: str | os.PathLike[str],
    *,
    manifest: str | os.PathLike[str] | None = None,
    boxes: str | os.PathLike[str] | None = None,
    label_by: str | None = None,
    follow_links: bool = False,
    split: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Source:
    """Open a data set and go through its listing once, so that trouble shows before the first batch.

    Args:
        path: A folder of class folders; a flat folder of images (with ``manifest``, or a ``manifest.csv`` or
            ``manifest.parquet`` in it, or without labels); a manifest beside its images; an ``.npz``; a ``.tar`` shard
            or a folder of shards; ``hf:FOLDER``, ``hf:FILE.parquet`` or ``hf:NAME``; ``planted:SET`` for pictures that
            we draw ourselves.
        manifest: Table with ``path``, and perhaps ``label``, ``mask`` and a box; paths are relative to ``path``.
        boxes: Table with ``file`` and a box; ``file`` is matched against the tail of each item's path.
        label_by: ``index``, ``wnid`` or ``name``: how labels are to be read.
        follow_links: Follow symbolic links, and paths of the manifest, that lead out of the folder.
        split: Part of a Hugging Face data set.
        image_column, label_column: Columns of a Hugging Face data set or of the manifest, where they cannot be told or
            are not called ``path`` and ``label``; ``label_column="none"`` reads images without labels.

    Returns:
        The source, checked.

    Raises:
        DataError: Nothing is there, nothing is an image, or a table breaks its contract.
        InputError: The data is neither a path nor a source.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise refuse_type(path)
    text = os.fspath(path)
    options = {
        "boxes": _absolute(boxes),
        "label_by": label_by,
        "follow_links": follow_links,
        "split": split,
        "image": image_column,
        "label": label_column,
    }
    if text.startswith("planted:"):
        spec = _planted_spec(text.removeprefix("planted:"), manifest, options)
    elif text.startswith("hf:"):
        name = text.removeprefix("hf:")
        spec = SourceSpec(kind="hf", path=os.path.abspath(name) if os.path.exists(name) else name, **options)
    else:
        spec = _spec(os.path.abspath(text), _absolute(manifest), options)
        if (image_column or label_column) and spec.kind != "table":
            raise DataError(
                f"{to_text(text)} has no columns: --image-column and --label-column go with a manifest or an hf: "
                "data set"
            )
    source = source_from_spec(spec)
    source.scan()
    return source


def source_from_spec(spec: SourceSpec) -> Source:
    """The source of a spec, not yet gone through.

    Raises:
        DataError: The data is not there.
    """
    # Each kind of source brings its own imports; a folder of images needs none of the others.
    if spec.kind == "object":
        raise DataError("the data set was given as a Python object: give it again, to whywrong.diagnose or open_data")
    if spec.kind == "arrays":
        from whywrong.data.sources.arrays import ArraySource

        return ArraySource(spec)
    if spec.kind == "tar":
        from whywrong.data.sources.shards import TarSource

        return TarSource(spec)
    if spec.kind == "planted":
        from whywrong.data.sources.planted import PlantedSource

        return PlantedSource(spec)
    if spec.kind == "hf":
        from whywrong.data.sources.huggingface import HuggingFaceSource

        return HuggingFaceSource(spec)
    if spec.kind == "table":
        from whywrong.data.sources.table import TableSource

        return TableSource(spec)
    from whywrong.data.sources.folder import ClassFolderSource, FlatFolderSource

    if spec.kind == "classes":
        return ClassFolderSource(spec)
    if spec.kind == "flat":
        return FlatFolderSource(spec)
    raise DataError(f'unknown kind of source "{spec.kind}"')


def _spec(path: str, manifest: str | None, options: dict) -> SourceSpec:
    shown, lower = to_text(path), path.lower()
    if not os.path.exists(path_bytes(path)):
        raise DataError(f"{shown}: no such file or folder")
    if os.path.isdir(path_bytes(path)):
        return _folder_spec(path, manifest, options)
    if manifest is not None:
        raise DataError(f"{shown}: a manifest goes with the folder of its images")
    if lower.endswith(_TABLES):
        return SourceSpec(kind="table", path=os.path.dirname(path), manifest=path, **options)
    if lower.endswith(".npz"):
        return SourceSpec(kind="arrays", path=path, **options)
    if lower.endswith((".tar", ".tar.gz", ".tgz")):
        return SourceSpec(kind="tar", path=path, **options)
    if lower.endswith(".zip"):
        raise DataError(f"{shown}: zip archives are not read; unpack it and give the folder")
    raise DataError(
        f"{shown}: expected a folder, a manifest (.csv, .parquet), arrays (.npz) or shards (.tar); "
        "a single image goes to `whywrong explain`"
    )


def _planted_spec(name: str, manifest: object, options: dict) -> SourceSpec:
    if manifest is not None or any(options.values()):
        raise DataError(f"planted:{name} is whole as it is: it takes no manifest, boxes, columns or way to read labels")
    return SourceSpec(kind="planted", path=name)


def _folder_spec(path: str, manifest: str | None, options: dict) -> SourceSpec:
    from whywrong.data.sources.walk import Walk, list_folder

    if manifest is None:
        manifest = next((m for name in _MANIFESTS if os.path.isfile(path_bytes(m := os.path.join(path, name)))), None)
    if manifest is not None:
        return SourceSpec(kind="table", path=path, manifest=manifest, **options)
    if any(os.path.isfile(path_bytes(os.path.join(path, name))) for name in _SAVED):
        raise DataError(f"{to_text(path)} is a saved Hugging Face data set; give hf:{to_text(path)}")
    walk = Walk(path_bytes(path), follow_links=options["follow_links"])
    if any(True for _ in walk.folders()):
        return SourceSpec(kind="classes", path=path, **options)
    shards = any(
        kind == b"f" and name.lower().endswith((b".tar", b".tar.gz", b".tgz")) for name, kind in list_folder(walk.root)
    )
    if shards and not any(True for _ in walk.files(deep=False)):
        return SourceSpec(kind="tar", path=path, **options)
    return SourceSpec(kind="flat", path=path, **options)


def _absolute(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else os.path.abspath(os.fspath(path))
