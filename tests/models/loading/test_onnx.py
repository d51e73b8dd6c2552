"""ONNX models are scores-only classifiers."""

from __future__ import annotations

import builtins
import pickle

import numpy as np
import pytest
import torch

from whywrong.core.access import Access
from whywrong.core.errors import AccessError, InputError, ModelError
from whywrong.models.loading.zoo import load_classifier

onnx = pytest.importorskip("onnx", reason="the package onnx, which writes the test models, is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime (extra onnx) is not installed")

W = np.arange(36, dtype=np.float32).reshape(12, 3) / 36
X = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))


def write(path, *, batch="N", shape=(3, 2, 2), outputs=1, dtype="FLOAT", external=False):
    """Scores = flattened pixels times W, as a graph written by hand."""
    helper, kind = onnx.helper, getattr(onnx.TensorProto, dtype)
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["scores"]),
        helper.make_node("Identity", ["flat"], ["features"]),
    ]
    names = ["scores", "features"][:outputs]
    graph = helper.make_graph(
        nodes[: outputs + 1],
        "net",
        [helper.make_tensor_value_info("pixels", kind, [batch, *shape])],
        [helper.make_tensor_value_info(n, kind, None) for n in names],
        [onnx.numpy_helper.from_array(W, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save_model(
        model, path, save_as_external_data=external, location="w.data" if external else None, size_threshold=0
    )
    return path


def expected(x):
    return torch.from_numpy(x.flatten(1).numpy() @ W)


@pytest.mark.parametrize(("batch", "limit"), [("N", None), (1, 1), (4, 4)])
def test_scores_are_those_of_the_graph_for_free_and_fixed_batches(tmp_path, batch, limit):
    classifier = load_classifier(write(tmp_path / "net.onnx", batch=batch))
    assert classifier.preprocess is not None
    assert (classifier.preprocess.channels, classifier.preprocess.height) == (3, 2)
    assert (classifier.access, classifier.largest_batch) == (Access.SCORES, limit)
    torch.testing.assert_close(classifier.logits(X), expected(X))
    assert classifier.forwards == 5
    with pytest.raises(AccessError, match="INTERNALS"):
        classifier.require(Access.INTERNALS, "cam")


def test_channels_last_graphs_get_channels_last_pixels(tmp_path):
    classifier = load_classifier(write(tmp_path / "net.onnx", shape=(2, 2, 3)))
    torch.testing.assert_close(classifier.logits(X), expected(X.permute(0, 2, 3, 1)))


def test_an_open_input_size_is_asked_for(tmp_path):
    path = write(tmp_path / "net.onnx", shape=(3, "h", "w"))
    with pytest.raises(InputError, match=r"the graph leaves it open: give --input-size 224"):
        load_classifier(path)
    torch.testing.assert_close(load_classifier(path, input_size=(3, 2, 2)).logits(X), expected(X))


def test_one_of_several_outputs_is_taken_by_name(tmp_path):
    path = write(tmp_path / "net.onnx", outputs=2)
    torch.testing.assert_close(load_classifier(path, output="key:scores").logits(X), expected(X))
    with pytest.raises(ModelError, match="scores, features; say which"):
        load_classifier(path).logits(X)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256)) * 50])
def test_a_file_that_is_no_graph_stops(tmp_path, content):
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"bad.onnx"):
        load_classifier(tmp_path / "bad.onnx")


def test_a_graph_that_takes_no_images_stops(tmp_path):
    with pytest.raises(ModelError, match=r"must take one float tensor of images"):
        load_classifier(write(tmp_path / "net.onnx", shape=(12,)))


def test_identity_covers_the_graph_and_its_external_weights(tmp_path):
    path = write(tmp_path / "net.onnx", external=True)
    first = load_classifier(path)
    torch.testing.assert_close(first.logits(X), expected(X))
    assert pickle.loads(pickle.dumps(first.recipe)).build().identity == first.identity
    data = bytearray((tmp_path / "w.data").read_bytes())
    data[0:4] = np.float32(9).tobytes()
    (tmp_path / "w.data").write_bytes(data)
    assert load_classifier(path).identity != first.identity


def test_without_onnx_runtime_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "net.onnx")
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "onnxruntime":
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelError, match=r"pip install 'whywrong\[onnx\]'"):
        load_classifier(path)
