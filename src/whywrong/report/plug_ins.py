"""Reports of methods without a report file, from the ``view`` of a plug-in or from their columns.

A plug-in may name a function in ``Method.view``, which gets one error and returns a :class:`View`. Its texts are shown
as plain text, without markup or links. Long text is truncated, invalid values are reported in place, and an exception
affects only the section of this method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup

from whywrong.core.registry import Method, resolve
from whywrong.report.methods.base import MethodReport
from whywrong.report.numbers import shown, sig
from whywrong.report.primitives import overlays
from whywrong.report.primitives.sections import Block, Context, Overlay, Section
from whywrong.report.tables import Row

SENTENCES, NUMBERS, CAVEATS, MAPS = 4, 24, 3, 2  # largest number of each, per method and error
WORDS, LINE, LABEL = 400, 160, 24  # largest number of characters of a sentence, of a number or caption, of a switch
SIDE = 64  # largest number of cells of a map per side; larger ones are averaged
# Columns that are shown for every error anyway.
KNOWN = ("item_id", "image_id", "key", "label", "label_name", "predicted", "predicted_name", "status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An error, as passed to a plug-in.

    Attributes:
        rows: Rows of the method's view for this error, each a mapping by column; most methods have one row.
        maps: Dense maps that the method stored for the error, float32; maps with NaN are omitted.
        label: Index of the labelled class.
        predicted: Index of the predicted class.
        true: Name of the labelled class.
        wrong: Name of the predicted class.
    """

    rows: Sequence[Mapping[str, Any]]
    maps: Mapping[str, np.ndarray]
    label: int
    predicted: int
    true: str
    wrong: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedMap:
    """A map laid over the photograph, in the colours of the two classes and on its own scale.

    Attributes:
        label: Text of the switch of the map, at most 24 characters.
        caption: Sentence under the map, with the unit.
        values: (h, w), real and finite, over the model input; positive values support the predicted class, negative
            ones the labelled class.
    """

    label: str
    caption: str
    values: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Contents of a plug-in's section on one error, as plain text.

    Attributes:
        sentences: Sentences about the error, at most 4.
        maps: Maps laid over the photograph, at most 2.
        summary: Text beside the title of the folded block.
        numbers: Numbers of the block, at most 24, each with name, value with unit, and a note on its check or meaning.
        caveats: Limits of the interpretation, at most 3.
    """

    sentences: Sequence[str] = ()
    maps: Sequence[SignedMap] = ()
    summary: str = ""
    numbers: Sequence[tuple[str, str, str]] = field(default=())
    caveats: Sequence[str] = ()


def adapt(method: Method) -> MethodReport:
    """Build the report of a method from its ``view``."""
    return MethodReport(method=method.name, section=partial(_section, method))


def plain_report(name: str, title: str) -> MethodReport:
    """Build the report of a method without a report of its own.

    It shows the columns of the rows in a folded block.
    """
    return MethodReport(method=name, section=partial(_columns, name, _text(title, LINE)))


def _section(method: Method, context: Context) -> Section | None:
    """Build the section of a plug-in on one error.

    None if the run has no result for it, or the plug-in returns nothing.
    """
    rows, title = _rows(context, method.name), _text(method.title, LINE)
    if not rows:
        return None
    bad = next((row for row in rows if row["status"] not in (None, "ok")), None)
    if bad is not None:
        return _refused(title, bad["reason"] or "no reason given")
    view = resolve(method.view or "")(
        Shown(
            rows=[dict(row) for row in rows],
            maps=context.maps(method.name),
            label=context.row["label"],
            predicted=context.row["predicted"],
            true=context.true,
            wrong=context.wrong,
        )
    )
    if view is None:
        return None
    if not isinstance(view, View):
        raise TypeError(f"expected a whywrong.report.plug_ins.View, got {type(view).__name__}")
    numbers = [(_text(name, LINE), _text(value, LINE), _text(note, LINE)) for name, value, note in _most(view.numbers)]
    return Section(
        sentences=[Markup.escape(_text(line, WORDS)) for line in list(view.sentences)[:SENTENCES]],
        overlays=[_overlay(method, i, entry) for i, entry in enumerate(list(view.maps)[:MAPS])],
        blocks=[Block(title, _text(view.summary, LINE), numbers)] if numbers else [],
        caveats=[_text(line, WORDS) for line in list(view.caveats)[:CAVEATS]],
    )


def _columns(name: str, title: str, context: Context) -> Section | None:
    rows = _rows(context, name)
    if not rows:
        return None
    numbers = [
        (_text(column, LINE), _text(sig(value) if isinstance(value, float) else value, LINE), "")
        for row in rows
        for column, value in row.items()
        if value is not None and column not in KNOWN
    ]
    return Section(blocks=[Block(title, _text(rows[0]["status"] or "", LINE), _most(numbers))])


def _rows(context: Context, method: str) -> list[Row]:
    found = context.row[method]
    return found if isinstance(found, list) else [found] if found is not None else []


def _most(numbers: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    found = list(numbers)
    left = len(found) - NUMBERS
    return found if left <= 0 else [*found[: NUMBERS - 1], ("more", f"{left + 1:,}", "rows are not shown")]


def _overlay(method: Method, number: int, entry: SignedMap) -> Overlay:
    values = np.asarray(entry.values, dtype=np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(f'map "{entry.label}" must be (h, w) and finite, got shape {values.shape}')
    height, width = values.shape
    cells = _averaged(values)
    scale = overlays.common_scale([cells])
    size = f"{height} × {width} cells" if cells.shape == values.shape else f"{height} × {width} cells, averaged"
    return Overlay(
        f"{method.name}-{number}",
        _text(entry.label, LABEL),
        _text(entry.caption, WORDS),
        image=overlays.signed_png(cells, scale),
        resolution=f"{size}; orange supports the predicted class, blue the labelled one, with full strength at ± "
        f"{sig(scale, 2)}",
        group=_text(method.name, LABEL).replace("_", " ").capitalize(),
        starts=False,
    )


def _averaged(values: np.ndarray) -> np.ndarray:
    """Average a map (h, w) over blocks, to at most 64 cells a side.

    Blocks at the edge may be smaller.
    """
    for axis in (0, 1):
        block = -(-values.shape[axis] // SIDE)
        starts = np.arange(0, values.shape[axis], block)
        sizes = np.diff([*starts, values.shape[axis]])
        shape = (-1, 1) if axis == 0 else (1, -1)
        values = np.add.reduceat(values, starts, axis=axis) / sizes.reshape(shape)
    return values


def _refused(title: str, reason: str) -> Section:
    return Section(blocks=[Block(title, "refused", [("refused", "", _text(reason, WORDS))])])


def _text(value: object, most: int) -> str:
    """Convert text to plain characters on one visible line.

    No markup survives.
    """
    text = shown("".join(list(str(value))))
    return text if len(text) <= most else text[: most - 1] + "…"
