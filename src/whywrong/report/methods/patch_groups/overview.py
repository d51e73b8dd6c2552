"""Chart of the sizes of sufficient groups of all errors, and a filter of the gallery by size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whywrong.report.methods.base import Chart, Choice, Facet
from whywrong.report.numbers import count, known, share
from whywrong.report.primitives.charts import FEWEST, Bars, bars_of
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.tables import Row, Tables

NONE_FOUND, NOT_ASKED = "none found", "not looked for"


@dataclass(frozen=True, slots=True)
class Groups:
    """Sizes of the patch groups of a run.

    Attributes:
        enough: (N,) number of patches in the smallest sufficient group of each error, ascending.
        targeted: (M,) smallest number of patches that give the labelled class when hidden, ascending.
        grouped: Number of errors searched; their images have ``patches`` patches.
    """

    enough: np.ndarray
    targeted: np.ndarray
    grouped: int
    patches: int


def summarize(tables: Tables) -> Groups | None:
    """Collect the sizes of the patch groups of a run.

    Returns None if the method did not run.
    """
    if not tables.has("patch_groups", "sufficient_size", "targeted_size"):
        return None
    row = tables.rows("select count(*) as n, mode(rows * cols) as patches from patch_groups where status = 'ok'")[0]
    sizes = "select {0}_size from patch_groups where status = 'ok' and {0}_found"
    enough, targeted = (np.sort(tables.array(sizes.format(name))) for name in ("sufficient", "targeted"))
    return Groups(enough, targeted, row["n"], int(row["patches"] or 0))


def lead(summary: RunSummary) -> list[str]:
    """State how many patches are enough in half of the errors."""
    found: Groups | None = summary.numbers.get("patch_groups")
    if found is None or len(found.enough) < 5:
        return []
    # Errors without a known group need more patches than any group found, so the median includes them.
    sizes = np.concatenate([found.enough, np.full(found.grouped - len(found.enough), np.inf)])
    median = float(np.median(sizes))
    if not np.isfinite(median):
        return []
    return [
        f"In half of the {found.grouped:,} errors searched for patch groups, at most {int(median):,} of"
        f" {found.patches:,} patches shown alone give the same prediction."
    ]


def overview(tables: Tables, summary: RunSummary) -> list[Chart]:
    """Draw the chart of the sizes of sufficient groups."""
    found = summary.numbers.get("patch_groups")
    chart = None if found is None else enough_patches(found)
    return [] if chart is None else [chart]


def enough_patches(found: Groups) -> Bars | None:
    """Count the errors by the size of their smallest sufficient group.

    The sizes are in bins that double: 0, 1, 2 to 3, 4 to 7.
    """
    sizes = found.enough
    if found.grouped < FEWEST or not found.patches:
        return None
    edges, low = [0], 1
    while low <= found.patches:
        edges.append(low)
        low *= 2
    counts = np.bincount(np.searchsorted(edges, sizes, side="right") - 1, minlength=len(edges))
    last = int(np.flatnonzero(counts).max()) if counts.any() else 0
    bars = [
        (_range(edges[i], min(2 * edges[i] - 1, found.patches) if i else 0), int(counts[i])) for i in range(last + 1)
    ]
    if found.grouped > len(sizes):
        bars.append(("none found", found.grouped - len(sizes)))
    if bars[0][1] == 0:
        bars = bars[1:]
    return Bars(
        "patches",
        "How many patches are enough",
        _readings(found),
        f"smallest group found, of {found.patches:,} patches",
        bars_of(bars, found.grouped),
    )


def _range(low: int, high: int) -> str:
    return f"{low:,}" if high <= low else f"{low:,} to {high:,}"


def _readings(found: Groups) -> list[str]:
    few = max(1, found.patches // 20)
    hits = int((found.enough <= few).sum())
    patches = "1 patch" if few == 1 else f"{few:,} patches"
    said = [
        f"For {share(hits, found.grouped)} of the errors, at most {patches} of {found.patches:,} alone"
        f" {'is' if few == 1 else 'are'} enough for the wrong prediction."
    ]
    if len(found.targeted):
        median = int(np.median(found.targeted))
        said.append(
            f"{share(len(found.targeted), found.grouped)} are predicted correctly once some patches are hidden; half of"
            f" these need at most {count(median, 'hidden patch', 'hidden patches')}."
        )
    return said


def enough_of(row: Row) -> tuple[str, int]:
    """Return the bin and the size of the smallest sufficient group of an error.

    The bin is named by its smallest size in digits, or by a word without a group. Bins double: 0, 1, 2 to 3, 4 to 7.
    The size is -1 if unknown.
    """
    groups = row["patch_groups"]
    if groups is None or groups["status"] != "ok" or groups["sufficient_found"] is None:
        return NOT_ASKED, -1
    if not groups["sufficient_found"] or not known(groups["sufficient_size"]):
        return NONE_FOUND, -1
    size = int(groups["sufficient_size"])
    return str(1 << (size.bit_length() - 1) if size else 0), size


def choices(rows: Sequence[Row]) -> list[Choice]:
    """List the bins and other outcomes that occur in these errors."""
    found = [enough_of(row) for row in rows]
    numbers = Counter(key for key, _ in found)
    if not set(numbers) - {NOT_ASKED}:
        return []
    most = max(size for _, size in found)
    bins = sorted((key for key in numbers if key.isdecimal()), key=int)
    return [
        *(Choice(key, _sizes(int(key), most), numbers[key]) for key in bins),
        *(Choice(key, key, numbers[key]) for key in (NONE_FOUND, NOT_ASKED) if numbers[key]),
    ]


def _sizes(low: int, most: int) -> str:
    if low == 0:
        return "none needed"
    high = min(2 * low - 1, most)
    return count(low, "patch", "patches") if high <= low else f"{low:,} to {high:,} patches"


FACET = Facet(
    key="enough",
    title="Patches enough",
    value=lambda row: enough_of(row)[0],
    choices=choices,
    every="any number",
    order="fewest patches first",
    number=lambda row: enough_of(row)[1],
)


def badge(row: Row) -> str:
    """State how many patches are enough for the prediction of one error."""
    size = enough_of(row)[1]
    if size < 0:
        return ""
    return f"{count(size, 'patch', 'patches')} enough" if size else "no patch needed"
