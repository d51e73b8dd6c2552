"""A classifier and a method without any learning, whose right answers are known, and sources made of numbers.

An image of class ``c`` is flat; its grey level says the class the classifier reads, and the first pixels its number.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.classes import ClassList
from whywrong.core.input_spec import InputSpec
from whywrong.core.randomness import keyed_uniform
from whywrong.core.registry import Method
from whywrong.core.result import MethodResult
from whywrong.data.sources import Source, open_source
from whywrong.models.classifier import Classifier
from whywrong.runs.folder import RunFolder

SIDE = 8
SHARD = 8  # items, so that few images make many shards
K = 4
NAMES = ("ant", "bee", "cat", "dog")
SPEC = InputSpec(height=SIDE, width=SIDE)


class Reader(nn.Module):
    """Logits from the grey level of the corner: class ``c`` is written as level ``c / 255``.

    Args:
        poison: Numbers of images (second pixel, in grey levels) on which it does ``deed``.
        deed: ``raise``, ``nan``, ``exit``, ``kill``, ``hang``, ``break`` (the GPU), or ``break:FILE`` as long as there
            is a file.
    """

    def __init__(self, poison: Sequence[int] = (), deed: str = "raise", largest: int | None = None) -> None:
        super().__init__()
        self.poison, self.deed, self.largest = tuple(poison), deed, largest
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, x: Tensor) -> Tensor:
        if self.largest is not None and len(x) > self.largest:
            raise RuntimeError(f"takes {self.largest} images, got {len(x)}")
        level = x[:, 0, 0, 0] * 255
        logits = -self.scale * (level[:, None] - torch.arange(K)).abs() + x.mean((1, 2, 3))[:, None]
        hit = torch.isin((x[:, 0, 0, 1] * 255).round().long(), torch.tensor(self.poison, dtype=torch.int64))
        if bool(hit.any()):
            if self.deed == "raise":
                raise ValueError("poison")
            if self.deed == "exit":
                os._exit(7)
            if self.deed == "kill":  # as the system does when memory runs out
                os.kill(os.getpid(), signal.SIGKILL)
            if self.deed == "hang":
                time.sleep(3600)
            if self.deed.startswith("break"):
                _break(self.deed.partition(":")[2])
                return logits
            logits = torch.where(hit[:, None], torch.nan, logits)
        return logits


def _break(file: str) -> None:
    """Fail as a GPU does, where a file is named only as long as it is there: it is taken away."""
    if file and not Path(file).exists():
        return
    if file:
        Path(file).unlink()
    raise RuntimeError("CUDA error: device-side assert triggered")


@dataclass(frozen=True)
class Recipe:
    """Rebuilds the reader in a worker."""

    poison: tuple[int, ...] = ()
    deed: str = "raise"
    model: str = "reader"

    def build(self) -> Classifier:
        classes = ClassList(NAMES)
        return Classifier(
            Reader(self.poison, self.deed), classes=classes, preprocess=SPEC, identity="reader", recipe=self
        )


def reader(**settings: Any) -> Classifier:
    """The classifier, with a recipe."""
    return Recipe(**settings).build()


@dataclass(frozen=True, slots=True, kw_only=True)
class StubConfig:
    """Settings of the stub method."""

    gain: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class StubResult(MethodResult):
    """The mean level, a keyed draw, and a map for the rows in detail."""

    level: Tensor
    draw: Tensor
    detailed: Tensor
    picture: Tensor
    forwards: Tensor
    backwards: Tensor

    def columns(self) -> Mapping[str, Any]:
        """Columns of the table."""
        words = [["a", "b"][: int(flag) + 1] if flag else None for flag in self.detailed]
        return {"level": self.level, "draw": self.draw, "detailed": self.detailed, "words": words}

    def maps(self) -> Mapping[str, Tensor]:
        """The image itself, for the rows in detail."""
        return {"picture": torch.where(self.detailed.view(-1, 1, 1, 1), self.picture, torch.nan)}

    @staticmethod
    def schema() -> pa.Schema:
        """Types of the columns."""
        kinds = {"level": pa.float32(), "draw": pa.float32(), "detailed": pa.bool_(), "words": pa.list_(pa.string())}
        return pa.schema([*kinds.items(), ("forwards", pa.int64()), ("backwards", pa.int64())])


def stub(
    classifier: Classifier, x: Tensor, y: Tensor, *, keys: Tensor, detail: Tensor, config: StubConfig
) -> StubResult:
    """Two passes an image and nothing learnt."""
    classifier.logits(x)
    classifier.logits(x)
    passes = torch.full((len(x),), 2)
    draw = keyed_uniform(keys, (1,))[:, 0]
    return StubResult(config.gain * x.mean((1, 2, 3)), draw, detail, x, passes, torch.zeros_like(passes))


def method(name: str = "stub", **changes: Any) -> Method:
    """A line of the registry."""
    return Method(
        name=name,
        title="a stub",
        access=Access.SCORES,
        function=f"{__name__}:stub",
        config=f"{__name__}:StubConfig",
        draw=f"{__name__}:stub",
        takes=frozenset({"detail"}),
        **changes,
    )


def images(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(N, 8, 8, 3) uint8 and labels (N,): about every third image is read as another class than its label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, count)
    read = np.where(rng.random(count) < 0.35, rng.integers(0, K, count), labels)
    pixels = rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:, 0, 0, :] = read[:, None]
    pixels[:, 0, 1, 0] = np.arange(count) % 251
    return pixels, labels


def saved(folder: Path, pixels: np.ndarray, labels: np.ndarray) -> Source:
    """An ``.npz`` of these images."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data.npz", images=pixels, labels=labels)
    return open_source(folder / "data.npz")


