"""ONNX graphs: every file that changes the answers is in the identity, and none takes memory or time without end."""

from __future__ import annotations

import os
import resource
import time

import numpy as np
import pytest
import torch

from whywrong.core.errors import ModelError
from whywrong.models.loading import limits, onnx
from whywrong.models.loading.limits import answer_within, memory_limit
from whywrong.models.loading.onnx_graph import external_files
from whywrong.models.loading.zoo import load_classifier

library = pytest.importorskip("onnx", reason="the package onnx, which writes the test models, is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime (extra onnx) is not installed")

h, T = library.helper, library.TensorProto
X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def outside_tensor(location, name="W"):
    """192 x 4 weights that lie in another file."""
    tensor = T(name=name, data_type=T.FLOAT, dims=[192, 4], data_location=T.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def save(path, nodes, initializers=(), functions=()):
    graph = h.make_graph(
        nodes,
        "g",
        [h.make_tensor_value_info("x", T.FLOAT, ["N", 3, 8, 8])],
        [h.make_tensor_value_info("y", T.FLOAT, ["N", 4])],
        list(initializers),
    )
    opsets = [h.make_opsetid("", 17), h.make_opsetid("own", 1)]
    model = h.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


FLAT, PRODUCT = h.make_node("Flatten", ["x"], ["f"]), h.make_node("MatMul", ["f", "W"], ["y"])


def fill(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.full(768, value, np.float32).tobytes())


def in_initializer(path, location):
    return save(path, [FLAT, PRODUCT], [outside_tensor(location)])


def in_constant(path, location):
    return save(path, [FLAT, h.make_node("Constant", [], ["W"], value=outside_tensor(location)), PRODUCT])


def in_branch(path, location):
    def branch(name):
        constant = h.make_node("Constant", [], [name], value=outside_tensor(location))
        return h.make_graph([constant], name, [], [h.make_tensor_value_info(name, T.FLOAT, [192, 4])])

    condition = h.make_node("Constant", [], ["c"], value=h.make_tensor("c", T.BOOL, [], [True]))
    either = h.make_node("If", ["c"], ["W"], then_branch=branch("W1"), else_branch=branch("W2"))
    return save(path, [FLAT, condition, either, PRODUCT])


def in_function(path, location):
    constant = h.make_node("Constant", [], ["W"], value=outside_tensor(location))
    body = h.make_function("own", "Weigh", ["f"], ["y"], [constant, PRODUCT], [h.make_opsetid("", 17)])
    return save(path, [FLAT, h.make_node("Weigh", ["f"], ["y"], domain="own")], functions=[body])


@pytest.mark.parametrize("write", [in_initializer, in_constant, in_branch, in_function])
@pytest.mark.parametrize("location", ["w.bin", "w/a.bin", "a/b/c/d.bin", "n" * 150 + ".bin", "ü mit Leerzeichen.bin"])
def test_external_weights_are_found_wherever_a_graph_may_keep_them(tmp_path, write, location):
    assert external_files(write(tmp_path / "m.onnx", location).read_bytes()) == {location}


@pytest.mark.parametrize("location", ["w.bin", "w/a.bin", "n" * 150 + ".bin", "./w/../w/a.bin"[:2] + "w/a.bin"])
@pytest.mark.parametrize("write", [in_initializer, in_constant])
def test_identity_changes_with_the_external_weights(tmp_path, write, location):
    seen = []
    for value in (1, 2, 1):
        fill(tmp_path / location, value)
        classifier = load_classifier(write(tmp_path / "m.onnx", location))
        seen.append((classifier.identity, round(classifier.logits(X)[0, 0].item(), 2)))
    assert seen[0] == seen[2]
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] != seen[1][1]


