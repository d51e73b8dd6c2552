"""Fixes that one method stored are passed on to another one, if they still belong to the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from whywrong.core.registry import methods
from whywrong.explain.methods import METHODS
from whywrong.runs.setup import choose_steps
from whywrong.runs.store.shards import shard_name, write_maps
from whywrong.runs.work.fixes import stored_fixes

ITEMS = ("a", "b", "c")


@pytest.fixture(autouse=True)
def _every_method(monkeypatch: pytest.MonkeyPatch, _only_the_stub: None) -> None:
    monkeypatch.setattr("whywrong.explain.methods.METHODS", METHODS)


class Stored:
    """The part of a stored run that is read."""

    def __init__(self, path: Path, *names: str) -> None:
        self.path, self.meta = path, {"methods": {name: {} for name in names}}

    def map_files(self, method: str) -> Path:
        return self.path / method


def grey(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, 4, 4)).astype(np.uint8)


def test_stored_fixes_are_read_unless_the_image_has_changed(tmp_path):
    images = np.stack([grey(i) for i in range(3)])
    maps = {"a/fix_u8": grey(10), "a/image_u8": images[0], "b/fix_u8": grey(11), "b/image_u8": grey(99)}
    (tmp_path / "inverted").mkdir()
    write_maps(tmp_path / "inverted" / shard_name(0, ".safetensors"), maps, "run")
    x = torch.from_numpy(images).float() / 255
    found = stored_fixes(Stored(tmp_path, "inverted"), 0, ITEMS, x)  # type: ignore[arg-type]
    torch.testing.assert_close(found[0], torch.from_numpy(grey(10)).float() / 255)
    assert found[1:].isnan().all()  # of another image, and none
    assert stored_fixes(Stored(tmp_path, "cam"), 0, ITEMS, x).isnan().all()  # type: ignore[arg-type]
    assert stored_fixes(Stored(tmp_path, "inverted"), 1, ITEMS, x).isnan().all()  # type: ignore[arg-type]


def test_methods_that_take_fixes_run_after_those_that_store_them():
    assert "fixes" in methods()["inverted"].gives
    steps = choose_steps("quick", ["suppression", "cam", "inverted"], {})
    assert [step.method.name for step in steps] == ["cam", "inverted", "suppression"]
