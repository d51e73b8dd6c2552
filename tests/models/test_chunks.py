"""Batches that do not fit into memory, and images that do not fit alone: what is halved, kept and freed."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor, nn

from whywrong.core.errors import EnvironmentFailure, ModelError
from whywrong.models.classifier import Classifier

FULL = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes"


class Hungry(nn.Module):
    """Fits ``fits`` images at once, and never those whose first pixel is 1."""

    def __init__(self, fits: int = 8) -> None:
        super().__init__()
        self.fits, self.sizes, self.largest = fits, [], 0

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        if len(x) > self.fits or bool((x[:, 0, 0, 0] == 1).any()):
            raise RuntimeError(FULL)
        self.largest = max(self.largest, len(x))
        return x[:, 0, 0, 1, None] * torch.tensor([1.0, 2.0, 3.0])


def images(n: int, hungry: tuple[int, ...] = ()) -> Tensor:
    x = torch.rand(n, 3, 2, 2, generator=torch.Generator().manual_seed(n)) * 0.9
    x[list(hungry), 0, 0, 0] = 1
    return x


@pytest.mark.parametrize(
    "hungry", [(0,), (5,), (23,), (0, 1), (0, 23), (7, 8), tuple(range(8)), (3, 11, 19), tuple(range(0, 24, 2))]
)
@pytest.mark.parametrize("batch", [1, 5, 8, 24, 64])
def test_images_that_never_fit_are_named_and_all_others_are_answered(hungry, batch):
    x = images(24, hungry)
    classifier = Classifier(Hungry(), classes=["a", "b", "c"], batch_size=batch)
    logits, faults = classifier.logits_or_faults(x)
    assert set(faults) == set(hungry)
    assert all("does not fit into memory" in reason for reason in faults.values())
    good = [row for row in range(24) if row not in hungry]
    torch.testing.assert_close(logits[good], x[good, 0, 0, 1, None] * torch.tensor([1.0, 2.0, 3.0]))
    assert bool(logits[list(hungry)].isnan().all())
    assert classifier.forwards == len(good)


@pytest.mark.parametrize("hungry", [(0,), (5,), (12,), (0, 1), (6, 7), (0, 8)])
def test_an_image_that_never_fits_leaves_the_batch_size_of_the_others(hungry):
    model = Hungry()
    classifier = Classifier(model, classes=["a", "b", "c"], batch_size=8)
    classifier.logits_or_faults(images(16, hungry))
    model.sizes.clear()
    classifier.logits(images(16))
    assert model.sizes == [8, 8]


def test_an_image_that_ends_a_request_leaves_the_batch_size_of_the_next():
    model = Hungry()
    classifier = Classifier(model, batch_size=8)
    with pytest.raises(EnvironmentFailure, match="one image alone"):
        classifier.logits(images(8, (0,)))
    classifier.logits(images(16))
    model.sizes.clear()
    classifier.logits(images(16))
    assert model.sizes == [8, 8]


def test_batches_that_do_not_fit_stay_halved():
    model = Hungry(fits=3)
    classifier = Classifier(model, classes=["a", "b", "c"], batch_size=16)
    classifier.logits(images(16))
    assert classifier.batch_size == 2
    classifier.logits_or_faults(images(16, (4,)))
    classifier.logits(images(4))
    assert classifier.batch_size == 2


def test_a_batch_size_set_by_hand_is_not_raised_again():
    model = Hungry()
    classifier = Classifier(model, batch_size=8)
    with pytest.raises(EnvironmentFailure):
        classifier.logits(images(8, (0,)))
    classifier.batch_size = 2
    classifier.logits(images(8))
    assert model.largest == 2


@pytest.mark.parametrize("error", [RuntimeError(FULL), MemoryError(), ValueError("no"), torch.OutOfMemoryError("no")])
@pytest.mark.parametrize("batch", [1, 4])
def test_what_a_failed_pass_made_is_freed_before_the_next_pass(error, batch):
    made: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    class Leaky(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            alive.append(sum(ref() is not None for ref in made))
            activations = x.repeat(2, 1, 1, 1)
            made.append(weakref.ref(activations))
            if bool((x[:, 0, 0, 0] == 1).any()):
                raise type(error)(*error.args)
            return activations[: len(x), 0, 0, :2].clone()

    classifier = Classifier(Leaky(), classes=["a", "b"], batch_size=batch)
    _, faults = classifier.logits_or_faults(images(12, (1, 2, 6, 11)))
    assert set(faults) == {1, 2, 6, 11}
    assert set(alive) == {0}


def test_an_error_still_says_where_in_the_model_it_was_raised():
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("here")

    with pytest.raises(ModelError, match="here") as caught:
        Classifier(Broken()).logits_or_faults(images(4))
    trace = caught.value.__cause__.__traceback__
    names = []
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert names[-1] == "forward"
