"""Groups: who is in them, how far errors fell, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from whywrong.core.errors import AccessError, InputError
from whywrong.core.randomness import row_keys
from whywrong.data.corruptions import corrupt
from whywrong.explain.masking.values import ValueFunction, class_values
from whywrong.models.classifier import Classifier
from whywrong.reproduce.interactions.groups import GROUPS, Groups, GroupsConfig
from whywrong.reproduce.interactions.make_groups import make_groups

SIDE = 32


class Brightness(nn.Module):
    """Three classes: dark, middle, bright, by the mean of the image, steep enough that noise can change them."""

    def __init__(self, steep: float = 60.0) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor([0.3, 0.5, 0.7]))
        self.steep = steep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -self.steep * (x.mean((1, 2, 3))[:, None] - self.centre).square() * 10


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """60 images whose mean is near the border of two classes; every fifth carries a wrong label."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    level = 0.3 + 0.2 * y + 0.08 * (2 * torch.rand(60, generator=generator) - 1)
    x = level.view(-1, 1, 1, 1) + 0.05 * torch.randn(60, 1, SIDE, SIDE, generator=generator)
    return x.clamp(0, 1), torch.where(torch.arange(60) % 5 == 0, (y + 1) % 3, y)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(Brightness(), batch_size=32)


@pytest.fixture(scope="module")
def groups(classifier, images) -> Groups:
    return make_groups(classifier, *images, config=GroupsConfig(per_group=20, kinds=("brightness", "fog")))


def true_log_odds(classifier, x, y):
    return class_values(classifier.logits(x), y, y, (ValueFunction(),))[:, 0]


def test_every_group_is_what_it_says(groups, classifier, images):
    x, y = images
    right = classifier.predict(x) == y
    assert tuple(groups.groups) == GROUPS
    for name, group in groups.groups.items():
        predicted = classifier.predict(group.x)
        assert torch.equal(group.y, y[group.rows])
        assert bool((predicted == group.y).all()) is (name in ("correct", "control"))
        assert bool((right[group.rows]).all()) is (name != "clean_mis")
        assert (predicted != group.y).all() or name in ("correct", "control")
        assert torch.equal(group.keys, row_keys(0, len(x))[group.rows])
        wrong = predicted != group.y
        assert torch.equal(group.target[wrong], predicted[wrong])
        assert (group.target != group.y).all()


def test_attacked_images_stay_in_the_ball_and_unchanged_ones_are_untouched(groups, images):
    x, _ = images
    attacked = groups["adv_mis"]
    assert (attacked.x - x[attacked.rows]).abs().max() <= 8 / 255 + 1e-6
    assert torch.equal(groups["correct"].x, x[groups["correct"].rows])
    assert set(attacked.made_by) == {"pgd"}


def test_corrupted_images_can_be_made_again_from_their_keys(groups, images):
    x, _ = images
    for name in ("corrupt_mis", "control"):
        group = groups[name]
        for row, image, made, key in zip(group.rows, group.x, group.made_by, group.keys, strict=True):
            kind, severity = made.split()
            torch.testing.assert_close(corrupt(x[row][None], kind, int(severity), keys=key[None])[0], image)


def test_falls_are_those_of_the_true_class(groups, classifier, images):
    x, _ = images
    for group in groups.groups.values():
        before = true_log_odds(classifier, x[group.rows], group.y)
        torch.testing.assert_close(group.drop, before - group.log_odds)
        torch.testing.assert_close(group.log_odds, true_log_odds(classifier, group.x, group.y))
    assert (groups["correct"].drop == 0).all()


def test_the_smallest_severity_that_makes_an_image_wrong_is_taken(groups, classifier, images):
    x, _ = images
    group = groups["corrupt_mis"]
    for row, made, key, label in zip(group.rows, group.made_by, group.keys, group.y, strict=True):
        kind, severity = made.split()
        for weaker in range(1, int(severity)):
            image = corrupt(x[row][None], kind, weaker, keys=key[None])
            assert classifier.predict(image)[0] == label


def test_the_control_has_the_same_corruptions_and_each_image_once(groups):
    control, errors = groups["control"], groups["corrupt_mis"]
    assert len(set(control.rows.tolist())) == len(control)
    left = list(errors.made_by)
    for made in control.made_by:
        left.remove(made)  # raises where the control had one more than the errors


def test_matched_strengths_fall_equally_far(classifier, images, groups):
    fall = float(groups["corrupt_mis"].drop.median())
    config = GroupsConfig(
        groups=("adv_mis", "corrupt_mis"), per_group=12, kinds=("brightness", "fog"), matched_drop=fall, eps=0.3
    )
    matched = make_groups(classifier, *images, config=config)
    assert matched["adv_mis"].drop.numpy() == pytest.approx(fall, rel=0.01)  # 12 halvings of the line
    assert ((matched["corrupt_mis"].drop - fall).abs() <= 0.25 * fall).all()
    assert f"matched at {fall:g} nats" in matched.settings


def test_an_attack_can_be_as_strong_as_the_corruption_of_the_same_image(classifier, images):
    config = GroupsConfig(per_group=12, kinds=("brightness", "fog"), matched_drop="corrupt_mis", eps=0.3)
    groups = make_groups(classifier, *images, config=config)
    attacked, corrupted = groups["adv_mis"], groups["corrupt_mis"]
    fall = dict(zip(corrupted.rows.tolist(), corrupted.drop.tolist(), strict=True))
    expected = torch.tensor([fall[row] for row in attacked.rows.tolist()], dtype=torch.float64)
    torch.testing.assert_close(attacked.drop, expected, atol=0.1, rtol=0)


