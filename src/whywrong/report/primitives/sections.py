"""What a method can show of one error: overlays, sentences, figures, folded numbers, caveats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from markupsafe import Markup

from whywrong.report.primitives.charts import LineChart, Sparkline
from whywrong.report.tables import Names, Row, Tables


@dataclass(slots=True)
class Overlay:
    """Something to lay on the photograph: a picture or a path, with what it shows and in which unit.

    Attributes:
        kind: Its name in classes and ids of the page.
        label: The word of its switch; ``caption`` is the sentence under it.
        image: Address of a picture that covers what the model sees.
        path: SVG path in a box of ``width`` x ``height`` units.
        cells: (h, w), signed map in logits per 1 % of the area, positive for the predicted class; the case draws all of
            its signed maps on one scale.
        resolution: The size of the map, in words.
        group: Which row of switches it stands in; the empty one comes first.
        opaque: Whether the picture hides the photograph.
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
    opaque: bool = False

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
    """One picture of a counterfactual panel.

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
    """One counterfactual: where it changed the image, and how the target rose meanwhile."""

    role: str
    title: str
    sentences: list[Markup]
    difference: str
    spark: Sparkline | None


@dataclass(slots=True)
class Doubted:
    """A counterfactual that explains nothing, with the sentence that says so."""

    role: str
    image: str
    alt: str
    sentence: Markup


@dataclass(slots=True)
class CounterfactualPanel:
    """Counterfactuals of one image: trusted ones with a slider, others small and grey."""

    template: ClassVar[str] = "panel_counterfactuals.html.j2"
    beside: ClassVar[str] = "story"
    kind: str
    title: str
    pictures: list[Picture]
    changes: list[Change]
    doubted: list[Doubted]
    scale: str
    tiny: bool
    notes: list[str]


Panel = ChartPanel | CounterfactualPanel


@dataclass(slots=True)
class Part:
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
        nearer: Share of the fixed errors that are farther from right than this one, 0..1; NaN if unknown.
    """

    tables: Tables
    row: Row
    names: Names
    nearer: float = float("nan")

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


COVERED = "Patches were covered with pixels, since this model cannot leave them out: covering may add a cue of its own."


def true_class(name: str) -> Markup:
    """A class in the colour of the labelled one."""
    return Markup("<em class='true'>{}</em>").format(name)


def wrong_class(name: str) -> Markup:
    """A class in the colour of the predicted one."""
    return Markup("<em class='wrong'>{}</em>").format(name)
