"""One number an image is read as a logit or a probability where that is proved, and else asked about: never 50 %."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from whywrong.core.errors import ModelError
from whywrong.models.checks.health import probe
from whywrong.models.classifier import Classifier
from whywrong.models.loading.zoo import load_classifier

SOURCE = """
import torch
from torch import nn

class Bright(nn.Module):
    \"\"\"Logit of class 1: twenty times the brightness above one half.\"\"\"
    input_size = (3, 4, 4)
    classes = ["dark", "bright"]
    def __init__(self, end):
        super().__init__()
        self.fc, self.end = nn.Linear(1, 1), end
        with torch.no_grad():
            self.fc.weight.fill_(20.0); self.fc.bias.fill_(-10.0)
    def forward(self, x):
        return self.end(self.fc(x.mean((1, 2, 3))[:, None]))

SIGMOIDS = {
    "column": torch.sigmoid,
    "flat": lambda z: torch.sigmoid(z)[:, 0],
    "squeezed": lambda z: z.sigmoid().squeeze(1),
    "module": nn.Sigmoid(),
    "functional": nn.functional.sigmoid,
    "square": lambda z: z.sigmoid()[:, :, None, None],
    "before": lambda z: torch.sigmoid(z.view(-1)),
    "viewed": lambda z: z.sigmoid().view(-1),
    "named": lambda z: {"logits": z.sigmoid()},
    "doubled": lambda z: z.double().sigmoid().float(),
}
LOGITS = {"column": lambda z: z, "flat": lambda z: z[:, 0], "scaled": lambda z: 0.5 * z}
OTHERS = {
    "own": lambda z: 1 / (1 + (-z).exp()),
    "clamped": lambda z: z.sigmoid().clamp(0.01, 0.99),
    "tanh": lambda z: (z.tanh() + 1) / 2,
}

def make(table, name):
    return lambda: Bright(table[name])
for _table, _kind in ((SIGMOIDS, "s"), (LOGITS, "l"), (OTHERS, "o")):
    for _name in _table:
        globals()[f"{_kind}_{_name.replace(' ', '_')}"] = make(_table, _name)

def callable_probability():
    net = Bright(torch.sigmoid).eval()
    def predict(x):
        with torch.no_grad():
            return net(x).numpy()
    predict.input_size = (3, 4, 4)
    return predict
def callable_flat():
    net = Bright(torch.sigmoid).eval()
    def predict(x):
        with torch.no_grad():
            return net(x)[:, 0].numpy()
    predict.input_size = (3, 4, 4)
    return predict
