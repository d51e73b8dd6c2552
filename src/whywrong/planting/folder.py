"""Write a folder of planted mistakes: images, originals, masks and tables.

DIR/mistakes/    images/, masks/ and manifest.csv: diagnose it like any data set; ``cause`` is shown beside errors
DIR/originals/   the same images without the cause, and their manifest.csv; all are correctly classified
DIR/changed/     where a mistake differs from its original, as masks
DIR/planted.csv  cause, kind, strength and classes of each
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from whywrong.core.csv_cells import guard_cell
from whywrong.core.errors import EnvironmentFailure, InputError
from whywrong.core.input_spec import InputSpec
from whywrong.data.files import to_text
from whywrong.planting.mistakes import Planted

DETAILS = ("path", "cause", "kind", "level", "strength", "true", "label", "predicted", "original", "changed", "source")


class PlantedFolder:
    """Context manager that writes planted mistakes, and their tables on exit.

    The tables are also written on interruption. If nothing was planted, only the empty folder remains.

    Args:
        path: Folder to write; must be empty or missing.
        spec: Input of the classifier. If it resizes and crops, images get a margin, so that its crop returns the
            verified pixels.
        labels: Label of the data to class.
        names: Names of the classes, for the details.

    Raises:
        InputError: The folder is not empty.
        EnvironmentFailure: The folder cannot be written.
    """

    def __init__(self, path: Path, *, spec: InputSpec, labels: Mapping[str, int], names: tuple[str, ...]) -> None:
        self.path = path
        self._margin = 0 if spec.resize is None else max(0, spec.resize - min(spec.height, spec.width))
        self._text = {index: text for text, index in labels.items()}
        self._names = names
        self._numbers: Counter[str] = Counter()
        self._mistakes: list[dict[str, Any]] = []
        self._originals: list[dict[str, Any]] = []
        self._details: list[dict[str, Any]] = []
        try:
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise InputError(f"{path} is there already and not empty: remove it, or name another folder")
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFailure(f"{path} cannot be written: {error}") from error

    def __enter__(self) -> PlantedFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._details:
            return
        _table(self.path / "mistakes" / "manifest.csv", ("path", "label", "mask", "cause"), self._mistakes)
        _table(self.path / "originals" / "manifest.csv", ("path", "label", "mask"), self._originals)
        _table(self.path / "planted.csv", DETAILS, self._details)

    def add(self, planted: Planted) -> None:
        """Write verified mistakes.

        Raises:
            EnvironmentFailure: The disk is full or fails.
        """
        changed = (planted.image != planted.original).any(1)
        for row in range(len(planted.true)):
            number = self._numbers[planted.cause]
            self._numbers[planted.cause] += 1
            name = f"{planted.cause}/{number:04d}.png"
            true, label, predicted = (int(getattr(planted, of)[row]) for of in ("true", "label", "predicted"))
            mask = None if planted.objects is None else f"masks/{name}"
            self._picture(f"mistakes/images/{name}", planted.image[row].numpy(), "reflect")
            self._picture(f"originals/images/{name}", planted.original[row].numpy(), "reflect")
            self._picture(f"changed/{name}", 255 * changed[row][None].byte().numpy(), "constant")
            if planted.objects is not None:
                for place in ("mistakes", "originals"):
                    self._picture(f"{place}/masks/{name}", 255 * planted.objects[row][None].byte().numpy(), "constant")
            shown = {"path": f"images/{name}", "label": self._text[label], "mask": mask}
            self._mistakes.append({**shown, "cause": planted.words(row)})
            self._originals.append({**shown, "label": self._text[true]})
            self._details.append(
                {
                    "path": f"mistakes/images/{name}", "cause": planted.cause, "kind": planted.kind,
                    "level": int(planted.severity[row]), "strength": planted.strength[row], "true": self._names[true],
                    "label": self._names[label], "predicted": self._names[predicted],
                    "original": f"originals/images/{name}", "changed": f"changed/{name}",
                    "source": to_text(planted.keys[row]),
                }
            )  # fmt: skip

    def _picture(self, name: str, pixels: np.ndarray, mode: Any) -> None:
        """Write (C, H, W) uint8 as PNG, with the margin that the classifier's crop removes."""
        before = round(self._margin / 2.0)  # half to even, as the crop rounds
        around = (before, self._margin - before)
        pixels = np.pad(pixels, ((0, 0), around, around), mode=mode) if self._margin else pixels
        image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
        file = self.path / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            image.save(file)
        except OSError as error:
            raise EnvironmentFailure(f"{file} cannot be written: {error}") from error


def _table(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows({n: guard_cell(v) if isinstance(v, str) else v for n, v in row.items()} for row in rows)
    except OSError as error:
        raise EnvironmentFailure(f"{path} cannot be written: {error}") from error
