"""What a method can show of one error: overlays, sentences, figures, folded numbers, caveats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from markupsafe import Markup

from whywrong.report.primitives.charts import LineChart, Sparkline
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.tables import Names, Row, Tables


@dataclass(slots=True)
class Overlay:
    """Something to lay on the photograph: a picture or a path, with what it shows and in which unit.

    Attributes:
        kind: Its name, unique within an error.
        label: The word of its switch; ``caption`` is the sentence under it.
        image: Address of a picture that covers what the model sees.
        path: SVG path in a box of ``width`` x ``height`` units.
        cells: (h, w), signed map in logits per 1 % of the area, positive for the predicted class; the case draws all of
            its signed maps on one scale.
        resolution: The size of the map, in words.
        group: Which row of switches it stands in; the empty one comes first.
        look: How it lies on the photograph: a coloured ``map``, the same in ``blocks`` that stay sharp, an ``outline``,
            a dark ``cover``, or ``opaque``, hiding it.
        rank: Place among the switches, smallest first.
        starts: Whether it may be the one that is shown at first.
    """

    kind: str
    label: str
    caption: str
    image: str = ""
    path: str = ""
    width: int = 1
    height: int = 1
    cells: np.ndarray | None = None
    resolution: str = ""
    group: str = ""
    look: Literal["map", "blocks", "outline", "cover", "opaque"] = "map"
    rank: int = 100
    starts: bool = True

    @property
    def signed(self) -> bool:
        """Whether it speaks for one class or the other."""
        return self.cells is not None


@dataclass(slots=True)
class Table:
    """Numbers behind a figure: names of the columns, rows of texts, and what else is to be known of them."""

    head: list[str]
    rows: list[list[str]]
    note: str = ""


@dataclass(slots=True)
class Block:
    """A folded block of numbers: name, value, and what was checked or how to read it."""

    title: str
    summary: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class ChartPanel:
    """A small chart with its one-sentence reading above it and its data a click away."""

    shape: ClassVar[str] = "panel"
    template: ClassVar[str] = "panel_chart.html.j2"
    beside: ClassVar[str] = "photograph"
    kind: str
    title: str
    readings: list[Markup]
    chart: LineChart | None
    notes: list[str]
    table: Table | None


@dataclass(slots=True)
class Picture:
    """One picture of a panel with a slider.

    Attributes:
        role: ``true``, ``image`` or ``wrong``: into the true class, as it is, or deeper into the predicted one.
        label: A few words under it.
        image: Address of the picture.
        alt: What it shows, for those who do not see it.
    """

    role: str
    label: str
    image: str
    alt: str


@dataclass(slots=True)
class Change:
    """One changed version: where it differs from the image, and how the target rose meanwhile."""

    role: str
    title: str
    sentences: list[Markup]
    difference: str
    spark: Sparkline | None


@dataclass(slots=True)
class Doubted:
    """A changed version that explains nothing, with the sentence that says so."""

    role: str
    image: str
    alt: str
    sentence: Markup


@dataclass(slots=True)
class SliderPanel:
    """Changed versions of one image: trusted ones with a slider, others small and grey.

    Attributes:
        slider: What the slider does, for those who do not see it.
        unit: What the colours of the differences mean; empty if none is drawn.
        tiny: Whether pictures are enlarged by whole pixels.
    """

    template: ClassVar[str] = "panel_slider.html.j2"
    beside: ClassVar[str] = "story"
    kind: str
    title: str
    pictures: list[Picture]
    changes: list[Change]
    doubted: list[Doubted]
    slider: str
    unit: str
    tiny: bool
    notes: list[str]


Panel = ChartPanel | SliderPanel


@dataclass(frozen=True, slots=True)
class Statistic:
    """One number of the run under its headline: what, how much, how sure, and out of what."""

    title: str
    value: str
    certainty: str
    note: str = ""


@dataclass(slots=True)
class Section:
    """Everything one method shows of one error.

    Attributes:
        sentences: Its lines of the story.
        overlays: To lay on the photograph.
        panels: Figures of their own, under photograph and story.
        blocks: Folded numbers.
        caveats: What limits the reading.
    """

    sentences: list[Markup] = field(default_factory=list)
    overlays: list[Overlay] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One error and where to look things up.

    Attributes:
        row: As given by :func:`whywrong.report.selection.select`.
        summary: Of the whole run.
    """

    tables: Tables
    row: Row
    names: Names
    summary: RunSummary = field(default_factory=RunSummary)

    @property
    def true(self) -> str:
        """Name of the labelled class."""
        return self.names[self.row["label"]]

    @property
    def wrong(self) -> str:
        """Name of the predicted class."""
        return self.names[self.row["predicted"]]

    def maps(self, method: str) -> dict[str, np.ndarray]:
        """Dense maps that a method stored of this error, float32; those with NaN are left out."""
        found = self.tables.run.maps(method, self.row["item_id"])
        arrays = {name: np.asarray(values, dtype=np.float32) for name, values in found.items()}
        return {name: values for name, values in arrays.items() if np.isfinite(values).all()}


def true_class(name: str) -> Markup:
    """A class in the colour of the labelled one."""
    return Markup("<em class='true'>{}</em>").format(name)


def wrong_class(name: str) -> Markup:
    """A class in the colour of the predicted one."""
    return Markup("<em class='wrong'>{}</em>").format(name)
