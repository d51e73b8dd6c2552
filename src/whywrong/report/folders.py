"""Removal of local folder names from pages that may be shared."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from markupsafe import escape

# Where paths of people and machines begin; class names such as "/m/0k4j" of Open Images are no paths.
_BEGIN = (
    "home|Users|root|mnt|media|tmp|var|opt|srv|usr|etc|private|Volumes|scratch|work|workspace|workdir|data|datasets|"
    "storage|nfs|net|gpfs|lustre|content|kaggle|cluster|projects?|app"
)
_PART = r"[^\s/\\\"'<>|&;,()\[\]{}:*?]"
# Not inside a word, a URL or base64.
_GENERIC = re.compile(
    rf"(?<![\w/+=.:\\-])(?:file:/{{2,3}})?(?:/(?:{_BEGIN})/|~/|[A-Za-z]:[\\/]{{1,2}}|\\\\{_PART}+\\)"
    rf"(?:{_PART}+[\\/]+)*({_PART}+)",
)
_LEAST = 2  # parts of a folder that is cut off, the root included


def owner_folders(meta: Mapping[str, Any], run: Path, keys: Iterable[str] = ()) -> list[str]:
    """List the folders that a page about a run could reveal.

    They are the run folder, the folders of data and model, the home folder and the working folder.

    Args:
        meta: Content of ``run.json``.
        run: The folder of the run.
        keys: Keys of items; the common folder of all absolute keys is added.
    """
    source = (meta.get("data") or {}).get("source")
    named = [source.get(name) for name in ("path", "manifest", "boxes")] if isinstance(source, Mapping) else [source]
    folders = [str(run), str(run.parent), str(Path.home()), os.getcwd(), os.path.abspath(run), os.path.realpath(run)]
    for text in filter(None, map(str, filter(None, named))):
        folders += [text, _parent(text)]
    model = (meta.get("model") or {}).get("source")
    if model:
        folders.append(_parent(str(model)))
    shared = _shared(keys)
    if not any(shared.startswith(folder) for folder in folders if _absolute(folder)):
        folders.append(shared)
    wanted = {folder.rstrip("/\\") for folder in folders if _absolute(folder)}
    return sorted((folder for folder in wanted if len(_parts(folder)) >= _LEAST), key=len, reverse=True)


def hide_folders(pieces: Iterable[str], folders: Iterable[str], keep: Iterable[str] = ()) -> Iterator[str]:
    """Replace every absolute path in a page.

    A path in a known folder becomes relative to that folder; of any other path, only the last part stays.

    Args:
        pieces: Text of the page; no path may be split between two pieces.
        folders: Known folders, longest first.
        keep: Pieces that must not change, such as a script with a hash.
    """
    kept = set(keep)
    known = "|".join(re.escape(str(escape(folder))) for folder in folders)
    # Case is ignored, since what is searched is kept in lower case.
    inside = re.compile(
        rf"(?<![\w/+=.\\-])(?:file:/{{2}})?(?:{known})(?:[\\/]+(?=[^\s\"'<>&])|(?![\w.-]))", re.IGNORECASE
    )
    for piece in pieces:
        if piece in kept or piece.startswith("data:") or not ("/" in piece or "\\" in piece):
            yield piece
            continue
        if known:
            piece = inside.sub(_shorter, piece)
        yield _GENERIC.sub(r"\1", piece)


def _shorter(match: re.Match[str]) -> str:
    """Return the replacement of a folder.

    It is empty before a name, and the folder's own name if it is alone.
    """
    text = match.group()
    return "" if text[-1] in "/\\" else re.split(r"[\\/]", text)[-1]


def _absolute(text: str) -> bool:
    return PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()


def _parts(text: str) -> tuple[str, ...]:
    return PureWindowsPath(text).parts if PureWindowsPath(text).drive else PurePosixPath(text).parts


def _parent(text: str) -> str:
    return re.split(r"[\\/][^\\/]*$", text)[0]


def _shared(keys: Iterable[str]) -> str:
    """Find the folder that contains all absolute keys.

    Empty if there is none.
    """
    absolute = [key for key in keys if _absolute(key)]
    if not absolute:
        return ""
    parts = [re.split(r"[\\/]", key)[:-1] for key in (min(absolute), max(absolute))]
    same = list(takewhile(lambda pair: pair[0] == pair[1], zip(*parts, strict=False)))
    return min(absolute)[: sum(len(part) + 1 for part, _ in same)]
