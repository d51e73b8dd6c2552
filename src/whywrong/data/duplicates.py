"""Items with identical bytes, label and object: found at listing, without reading files of a size of their own."""

from __future__ import annotations

import hashlib
from array import array

import numpy as np

from whywrong.core.errors import BadItemError
from whywrong.data.items import image_id_of
from whywrong.data.sources.base import Entry, Source


def find_duplicates(source: Source) -> dict[str, str]:
    """Map each repeated item to the first item with the same bytes.

    Two items are the same if their bytes, labels, boxes and masks are equal. Files are grouped by size first, and
    only those that share a size are read; arrays are all read. Memory: 8 bytes an entry, 32 more for each one read,
    and the result. Files that cannot be read are nobody's duplicate.

    Returns:
        item_id of the repeated item to item_id of the first one, in the order of the source.
    """
    groups = np.frombuffer(array("Q", (_group(entry) for entry in source.entries())), dtype=np.uint64)
    if not len(groups):
        return {}
    order = np.argsort(groups, kind="stable")
    ranked = groups[order]
    same = np.zeros(len(groups), dtype=bool)
    equal = ranked[1:] == ranked[:-1]
    same[order[1:][equal]] = True
    same[order[:-1][equal]] = True
    return _first_of(source, same)


def _group(entry: Entry) -> int:
    text = repr((entry.size, entry.label, entry.box, entry.mask))
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _first_of(source: Source, candidates: np.ndarray) -> dict[str, str]:
    rows, digests = array("q"), bytearray()
    for row, entry in enumerate(source.entries()):
        if row >= len(candidates) or not candidates[row]:
            continue
        try:
            image_id = image_id_of(source.read(entry))
        except BadItemError:
            continue
        rows.append(row)
        digests += hashlib.blake2b(f"{_group(entry)} {image_id}".encode(), digest_size=16).digest()
    keys = np.frombuffer(digests, dtype="V16")
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    number = np.frombuffer(rows, dtype=np.int64)
    leader = number[first[inverse]]  # (M,) row of the first item with the same bytes
    repeated = leader != number
    if not repeated.any():
        return {}
    wanted = np.unique(np.concatenate([number[repeated], leader[repeated]]))
    ids = {row: entry.item_id for row, entry in enumerate(source.entries()) if _holds(wanted, row)}
    return {ids[int(row)]: ids[int(lead)] for row, lead in zip(number[repeated], leader[repeated], strict=True)}


def _holds(rows: np.ndarray, row: int) -> bool:
    at = int(np.searchsorted(rows, row))
    return at < len(rows) and int(rows[at]) == row