"""

SIGMOIDS = ["column", "flat", "squeezed", "module", "functional", "square", "before", "viewed", "named", "doubled"]


@pytest.fixture
def nets(tmp_path) -> Path:
    (tmp_path / "nets.py").write_text(SOURCE)
    yield tmp_path / "nets.py"
    sys.modules.pop("nets", None)


def images() -> tuple[Tensor, Tensor]:
    """Forty grey images from dark to bright, none of them in between, and their classes."""
    levels = torch.cat([torch.linspace(0.05, 0.4, 20), torch.linspace(0.6, 0.95, 20)])
    return levels.view(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous(), (levels > 0.5).long()


def check(classifier: Classifier) -> float:
    x, y = images()
    report = probe(classifier, x, y)
    report.raise_on_stop()
    assert report.accuracy is not None
    return report.accuracy


@pytest.mark.parametrize("name", SIGMOIDS)
def test_one_output_behind_a_sigmoid_is_recognised_and_said(nets, name):
    classifier = load_classifier(f"{nets}:s_{name}")
    assert classifier.output == "binary-probability"
    assert "read as the probability of class 1" in classifier.notes[-1]
    assert check(classifier) == 1.0
    assert classifier.recipe.build().output == "binary-probability"


@pytest.mark.parametrize("name", ["column", "flat", "scaled"])
def test_one_logit_asks_and_is_read_as_said(nets, name):
    with pytest.raises(ModelError, match=r"one number an image.*--output binary .*--output binary-probability"):
        check(load_classifier(f"{nets}:l_{name}"))
    assert check(load_classifier(f"{nets}:l_{name}", output="binary")) == 1.0


@pytest.mark.parametrize("name", ["own", "clamped", "tanh"])
def test_a_probability_that_cannot_be_proved_asks_and_is_never_read_as_a_logit(nets, name):
    with pytest.raises(ModelError, match="one number an image"):
        check(load_classifier(f"{nets}:o_{name}"))
    assert check(load_classifier(f"{nets}:o_{name}", output="binary-probability")) == 1.0
    with pytest.raises(ModelError, match="pass --output binary-probability"):
        check(load_classifier(f"{nets}:o_{name}", output="binary"))


@pytest.mark.parametrize("name", ["column", "flat"])
def test_a_sigmoid_that_is_called_a_logit_is_refused_when_it_is_loaded(nets, name):
    with pytest.raises(ModelError, match="ends in a sigmoid: its number is a probability"):
        load_classifier(f"{nets}:s_{name}", output="binary")


@pytest.mark.parametrize("name", ["callable_probability", "callable_flat"])
def test_callables_are_asked_about_and_stopped_where_a_probability_is_called_a_logit(nets, name):
    with pytest.raises(ModelError, match="one number an image"):
        check(load_classifier(f"{nets}:{name}"))
    assert check(load_classifier(f"{nets}:{name}", output="binary-probability")) == 1.0
    with pytest.raises(ModelError, match="numbers from 0 to 1 on all of 40 images"):
        check(load_classifier(f"{nets}:{name}", output="binary"))


def test_a_logit_called_a_probability_stops(nets):
    with pytest.raises(ModelError, match=r"binary-probability was said, but .* outside"):
        check(load_classifier(f"{nets}:l_column", output="binary-probability"))


def test_an_untrained_linear_net_with_small_positive_logits_is_no_probability(nets):
    classifier = load_classifier(f"{nets}:l_column", output="binary")
    with torch.no_grad():
        classifier.module.fc.weight.fill_(0.1)
        classifier.module.fc.bias.fill_(0.2)
    x, y = images()
    assert "probability" not in [finding.name for finding in probe(classifier, x, y).findings]


class InMemory(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (20 * x.mean((1, 2, 3)) - 10).sigmoid()


def test_modules_in_memory_are_asked_about_and_keep_their_gradient():
    x, y = images()
    with pytest.raises(ModelError, match="one number an image"):
        Classifier(InMemory()).predict(x)
    classifier = Classifier(InMemory(), output="binary-probability")
    assert torch.equal(classifier.predict(x), y)
    torch.testing.assert_close(classifier.logits(x).softmax(1)[:, 1], InMemory()(x))
    _, _, grad = classifier.gradient(x, lambda logits, rows: logits[:, 1] - logits[:, 0])
    torch.testing.assert_close(grad[15:25], torch.full_like(grad[15:25], 20 / 48), rtol=1e-3, atol=0)


# ONNX


def graph(path: Path, nodes: list, output: list, *, opset: int = 17) -> Path:
    onnx = pytest.importorskip("onnx")
    helper, tensor = onnx.helper, onnx.TensorProto
    constants = [
        helper.make_tensor("scale", tensor.FLOAT, [1], [20.0]), helper.make_tensor("shift", tensor.FLOAT, [1], [-10.0]),
        helper.make_tensor("flat", tensor.INT64, [1], [-1]), helper.make_tensor("one", tensor.INT64, [1], [1]),
        helper.make_tensor("twice", tensor.FLOAT, [2], [1.0, -1.0]),
    ]  # fmt: skip
    body = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["m", "one"], ["c"]),
        helper.make_node("Mul", ["c", "scale"], ["s"]),
        helper.make_node("Add", ["s", "shift"], ["z"]),
        *[helper.make_node(kind, taken, made) for kind, taken, made in nodes],
    ]
    made = helper.make_graph(
        body, "g", [helper.make_tensor_value_info("x", tensor.FLOAT, ["N", 3, 4, 4])],
        [helper.make_tensor_value_info("y", tensor.FLOAT, output)], constants,
    )  # fmt: skip
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


ONNX_SIGMOIDS = {
    "column": ([("Sigmoid", ["z"], ["y"])], ["N", 1]),
    "flat": ([("Sigmoid", ["z"], ["p"]), ("Reshape", ["p", "flat"], ["y"])], ["N"]),
    "before": ([("Reshape", ["z", "flat"], ["f"]), ("Sigmoid", ["f"], ["y"])], ["N"]),
    "squeezed": ([("Sigmoid", ["z"], ["p"]), ("Squeeze", ["p", "one"], ["y"])], ["N"]),
    "identity": ([("Sigmoid", ["z"], ["p"]), ("Identity", ["p"], ["q"]), ("Flatten", ["q"], ["y"])], ["N", 1]),
}


@pytest.mark.parametrize("name", ONNX_SIGMOIDS)
def test_a_graph_that_ends_in_one_sigmoid_is_recognised(tmp_path, name):
    path = graph(tmp_path / "m.onnx", *ONNX_SIGMOIDS[name])
    classifier = load_classifier(path, classes=["dark", "bright"])
    assert classifier.output == "binary-probability"
    assert check(classifier) == 1.0
    with pytest.raises(ModelError, match="ends in a sigmoid"):
        load_classifier(path, output="binary")


@pytest.mark.parametrize(
    ("nodes", "output"), [([("Identity", ["z"], ["y"])], ["N", 1]), ([("Reshape", ["z", "flat"], ["y"])], ["N"])]
)
def test_a_graph_with_one_logit_asks(tmp_path, nodes, output):
    path = graph(tmp_path / "m.onnx", nodes, output)
    with pytest.raises(ModelError, match="one number an image"):
        check(load_classifier(path))
    assert check(load_classifier(path, output="binary")) == 1.0


def test_two_sigmoids_are_two_scores(tmp_path):
    path = graph(tmp_path / "m.onnx", [("Mul", ["z", "twice"], ["t"]), ("Sigmoid", ["t"], ["y"])], ["N", 2])
    classifier = load_classifier(path)
    assert (classifier.output, classifier.logits(images()[0]).shape) == ("logits", (40, 2))


@pytest.mark.parametrize("cut", [0, 1, 7, 40, 200])
def test_bytes_that_are_no_graph_have_no_last_operation(tmp_path, cut):
    from whywrong.models.loading.onnx_graph import last_operation

    content = graph(tmp_path / "m.onnx", *ONNX_SIGMOIDS["column"]).read_bytes()
    assert last_operation(content) == "Sigmoid"
    assert last_operation(content[:cut]) is None
    assert last_operation(b"\xff" * 50) is None
