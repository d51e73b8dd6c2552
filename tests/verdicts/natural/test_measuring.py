"""Signs of the rules, measured in units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from whywrong.api import load_classifier, open_data
from whywrong.core.input_spec import InputSpec
from whywrong.data.batches import Batch, load_images
from whywrong.data.sources import Entry
from whywrong.models.classifier import Classifier
from whywrong.verdicts.natural.maps import MAP_SIGNS
from whywrong.verdicts.natural.measuring import MapUnit, map_unit


@dataclass
class Worker:
    """Loads images as a worker of an analysis does."""

    classifier: Classifier
    folder: str

    def batches(self, entries: Sequence[Entry], images: str) -> Iterator[Batch]:
        spec = InputSpec(height=64, width=64, resize=80)
        yield from load_images(open_data(self.folder), spec=spec, batch_size=2)


def test_a_unit_measures_every_image_with_what_lies_beyond_its_crop(tmp_path: Path):
    rng = np.random.default_rng(0)
    for number in range(3):
        (tmp_path / "0").mkdir(exist_ok=True)
        pixels = rng.integers(0, 255, (80, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "0" / f"{number}.png")
    net = load_classifier("planted:cnn", batch_size=8)
    worker = Worker(net, str(tmp_path))
    entries = tuple(open_data(str(tmp_path)).entries())
    x = torch.cat([batch.x for batch in worker.batches(entries, "data")])
    logits = net.logits(x)
    label = logits.topk(2, dim=1).indices[:, 1]
    part = map_unit(worker, MapUnit(entries, label.numpy(), logits.numpy(), "data"))  # type: ignore[arg-type]
    assert part.item_ids == tuple(entry.item_id for entry in entries)
    assert part.signs.shape == (3, len(MAP_SIGNS))
    assert np.isfinite(part.signs[:, MAP_SIGNS.index("whole_gain")]).all()
    assert (part.forwards == 1 + 2 + 5).all()