@pytest.mark.parametrize("location", ["../w.bin", "a/../../w.bin", "..\\w.bin", "link.bin", "linked/w.bin", "", "ABS"])
def test_weights_outside_of_the_folder_of_the_graph_are_refused(tmp_path, location):
    folder = tmp_path / "model"
    folder.mkdir()
    fill(tmp_path / "w.bin", 1)
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    (folder / "linked").symlink_to(tmp_path)
    where = str(tmp_path / "w.bin") if location == "ABS" else location
    with pytest.raises(ModelError, match=r"m.onnx keeps weights in .*outside of its folder; it is not read"):
        load_classifier(in_initializer(folder / "m.onnx", where))


def test_weights_that_are_missing_are_named(tmp_path):
    with pytest.raises(ModelError, match=r'keeps weights in "w.bin", which is not a file beside it'):
        load_classifier(in_initializer(tmp_path / "m.onnx", "w.bin"))


def test_a_graph_behind_a_link_finds_the_weights_beside_it(tmp_path):
    (tmp_path / "shown").mkdir()
    fill(tmp_path / "blobs" / "w", 1)
    in_initializer(tmp_path / "blobs" / "m", "w.bin")
    (tmp_path / "shown" / "m.onnx").symlink_to(tmp_path / "blobs" / "m")
    (tmp_path / "shown" / "w.bin").symlink_to(tmp_path / "blobs" / "w")
    assert [
        file.name for file in onnx._external_files(tmp_path / "shown" / "m.onnx", (tmp_path / "blobs/m").read_bytes())
    ]


# Memory and time without end.


def ints(name, *values):
    return h.make_node("Constant", [], [name], value=h.make_tensor(name, T.INT64, [len(values)], values))


def constant_fill():
    return [
        ints("s", 1 << 42),
        h.make_node("ConstantOfShape", ["s"], ["big"]),
        h.make_node("ReduceSum", ["big"], ["t"], keepdims=0),
        FLAT,
        PRODUCT_0,
        h.make_node("Add", ["y0", "t"], ["y"]),
    ]


def expand():
    return [
        ints("s", 1 << 20, 1 << 20),
        FLAT,
        PRODUCT_0,
        h.make_node("ReduceSum", ["f"], ["m"], keepdims=0),
        h.make_node("Expand", ["m", "s"], ["big"]),
        h.make_node("ReduceMax", ["big"], ["t"], keepdims=0),
        h.make_node("Add", ["y0", "t"], ["y"]),
    ]


def tile():
    return [
        ints("s", 1, 1 << 22),
        FLAT,
        PRODUCT_0,
        h.make_node("Tile", ["f", "s"], ["big"]),
        h.make_node("ReduceMax", ["big"], ["t"], keepdims=0),
        h.make_node("Add", ["y0", "t"], ["y"]),
    ]


PRODUCT_0 = h.make_node("MatMul", ["f", "W"], ["y0"])


def loop(grow=False):
    state = h.make_tensor_value_info("a", T.FLOAT, None)
    body_nodes = [
        h.make_node("Identity", ["go"], ["go_out"]),
        h.make_node("Concat", ["a", "a"], ["a_out"], axis=0) if grow else h.make_node("Identity", ["a"], ["a_out"]),
    ]
    body = h.make_graph(
        body_nodes,
        "body",
        [h.make_tensor_value_info("i", T.INT64, []), h.make_tensor_value_info("go", T.BOOL, []), state],
        [h.make_tensor_value_info("go_out", T.BOOL, []), h.make_tensor_value_info("a_out", T.FLOAT, None)],
    )
    trips = h.make_node("Constant", [], ["n"], value=h.make_tensor("n", T.INT64, [], [2**62]))
    go = h.make_node("Constant", [], ["g"], value=h.make_tensor("g", T.BOOL, [], [True]))
    return [
        FLAT,
        PRODUCT_0,
        trips,
        go,
        h.make_node("Loop", ["n", "g", "y0"], ["z"], body=body),
        h.make_node("ReduceMax", ["z"], ["t"], keepdims=0),
        h.make_node("Add", ["y0", "t"], ["y"]),
    ]


