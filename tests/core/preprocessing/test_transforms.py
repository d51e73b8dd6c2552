"""A transform is read in full only if calling it gives the same; random steps are named."""

from __future__ import annotations

import pytest
import timm
import torch
from torchvision import models
from torchvision import transforms as v1
from torchvision.transforms import v2

from whywrong.core.errors import InputError
from whywrong.core.input_spec import InputSpec
from whywrong.core.preprocessing.transforms import is_transform, read_transform, require_spec

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.2, 0.3)


@pytest.mark.parametrize(
    ("transform", "spec"),
    [
        (
            v1.Compose([v1.Resize(72), v1.CenterCrop(64), v1.ToTensor(), v1.Normalize(MEAN, STD)]),
            InputSpec(height=64, width=64, resize=72, mean=MEAN, std=STD),
        ),
        (
            v1.Compose([v1.Resize((64, 48), v1.InterpolationMode.BICUBIC), v1.ToTensor()]),
            InputSpec(height=64, width=48, interpolation="bicubic"),
        ),
        (
            v2.Compose(
                [
                    v2.ToImage(),
                    v2.Resize(72),
                    v2.CenterCrop(64),
                    v2.ToDtype(torch.float32, scale=True),
                    v2.Normalize(list(MEAN), list(STD)),
                ]
            ),
            InputSpec(height=64, width=64, resize=72, mean=MEAN, std=STD),
        ),
        (
            v1.Compose([v1.Grayscale(), v1.Resize((28, 28)), v1.ToTensor(), v1.Normalize((0.13,), (0.3,))]),
            InputSpec(channels=1, height=28, width=28, mean=(0.13,), std=(0.3,)),
        ),
        (
            models.ResNet18_Weights.DEFAULT.transforms(),
            InputSpec(height=224, width=224, resize=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        ),
        (
            timm.data.create_transform((3, 64, 64), interpolation="bicubic", mean=MEAN, std=STD, crop_pct=0.875),
            InputSpec(height=64, width=64, resize=73, interpolation="bicubic", mean=MEAN, std=STD),
        ),
    ],
    ids=["v1", "stretch", "v2", "grey", "weights", "timm"],
)
def test_a_transform_of_known_steps_is_read_in_full(transform, spec):
    assert require_spec(transform) == spec
    assert is_transform(transform)


@pytest.mark.parametrize(
    "steps",
    [
        [v1.Resize((32, 32)), lambda image: image.transpose(0), v1.ToTensor()],
        [v1.CenterCrop(64), v1.ToTensor()],
        [v1.Resize(64), v1.ToTensor()],
        [v1.Resize((32, 32)), v1.ToTensor(), v1.Lambda(lambda x: x * 255)],
        [v1.Resize((32, 32)), v1.PILToTensor()],
    ],
    ids=["function", "no resize", "no crop", "0..255", "uint8"],
)
def test_a_transform_that_does_something_else_is_not_read(steps):
    assert read_transform(v1.Compose(steps)).spec is None
    with pytest.raises(InputError, match="a step is not known"):
        require_spec(v1.Compose(steps))


class CenterCrop(v1.CenterCrop):
    """Named and set like the step of torchvision, and doing more."""

    def forward(self, img):
        return super().forward(img).transpose(0)


def test_what_a_step_is_called_does_not_count_if_it_answers_otherwise():
    steps = [v1.Resize(40), CenterCrop(32), v1.ToTensor(), v1.Normalize(MEAN, STD)]
    assert read_transform(v1.Compose(steps)).spec is None
    assert read_transform(v1.Compose([steps[0], v1.CenterCrop(32), *steps[2:]])).spec is not None


def test_the_normalisation_is_read_where_the_size_is_left_open():
    stated = read_transform(v1.Compose([v1.ToTensor(), v1.Normalize(torch.tensor(MEAN), torch.tensor(STD))]))
    assert (stated.spec, stated.mean, stated.std) == (None, MEAN, STD)


@pytest.mark.parametrize("step", [v1.RandomResizedCrop(32), v2.RandomHorizontalFlip(), v1.ColorJitter()])
def test_random_steps_are_named(step):
    assert read_transform(v1.Compose([step, v1.ToTensor()])).random == (type(step).__name__,)
    with pytest.raises(InputError, match=f"draws random numbers .{type(step).__name__}"):
        require_spec(v1.Compose([step, v1.ToTensor()]))


def test_two_normalisations_are_refused():
    with pytest.raises(InputError, match="normalises twice"):
        read_transform(v1.Compose([v1.Normalize(MEAN, STD), v1.Normalize(MEAN, STD)]))


def test_a_function_is_no_transform():
    assert not is_transform(lambda x: x)
    assert read_transform(None) == read_transform(lambda x: x)