def test_groups_do_not_depend_on_the_batch_size(images):
    config = GroupsConfig(per_group=20, kinds=("brightness", "fog"))
    a, b = (make_groups(Classifier(Brightness(), batch_size=size), *images, config=config) for size in (7, 64))
    for name in GROUPS:
        assert torch.equal(a[name].rows, b[name].rows)
        torch.testing.assert_close(a[name].x, b[name].x)
        assert a[name].made_by == b[name].made_by


def test_the_passes_are_counted(classifier, images):
    before = classifier.forwards, classifier.backwards
    groups = make_groups(classifier, *images, config=GroupsConfig(per_group=20, kinds=("brightness",)))
    assert (groups.forwards, groups.backwards) == (classifier.forwards - before[0], classifier.backwards - before[1])
    assert groups.backwards > 0


def test_an_empty_group_is_named_with_its_remedy(images):
    robust = Classifier(Brightness(steep=60.0), batch_size=64)
    x, y = images
    right = robust.predict(x) == y
    with pytest.raises(InputError, match=r"group clean_mis is empty .* give more images"):
        make_groups(robust, x[right], y[right], config=GroupsConfig(groups=("correct", "clean_mis"), per_group=20))
    with pytest.raises(InputError, match=r"group adv_mis is empty .* raise eps"):
        make_groups(robust, x, y, config=GroupsConfig(groups=("adv_mis",), eps=1e-4, step_size=1e-4, steps=1))
    with pytest.raises(InputError, match=r"group correct is empty"):
        make_groups(robust, x[:9], (y[:9] + 1) % 3, config=GroupsConfig(groups=("correct",)))


def test_an_empty_group_may_be_left_out(images):
    x, y = images
    classifier = Classifier(Brightness(), batch_size=64)
    right = classifier.predict(x) == y
    config = GroupsConfig(groups=("correct", "clean_mis"), per_group=20, skip_empty=True)
    with pytest.warns(UserWarning, match="clean_mis is empty"):
        groups = make_groups(classifier, x[right], y[right], config=config)
    assert tuple(groups.groups) == ("correct",)


def test_a_tiny_group_is_warned_about(classifier, images):
    x, y = images
    with pytest.warns(UserWarning, match=r"group clean_mis has \d+ images; below 20"):
        groups = make_groups(classifier, x, y, config=GroupsConfig(groups=("correct", "clean_mis")))
    assert any("clean_mis" in note for note in groups.notes)
    with pytest.warns(UserWarning, match="at most 5 images"):
        make_groups(classifier, x, y, config=GroupsConfig(groups=("correct",), per_group=5))


def test_an_attack_needs_gradients_and_corruptions_do_not(images):
    module = Brightness()
    scores = Classifier(module.forward, batch_size=64)
    with pytest.raises(AccessError):
        make_groups(scores, *images, config=GroupsConfig(groups=("adv_mis",), per_group=20))
    groups = make_groups(
        scores, *images, config=GroupsConfig(groups=("corrupt_mis",), per_group=20, kinds=("brightness",))
    )
    assert len(groups["corrupt_mis"]) == 20


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"groups": ("correct", "wrong")}, "'wrong'"),
        ({"groups": ()}, "at least one"),
        ({"kinds": ("fog", "fog")}, "none twice"),
        ({"kinds": ("smoke",)}, "'smoke'"),
        ({"severity": 6}, "1 to 5"),
        ({"per_group": 1}, "at least 2"),
        ({"matched_drop": -1.0}, "positive"),
        ({"matched_drop": "fog"}, "corrupt_mis"),
        ({"groups": ("adv_mis",), "matched_drop": "corrupt_mis"}, "among the groups"),
        ({"drop_tolerance": 0.0}, "drop_tolerance"),
        ({"eps": 8.0}, "eps"),
    ],
)
def test_settings_that_break_their_contract_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        GroupsConfig(**settings)


def test_bad_pixels_and_unknown_groups_are_named(classifier, images):
    x, y = images
    broken = x.clone()
    broken[3, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="image 3"):
        make_groups(classifier, broken, y)
    groups = make_groups(classifier, x, y, config=GroupsConfig(groups=("correct",), per_group=20))
    with pytest.raises(InputError, match="no group adv_mis"):
        groups["adv_mis"]


@pytest.mark.slow
def test_all_groups_of_a_real_net_are_full_and_two_of_them_equally_strong(shared_data, shared_models):
    with np.load(shared_data / "cifar10_test_a" / "test_lossless.npz") as arrays:
        x = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).contiguous().float() / 255
        y = torch.from_numpy(arrays["labels"]).long()
    net = Classifier(shared_models("resnet20"), batch_size=64)
    groups = make_groups(net, x[:250], y[:250], config=GroupsConfig(per_group=20, matched_drop="corrupt_mis"))
    assert all(len(group) >= 18 for group in groups.groups.values())
    fall = dict(zip(groups["corrupt_mis"].rows.tolist(), groups["corrupt_mis"].drop.tolist(), strict=True))
    gaps = [
        drop - fall[row]
        for row, drop in zip(groups["adv_mis"].rows.tolist(), groups["adv_mis"].drop.tolist(), strict=True)
    ]
    assert np.abs(gaps).max() < 0.5  # nats, of about 15
    assert groups["adv_mis"].x.sub(x[groups["adv_mis"].rows]).abs().max() < 8 / 255