WEIGHTS = library.numpy_helper.from_array(np.ones((192, 4), np.float32), "W")


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (constant_fill, "memory|cannot be opened"),
        (expand, "memory|cannot be opened"),
        (tile, "memory|cannot be opened"),
        (lambda: loop(grow=True), "memory"),
        (loop, "gives no answer within 1 s for one blank image"),
    ],
    ids=["fill", "expand", "tile", "growing loop", "endless loop"],
)
def test_a_graph_without_bounds_stops_before_the_first_batch(tmp_path, monkeypatch, nodes, words):
    monkeypatch.setattr(onnx, "SECONDS", 1.0 if nodes is loop else 60.0)
    monkeypatch.setattr(limits, "available_memory", lambda: 2**30)  # the growing loop fills what there is
    before = resource.getrlimit(resource.RLIMIT_AS)
    started = time.perf_counter()
    with pytest.raises(ModelError, match=words):
        load_classifier(save(tmp_path / "m.onnx", nodes(), [WEIGHTS]))
    assert time.perf_counter() - started < 30
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_loop_that_one_image_starts_costs_that_image(tmp_path, monkeypatch):
    nodes = loop()
    nodes[2:4] = [
        h.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        h.make_node("Floor", ["m"], ["m1"]),  # 1 for an image with a white pixel, else 0
        h.make_node("Cast", ["m1"], ["m2"], to=T.INT64),
        h.make_node("Constant", [], ["k"], value=h.make_tensor("k", T.INT64, [], [2**62])),
        h.make_node("Mul", ["m2", "k"], ["n"]),
        h.make_node("Constant", [], ["g"], value=h.make_tensor("g", T.BOOL, [], [True])),
    ]
    classifier = load_classifier(save(tmp_path / "m.onnx", nodes, [WEIGHTS]))
    monkeypatch.setattr(onnx, "SECONDS", 0.3)
    monkeypatch.setattr(onnx, "SECONDS_AN_IMAGE", 0.0)
    x = torch.cat([X * 0.5, X * 0.5])
    x[2, 0, 0, 0] = 1.0
    logits, faults = classifier.logits_or_faults(x)
    assert list(faults) == [2]
    assert "terminate" in faults[2]
    assert bool(logits[[0, 1, 3]].isfinite().all())


def test_allocations_beyond_the_limit_fail_and_the_limit_goes_with_the_block(monkeypatch):
    monkeypatch.setattr(limits, "available_memory", lambda: 2**28)
    before = resource.getrlimit(resource.RLIMIT_AS)
    with memory_limit():
        with memory_limit(), pytest.raises(MemoryError):
            np.empty(2**32, np.uint8)  # far more than what threads of earlier tests may give back meanwhile
        with pytest.raises(RuntimeError, match="allocate memory"):
            torch.empty(2**32, dtype=torch.uint8)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert len(np.empty(2**32, np.uint8)) == 2**32


def test_an_answer_in_time_is_given_and_errors_are_raised_as_they_are():
    assert answer_within(lambda: 7, 5) == 7
    with pytest.raises(ZeroDivisionError):
        answer_within(lambda: 1 // 0, 5)
    with pytest.raises(TimeoutError, match="no answer within"):
        answer_within(lambda: time.sleep(5), 0.05)


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="this system does not say what memory is free")
def test_free_memory_is_known_here():
    free = limits.available_memory()
    assert free is not None
    assert 0 < free < 2**50


def test_memory_that_runs_out_in_a_batch_halves_it(tmp_path, monkeypatch):
    nodes = [
        ints("s", 1, 1 << 19),
        FLAT,
        PRODUCT_0,
        h.make_node("Tile", ["f", "s"], ["big"]),  # 400 MB an image: more than what earlier tests left mapped
        h.make_node("ReduceMax", ["big"], ["t"], axes=[1], keepdims=1),
        h.make_node("Add", ["y0", "t"], ["y"]),
    ]
    classifier = load_classifier(save(tmp_path / "m.onnx", nodes, [WEIGHTS]), batch_size=8)
    monkeypatch.setattr(limits, "available_memory", lambda: 500 * 2**20)
    x = torch.rand(8, 3, 8, 8)
    assert classifier.logits(x).isfinite().all()
    assert classifier.batch_size < 8
