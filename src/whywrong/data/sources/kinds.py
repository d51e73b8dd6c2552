"""Kinds of data that ship with the package, one line each; the first one that recognises a folder opens it."""

from __future__ import annotations

from whywrong.core.registry import SourceKind

_COMMON = {"boxes", "label_by", "follow_links"}
_COLUMNS = {"image_column", "label_column"}

SOURCES: tuple[SourceKind, ...] = (
    SourceKind(
        name="table",
        title="a manifest (.csv, .tsv, .parquet), or a folder with one",
        source="whywrong.data.sources.table:TableSource",
        suffixes=(".csv", ".tsv", ".parquet"),
        folders=True,
        takes=frozenset(_COMMON | _COLUMNS | {"manifest"}),
    ),
    SourceKind(
        name="hf",
        title="a Hugging Face data set (hf:NAME, a saved folder, .arrow, or .parquet with images)",
        source="whywrong.data.sources.huggingface:HuggingFaceSource",
        schemes=("hf",),
        suffixes=(".arrow", ".parquet"),
        folders=True,
        takes=frozenset(_COMMON | _COLUMNS | {"split"}),
    ),
    SourceKind(
        name="classes",
        title="a folder of class folders",
        source="whywrong.data.sources.folder:ClassFolderSource",
        folders=True,
    ),
    SourceKind(
        name="tar",
        title="shards (.tar), or a folder of them",
        source="whywrong.data.sources.shards:TarSource",
        suffixes=(".tar", ".tar.gz", ".tgz"),
        folders=True,
    ),
    SourceKind(
        name="flat",
        title="a folder of images without labels",
        source="whywrong.data.sources.folder:FlatFolderSource",
        folders=True,
    ),
    SourceKind(
        name="arrays",
        title="arrays (.npz)",
        source="whywrong.data.sources.arrays:ArraySource",
        suffixes=(".npz",),
    ),
    SourceKind(
        name="planted",
        title="pictures that ship with the package (planted:SET)",
        source="whywrong.data.sources.planted:PlantedSource",
        schemes=("planted",),
        takes=frozenset(),
    ),
)
