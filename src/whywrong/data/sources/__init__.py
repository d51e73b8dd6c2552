"""Sources of labelled images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from whywrong.core.errors import DataError, InputError
from whywrong.core.registry import SourceKind, find_by_scheme, lines, resolve
from whywrong.data.files import path_bytes, to_text
from whywrong.data.sources.base import Entry, Source, SourceSpec
from whywrong.data.sources.wrong_types import refuse_type

__all__ = ["Entry", "Source", "SourceSpec", "open_source"]

_OPTIONS = ("manifest", "boxes", "label_by", "follow_links", "split", "image_column", "label_column")
_FIELD_OF = {"image_column": "image", "label_column": "label"}  # names in a spec


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
    """Open a data set and scan its listing once.

    Problems are thus reported before the first batch.

    Args:
        path: A folder of class folders; a flat folder of images (with ``manifest``, or a ``manifest.csv`` or
            ``manifest.parquet`` in it, or without labels); a manifest beside its images; an ``.npz``; a ``.tar`` shard
            or a folder of shards; ``hf:FOLDER``, ``hf:FILE.parquet`` or ``hf:NAME``; ``planted:SET`` for rendered
            pictures.
        manifest: Table with ``path``, and optionally ``label``, ``mask`` and a box; paths are relative to ``path``.
        boxes: Table with ``file`` and a box; ``file`` is matched against the end of each item's path.
        label_by: How labels are read, ``index``, ``wnid`` or ``name``.
        follow_links: Whether to follow symbolic links and paths of the manifest that lead out of the folder.
        split: Part of a Hugging Face data set.
        image_column, label_column: Columns of a Hugging Face data set or of the manifest, if they are ambiguous or not
            called ``path`` and ``label``; ``label_column="none"`` ignores labels.

    Returns:
        The source, checked.

    Raises:
        DataError: The path does not exist, holds no image, a table is invalid, or an option does not apply.
        InputError: The data is neither a path nor a source, or its scheme is unknown.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise refuse_type(path)
    text = os.fspath(path)
    asked = SourceSpec(
        kind="",
        path=text,
        manifest=_absolute(manifest),
        boxes=_absolute(boxes),
        label_by=label_by,
        follow_links=follow_links,
        split=split,
        image=image_column,
        label=label_column,
    )
    source = _find_spec(text, asked).open()
    source.scan()
    return source


def _find_spec(text: str, asked: SourceSpec) -> SourceSpec:
    """Find the kind of the data by its scheme, the suffix of its file, or the content of its folder.

    Raises:
        DataError: The path does not exist, no kind recognises it, or it does not support a given option.
        InputError: The scheme is unknown.
    """
    known, path = lines(SourceKind), os.path.abspath(text)
    exists = os.path.exists(path_bytes(path))
    try:
        named = find_by_scheme(text, known.values())
    except InputError:
        if not exists:  # otherwise the colon belongs to the path
            raise
        named = None
    if named is not None:
        kind, name = named
        spec = resolve(kind.source).from_name(replace(asked, kind=kind.name, path=name))
        _check_options(kind, spec, text, known)
        return spec
    if not exists:
        raise DataError(f"{to_text(path)}: no such file or folder")
    folder = os.path.isdir(path_bytes(path))
    for kind in known.values():
        if kind.folders if folder else path.lower().endswith(kind.suffixes):
            spec = resolve(kind.source).recognise(replace(asked, kind=kind.name, path=path))
            if spec is not None:
                _check_options(kind, spec, text, known)
                return spec
    if path.lower().endswith(".zip"):
        raise DataError(f"{to_text(path)}: zip archives are not read; unpack it and give the folder")
    titles = ", ".join(kind.title for kind in known.values())
    raise DataError(f"{to_text(path)}: expected one of: {titles}; a single image goes to `whywrong explain`")


def _check_options(kind: SourceKind, spec: SourceSpec, text: str, known: Mapping[str, SourceKind]) -> None:
    """Refuse options that this kind of data does not support, instead of ignoring them."""
    options = {option: getattr(spec, _FIELD_OF.get(option, option)) for option in _OPTIONS}
    refused = next((option for option, value in options.items() if value and option not in kind.takes), None)
    if refused is not None:
        others = " or ".join(other.title for other in known.values() if refused in other.takes)
        raise DataError(
            f"{to_text(text)}: --{refused.replace('_', '-')} ({refused}=...) does not apply to {kind.title}; it goes "
            f"with {others}"
        )


def _absolute(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else os.path.abspath(os.fspath(path))
