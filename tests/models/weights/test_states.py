"""Checkpoints as trainers leave them: the weights are found by their names, and nothing else is used."""

from __future__ import annotations

import argparse
import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import functools
import pathlib
import types
import uuid
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from whywrong.core.errors import ModelError
from whywrong.models.weights.files import load_weights


def net(classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, classes)]
    return nn.Sequential(collections.OrderedDict(zip(("conv", "bn", "flat", "fc"), layers, strict=True)))


def trained() -> dict[str, Tensor]:
    return {key: value + 1 for key, value in net().state_dict().items()}


def under(prefix: str, state: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    return {prefix + key: value.clone() for key, value in (state or trained()).items()}


def load(path, content: Any, module: nn.Module | None = None, **options: Any) -> tuple[nn.Module, str]:
    module = module or net()
    save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)
    notes = load_weights(module, path, **options)
    return module, " | ".join(notes)


def assert_trained(module: nn.Module, state: dict[str, Tensor] | None = None) -> None:
    wanted = state or trained()
    assert all(torch.equal(value, wanted[key]) for key, value in module.state_dict().items())


# Prefixes

PREFIXES = [
    "module.", "_orig_mod.", "model.", "net.", "timm_model.", "_orig_mod.module.", "module._orig_mod.",
    "model._orig_mod.", "module.module.module.", "_forward_module._orig_mod.model.", "a-name.of its own.",
    "_fsdp_wrapped_module.", "student.0.backbone.",
]  # fmt: skip


