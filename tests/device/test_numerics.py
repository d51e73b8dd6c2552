"""Float32 on a GPU is that of the CPU, unless somebody asks for TF32."""

from __future__ import annotations

import pytest
import torch
from tests.contract.nets import build, images
from tests.device.stand_in import StandIn

from whywrong.core.margins import error_margin
from whywrong.models.classifier import Classifier


@pytest.mark.parametrize("kind", ["gap", "flat", "tokens"])
def test_logits_and_gradients_are_not_rounded_to_tf32(kind):
    x, y = images(6), torch.arange(6).remainder(4)

    def ask(classifier: Classifier) -> list[torch.Tensor]:
        answers = classifier.gradient(x, lambda logits, rows: error_margin(logits, y[rows]))
        return [classifier.logits(x), *answers]

    with StandIn():  # convolves as the CPU does, bit for bit
        expected = ask(Classifier(build(kind).to("cuda")))
    with StandIn(tf32=True):
        exact, fast = (ask(Classifier(build(kind).to("cuda"), precision=name)) for name in ("exact", "fast"))
        with Classifier(build(kind).to("cuda")):  # an exact one has its way
            both = ask(Classifier(build(kind).to("cuda"), precision="fast"))
    for want, got, rounded, shared in zip(expected, exact, fast, both, strict=True):
        assert torch.equal(got, want)
        assert torch.equal(shared, want)
        assert float((rounded - want).abs().max()) > 1e-5
    assert torch.backends.cudnn.allow_tf32


def test_a_head_that_is_a_convolution_is_found():
    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.Conv2d(8, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.relu(self.body(x))).mean((2, 3))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Head().eval()
    from whywrong.models.layers.last_layer import find_last_layer

    with StandIn(tf32=True):
        assert find_last_layer(Classifier(net.to("cuda")), (3, 16, 16)).weight.shape == (4, 8)


def test_the_recipe_and_the_run_say_which(tmp_path):
    from whywrong.models.loading.zoo import load_classifier

    with StandIn():
        classifier = load_classifier("planted:cnn", precision="fast")
        assert classifier.precision == classifier.recipe.precision == classifier.recipe.build().precision == "fast"
        assert load_classifier("planted:cnn").precision == "exact"
