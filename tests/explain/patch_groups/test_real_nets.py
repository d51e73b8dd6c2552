"""Patch groups of real errors, checked with pixels and tokens hidden by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from whywrong.explain.patch_groups import PatchGame, PatchGroupsConfig, curves, order_of, patch_groups
from whywrong.models.classifier import Classifier

FEW = 12


@pytest.fixture(scope="module")
def cifar_errors(shared_data, shared_models) -> tuple[Classifier, Tensor, Tensor]:
    with np.load(shared_data / "cifar10_test_a" / "test_lossless.npz") as arrays:
        x = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).contiguous().float() / 255
        y = torch.from_numpy(arrays["labels"])
    classifier = Classifier(shared_models("resnet20"), batch_size=128)
    wrong = (classifier.predict(x) != y).nonzero().flatten()[:FEW]
    return classifier, x[wrong], y[wrong]


@pytest.fixture(scope="module")
def photographs(shared_data, shared_models) -> tuple[Classifier, Tensor]:
    files = sorted((shared_data / "imagenet_one_per_class" / "images").glob("*/*.*"))[:2]
    pixels = [np.asarray(Image.open(file).convert("RGB").resize((224, 224))) for file in files]
    x = torch.from_numpy(np.stack(pixels)).movedim(3, 1).float() / 255
    return Classifier(shared_models("deit_tiny"), batch_size=16), x


def test_groups_of_real_errors_do_what_they_say(cifar_errors):
    classifier, x, y = cifar_errors
    result = patch_groups(classifier, x, y)
    assert (result.players, result.rows) == ("pixels", 8)
    assert set(result.status) == {"ok"}
    assert (result.predicted == classifier.predict(x)).all()
    grey = x.mean((2, 3), keepdim=True)

    def hidden(row: int, cells: list[int]) -> int:
        mask = torch.zeros(64, dtype=torch.bool)
        mask[cells] = True
        pixels = mask.view(8, 8).repeat_interleave(4, 0).repeat_interleave(4, 1)
        return int(classifier.predict(torch.where(pixels, grey[row], x[row])[None]))

    found = dict.fromkeys(("sufficient", "breaking", "targeted", "support"), 0)
    for row, entry in enumerate(result.to_arrow().to_pylist()):
        if entry["sufficient_found"]:
            left = [cell for cell in range(64) if cell not in entry["insertion_order"]]
            assert hidden(row, left) == entry["predicted"]
        if entry["breaking_found"]:
            assert hidden(row, entry["deletion_order"]) == entry["broken_into"]
            assert hidden(row, entry["deletion_order"][:-1]) == entry["predicted"]  # not one step too far
        if entry["targeted_found"]:
            assert hidden(row, entry["targeted_order"]) == int(y[row])
        if entry["support_found"]:
            assert hidden(row, entry["targeted_order"] + entry["support_order"]) != int(y[row])
        for name in found:
            found[name] += bool(entry[f"{name}_found"])
    assert found["breaking"] >= FEW - 2
    assert found["targeted"] >= FEW // 2
    assert int(result.forwards.max()) <= 3298


def test_groups_of_photographs_leave_tokens_out(photographs):
    classifier, x = photographs
    y = (classifier.predict(x) + 1) % 1000
    result = patch_groups(classifier, x, y, config=PatchGroupsConfig(grid=2, most=1))
    assert (result.players, result.fallback) == ("tokens", None)
    vit = classifier.module[1]
    with torch.no_grad():
        tokens = vit._pos_embed(vit.patch_embed(classifier.module[0](x)))
    owner = (torch.arange(14) // 7)[:, None] * 2 + torch.arange(14) // 7
    for row, entry in enumerate(result.to_arrow().to_pylist()):
        assert entry["sufficient_found"]
        kept = torch.isin(owner.flatten(), torch.tensor(entry["insertion_order"]))
        with torch.no_grad():
            some = tokens[row : row + 1, torch.cat([torch.tensor([True]), kept])]
            assert int(vit.forward_head(vit.norm(vit.blocks(some))).argmax()) == entry["predicted"]


def test_all_rankings_of_photographs_give_curves(photographs):
    classifier, x = photographs
    y = classifier.predict(x)
    game = PatchGame(classifier, x, y)
    assert game.players == 196
    for name in ("rollout", "grad_cam"):
        order = order_of(name, classifier, x, y, game)
        found = curves(game, order, steps=2)
        assert found.deletion_winner[:, 0].tolist() == y.tolist()
        assert (found.deletion[:, 2] < found.deletion[:, 0] + 2).all()