@pytest.mark.parametrize("suffix", ["pt", "ckpt", "safetensors"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_prefix_is_stripped_and_said(tmp_path, prefix, suffix):
    module, notes = load(tmp_path / f"w.{suffix}", under(prefix))
    assert_trained(module)
    assert f'w.{suffix}: the prefix "{prefix}" was stripped' in notes


def test_names_without_a_prefix_need_no_note(tmp_path):
    assert load(tmp_path / "w.pt", trained())[1] == ""


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_a_wrapped_module_takes_plain_and_wrapped_weights(tmp_path, wrap):
    for name, content in (("plain.pt", trained()), ("ddp.pt", under("module."))):
        inner = net()
        load(tmp_path / name, content, wrap(inner))
        assert_trained(inner)


# Tables and what lies beside them

TABLES = {
    "lightning": lambda: {"state_dict": under("model."), "epoch": 1, "hyper_parameters": {"lr": 0.1}},
    "lightning, compiled": lambda: {"state_dict": under("model._orig_mod.")},
    "lightning, weights of the loss": lambda: {"state_dict": {**under("net."), "criterion.weight": torch.ones(3)}},
    "loss without a prefix": lambda: {**trained(), "loss_fn.weight": torch.ones(3), "class_weights": torch.ones(3)},
    "averaged": lambda: {"n_averaged": torch.tensor(5), **under("module.")},
    "averaged, no prefix": lambda: {"n_averaged": torch.tensor(5), **trained()},
    "counter": lambda: {"global_step": torch.tensor(9), **trained()},
    "profiler": lambda: {**trained(), "conv.total_ops": torch.zeros(1), "fc.total_params": torch.zeros(1)},
    "plain values beside": lambda: {**trained(), "epoch": 3, "best": 0.9, "name": "net"},
    "deep": lambda: {"trainer": {"checkpoint": {"network": {"weights": under("module.")}}}},
    "optimizer": lambda: {"network_fn": trained(), "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
    "no counters of batch norm": lambda: {k: v for k, v in trained().items() if "num_batches" not in k},
    "projection head beside": lambda: {**under("encoder."), "projector.weight": torch.ones(3, 3)},
}


@pytest.mark.parametrize("name", TABLES)
def test_the_table_with_the_weights_is_found(tmp_path, name):
    module, _ = load(tmp_path / "w.ckpt", TABLES[name]())
    wanted = trained() | ({"bn.num_batches_tracked": torch.tensor(0)} if name.startswith("no counters") else {})
    assert_trained(module, wanted)


def test_what_was_left_out_is_named(tmp_path):
    _, notes = load(tmp_path / "w.ckpt", TABLES["lightning, weights of the loss"]())
    assert "not used, as the model has no such weights: criterion.weight" in notes


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Settings:
    lr: float = 0.1


def double(x: float) -> float:
    return 2 * x


EXTRAS = {
    "namespace": argparse.Namespace(lr=0.1, nested=argparse.Namespace(out=pathlib.Path("runs"))),
    "numpy scalar": np.float64(0.93),
    "numpy array": np.arange(3.0),
    "numpy generator": np.random.default_rng(0).bit_generator.state,
    "path": pathlib.PurePosixPath("runs/a"),
    "date": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
    "time": datetime.timedelta(3),
    "ordered": collections.OrderedDict(a=1),
    "defaultdict": collections.defaultdict(list, {"train": [1, 2]}),
    "counter": collections.Counter("aab"),
    "enum": Colour.RED,
    "dataclass": Settings(),
    "function": double,
    "partial": functools.partial(double, x=1),
    "decimal": decimal.Decimal("1.5"),
    "uuid": uuid.UUID(int=3),
    "simple namespace": types.SimpleNamespace(a=1),
    "set, slice, range": ({1, 2}, slice(3), range(4), frozenset([5]), 1 + 2j, b"bytes"),
    "torch version": torch.torch_version.TorchVersion("2.0"),
    "device, dtype, size": (torch.device("cpu"), torch.float16, torch.Size([2])),
    "scheduler": torch.optim.lr_scheduler.StepLR(torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1), 1),
    "whole module": nn.Linear(2, 2),
    "class": nn.ReLU,
    "loss function": nn.functional.cross_entropy,
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", EXTRAS)
def test_objects_beside_the_weights_are_left_out_unread(tmp_path, name, legacy):
    if legacy and name in ("whole module", "class"):
        pytest.skip("the older form stores the source of modules, which torch refuses")
    path, module = tmp_path / "w.pth", net()
    torch.save({"model": trained(), "args": EXTRAS[name]}, path, _use_new_zipfile_serialization=not legacy)
    load_weights(module, path)
    assert_trained(module)


def test_left_out_objects_are_named_by_their_class(tmp_path):
    _, notes = load(tmp_path / "w.pth", {"model": trained(), "args": EXTRAS["namespace"]})
    assert "left out unread (argparse.Namespace" in notes


# Several sets of weights


def averaged() -> dict[str, Tensor]:
    return {key: value + 2 for key, value in net().state_dict().items()}


SETS = {
    "timm": (lambda: {"state_dict": trained(), "state_dict_ema": averaged()}, "state_dict_ema"),
    "nested": (lambda: {"model": trained(), "ema": {"module": averaged()}}, "ema"),
    "by prefix": (lambda: {**under("model."), **under("ema_model.", averaged())}, "ema_model"),
    "prefix and none": (lambda: {**trained(), **under("ema.", averaged())}, "ema"),
    "teacher": (lambda: {"student": under("module."), "teacher": under("module.", averaged())}, "teacher.module"),
    "last part": (lambda: {"a": {"raw": trained(), "smooth": averaged()}}, "smooth"),
}


@pytest.mark.parametrize("name", SETS)
def test_different_sets_ask_and_the_key_takes_one(tmp_path, name):
    content, key = SETS[name]
    with pytest.raises(ModelError, match=f"several sets of weights that fit and differ.*{key.split('.')[0]}"):
        load(tmp_path / "w.pt", content())
    module, _ = load(tmp_path / "w.pt", content(), key=key)
    assert_trained(module, averaged())


def test_the_set_at_the_top_is_called_by_a_dot(tmp_path):
    module, _ = load(tmp_path / "w.pt", SETS["prefix and none"][0](), key=".")
    assert_trained(module)


def test_equal_sets_are_one_and_said(tmp_path):
    module, notes = load(tmp_path / "w.pth.tar", {"state_dict": trained(), "state_dict_ema": trained()})
    assert_trained(module)
    assert "the weights are those of state_dict; state_dict_ema holds the same numbers" in notes


def test_an_unknown_key_names_those_that_there_are(tmp_path):
    with pytest.raises(ModelError, match=r'no weights under "swa"; it has: state_dict, state_dict_ema'):
        load(tmp_path / "w.pt", SETS["timm"][0](), key="swa")


# Other architectures


class Stage(nn.Module):
    """A net of ``blocks`` equal layers: one of two blocks has all its names in one of three."""

    def __init__(self, blocks: int, prefix: str = "layer") -> None:
        super().__init__()
        for number in range(blocks):
            self.add_module(f"{prefix}{number}", nn.Linear(4, 4))
        self.stage = nn.ModuleList([nn.Linear(4, 4) for _ in range(blocks)])
        self.fc = nn.Linear(4, 2)


@pytest.mark.parametrize("prefix", ["", "module.", "model._orig_mod."])
def test_a_deeper_net_is_no_checkpoint_of_a_shallower_one(tmp_path, prefix):
    with pytest.raises(ModelError, match=r'does not fit Stage: "layer2.weight" is not in the model'):
        load(tmp_path / "w.pt", under(prefix, Stage(3).state_dict()), Stage(2))


def test_another_class_count_behind_a_prefix_names_the_layer_as_the_model_does(tmp_path):
    with pytest.raises(ModelError, match=r'"fc.weight" is \(7, 4\) in the file, \(3, 4\) in the model'):
        load(tmp_path / "w.pt", {"state_dict": under("model.", net(7).state_dict())})


def test_a_set_of_another_size_beside_the_right_one_does_not_ask(tmp_path):
    content = {"student": trained(), "teacher": net(7).state_dict()}
    assert_trained(load(tmp_path / "w.pt", content)[0])


def test_tensors_that_are_computed_and_not_stored_may_be_in_the_file(tmp_path):
    module = net()
    module.conv.register_buffer("index", torch.arange(3), persistent=False)
    load(tmp_path / "w.pt", {**trained(), "conv.index": torch.arange(3)}, module)
    assert_trained(module)


def test_a_module_that_reads_the_version_of_its_layout_loads(tmp_path):
    import torchvision

    module = torchvision.models.mnasnet0_5(num_classes=3)
    state = copy.deepcopy(module.state_dict())
    load(tmp_path / "w.safetensors", dict(state), torchvision.models.mnasnet0_5(num_classes=3))
    load(tmp_path / "w.pt", {"module." + key: value for key, value in state.items()}, module)