def array_source(folder: Path, count: int, seed: int = 0) -> Source:
    """An ``.npz`` of :func:`images`."""
    return saved(folder, *images(count, seed))


def folder_source(folder: Path, count: int, seed: int = 0) -> Source:
    """Class folders of PNG files with the same images."""
    pixels, labels = images(count, seed)
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        write_png(folder / NAMES[label] / f"{number:04d}.png", image)
    return open_source(folder)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Pixels (H, W, 3) uint8 as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def tables(run: RunFolder) -> dict[str, list[dict[str, Any]]]:
    """Everything a finished run says, in an order of its own: views, maps and thumbs."""
    views = ["items", "predictions", "errors", "failed_items", *run.meta["methods"]]
    found = {view: run.query(f"select * from {view} order by item_id").to_pylist() for view in views}
    ids = [row["item_id"] for row in found["errors"]]
    found["thumbs"] = [run.thumb(item) or {} for item in ids]
    found["maps"] = [
        {name: array.tolist() for name, array in run.maps(method, item).items()}
        for method in run.meta["methods"]
        for item in ids
    ]
    return found


def diagnosed(folder: Path, source: Source, **settings: Any) -> RunFolder:
    """A run of the stub on a source, without the health probe's share of doubt."""
    from whywrong.runs.diagnose import diagnose
    from whywrong.runs.options import RunOptions

    classifier = settings.pop("classifier", None) or reader()
    beside = {name: settings.pop(name) for name in ("progress", "given") if name in settings}
    return diagnose(classifier, source, folder, RunOptions(**{"limit": 10, "batch_size": 8, **settings}), **beside)


@dataclass(frozen=True, slots=True, eq=False)
class PlayedResult(MethodResult):
    """The mean level as the number that is compared, and whether the class asked for is the next one."""

    status: Sequence[str]
    v: Tensor
    turned: Tensor
    asked: Tensor
    forwards: Tensor
    backwards: Tensor

    def columns(self) -> Mapping[str, Any]:
        """Columns of the table."""
        return {"status": self.status, "v": self.v, "turned": self.turned, "given": self.asked}

    def maps(self) -> Mapping[str, Tensor]:
        """A map a row."""
        return {"flat": torch.zeros(len(self.v), 2, 2)}

    @staticmethod
    def schema() -> pa.Schema:
        """Types of the columns."""
        kinds = {"status": pa.string(), "v": pa.float32(), "turned": pa.bool_(), "given": pa.int64()}
        return pa.schema([*kinds.items(), ("forwards", pa.int64()), ("backwards", pa.int64())])


def played(
    classifier: Classifier, x: Tensor, y: Tensor, *, keys: Tensor, detail: Tensor, config: StubConfig
) -> PlayedResult:
    """One pass for each row in detail."""
    classifier.logits(x[detail])
    status = ["ok" if flag else "skipped" for flag in detail.tolist()]
    v = torch.where(detail, config.gain * x.mean((1, 2, 3)), torch.nan)
    return PlayedResult(status, v, detail & (x[:, 1, 1, 1] > 0.5), y, detail.long(), torch.zeros_like(y))


def role_play_method(**changes: Any) -> Method:
    """A line of the registry for a method with controls."""
    return Method(
        name="played",
        title="a stub with controls",
        access=Access.SCORES,
        function=f"{__name__}:played",
        config=f"{__name__}:StubConfig",
        draw=f"{__name__}:played",
        takes=frozenset({"detail"}),
        role_play=True,
        **changes,
    )
