"""Parts of a section on one error, such as sentences, overlays, figures, folded numbers and caveats."""

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
    """A picture or path drawn over the photograph, with its meaning and unit.

    Attributes:
        kind: Name of the overlay, unique within an error.
        label: Text of its switch; ``caption`` is the sentence under the photograph.
        image: ``data:`` URI of a picture that covers the model input.
        path: SVG path in a box of ``width`` x ``height`` units.
        cells: (h, w), signed map in logits per 1 % of the area, positive for the predicted class; all signed maps of an
            error share one scale.
        resolution: The size of the map, in words.
        group: Name of its row of switches; the row without a name comes first.
        look: Style of drawing: a coloured ``map``, a map of sharp ``blocks``, an ``outline``, a dark ``cover``, or
            ``opaque``, which hides the photograph.
        rank: Sort key among the switches, smallest first.
        starts: Whether it may be the overlay that is shown first.
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
        """Whether its sign distinguishes the predicted and the labelled class."""
        return self.cells is not None


@dataclass(slots=True)
class Table:
    """Data of a figure, with column names, rows of texts, and notes."""

    head: list[str]
    rows: list[list[str]]
    note: str = ""


@dataclass(slots=True)
class Block:
    """A folded block of numbers, each with its value and a note on its check or meaning."""

    title: str
    summary: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class ChartPanel:
    """A small chart with a summary above it and its data in a folded table."""

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
    """A picture of a panel with a slider.

    Attributes:
        role: ``true`` (changed into the true class), ``image`` (unchanged) or ``wrong`` (deeper into the predicted
            class).
        label: A few words under the picture.
        image: ``data:`` URI of the picture.
        alt: Alternative text.
    """

    role: str
    label: str
    image: str
    alt: str


@dataclass(slots=True)
class Change:
    """A trusted changed version, with its difference from the image and the probability of the target."""

    role: str
    title: str
    sentences: list[Markup]
    difference: str
    spark: Sparkline | None


@dataclass(slots=True)
class Doubted:
    """A changed version that is not trusted as an explanation, with a sentence that says so."""

    role: str
    image: str
    alt: str
    sentence: Markup


@dataclass(slots=True)
class SliderPanel:
    """Changed versions of one image; trusted ones have a slider, others are small and grey.

    Attributes:
        slider: Alternative text of the slider.
        unit: Meaning of the colours of the differences; empty if none is drawn.
        tiny: Whether the pictures are so small that their pixels are shown as squares.
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
    """A statistic of the run, with title, value, interval and a note."""

    title: str
    value: str
    certainty: str
    note: str = ""


@dataclass(slots=True)
class Section:
    """Everything that one method shows about one error.

    Attributes:
        sentences: Sentences about the error.
        overlays: Overlays of the photograph.
        panels: Figures below the photograph and the sentences.
        blocks: Folded numbers.
        caveats: Limits of the interpretation.
    """

    sentences: list[Markup] = field(default_factory=list)
    overlays: list[Overlay] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """An error and its run, as passed to the section of a method.

    Attributes:
        row: Row returned by :func:`whywrong.report.selection.select`.
        summary: Summary of the whole run.
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
        """Load the dense maps that a method stored for this error, float32.

        The result is a mapping by name; maps with NaN are omitted.
        """
        found = self.tables.run.maps(method, self.row["item_id"])
        arrays = {name: np.asarray(values, dtype=np.float32) for name, values in found.items()}
        return {name: values for name, values in arrays.items() if np.isfinite(values).all()}


def true_class(name: str) -> Markup:
    """Format a class name in the colour of the labelled class."""
    return Markup("<em class='true'>{}</em>").format(name)


def wrong_class(name: str) -> Markup:
    """Format a class name in the colour of the predicted class."""
    return Markup("<em class='wrong'>{}</em>").format(name)
