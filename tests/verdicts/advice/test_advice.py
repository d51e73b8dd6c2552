"""Actions against the cause of a group, and what they gain on held-out errors and correct images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from whywrong.api import load_classifier, open_data
from whywrong.core.randomness import row_keys
from whywrong.data.batches import load_images
from whywrong.models.classifier import Classifier
from whywrong.verdicts.advice import Advice, advise
from whywrong.verdicts.advice.actions import _smaller
from whywrong.verdicts.advice.marks import cover_boxes, find_templates, matches
from whywrong.verdicts.advice.measure import split_halves
from whywrong.verdicts.advice.pictures import Pictures, make_pictures

BOX = torch.tensor([0.75, 0.75, 0.25, 0.25])
N, R = 24, 40


def of(score) -> Classifier:
    return Classifier(lambda x: torch.stack([torch.zeros(len(x)), score(x)], 1))


def texture(n: int, seed: int) -> Tensor:
    return 0.3 + 0.2 * torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def pictures(x: Tensor, y: int, predicted: int, name: str, **known: Tensor) -> Pictures:
    n = len(x)
    sources = tuple(f"{name}{row}" for row in range(n))
    classes = torch.full((n,), y), torch.full((n,), predicted)
    return make_pictures(x, *classes, sources, row_keys(1, n), **known)


def marked(n: int = N) -> Tensor:
    """Textures with the same small cross in a corner."""
    x = texture(n, 0)
    x[:, :, 27:29, 24:32] = 1.0
    x[:, :, 24:32, 27:29] = 1.0
    return x


def reads_the_mark(x: Tensor) -> Tensor:
    return x[..., 24:, 24:].mean((1, 2, 3)) - 0.5


def arms(found: list[Advice]) -> dict[str, Advice]:
    return {advice.arm: advice for advice in found}


def covered(**changes) -> dict[str, Advice]:
    errors = pictures(marked(), 0, 1, "e", boxes=BOX.expand(N, 4))
    return arms(advise(of(reads_the_mark), errors, pictures(texture(R, 1), 0, 0, "r"), "spurious", **changes))


def test_covering_a_recurring_mark_mends_held_out_errors_and_its_sham_does_not():
    found = covered()
    assert (found["action"].mended, found["action"].n_held) == (12, 12)
    assert found["sham"].mended == found["nothing"].mended == 0
    assert found["action"].negative_flips == 0
    assert found["action"].advised
    assert not found["sham"].advised
    assert found["action"].net_gain == pytest.approx(12 / 32)
    assert found["action"].low > 0.7


def test_errors_without_a_common_mark_get_no_action():
    errors = pictures(texture(N, 3), 0, 1, "e", boxes=BOX.expand(N, 4))
    assert advise(of(reads_the_mark), errors, pictures(texture(R, 1), 0, 0, "r"), "spurious") == []


def test_a_mark_that_the_model_ignores_is_covered_in_vain():
    errors = pictures(marked(), 0, 1, "e", boxes=BOX.expand(N, 4))
    found = arms(advise(of(lambda x: x.new_ones(len(x))), errors, pictures(texture(R, 1), 1, 1, "r"), "spurious"))
    assert found["action"].mended == 0
    assert not found["action"].advised


def test_an_action_that_costs_more_correct_images_than_it_mends_is_not_advised():
    level = torch.linspace(0, 1, R)
    reference = pictures(texture(R, 1), 0, 0, "r", level=level)
    errors = pictures(texture(N, 2), 0, 1, "e", level=torch.full((N,), 0.99))
    one = arms(advise(of(reads_the_mark), errors, reference, "shift"))
    assert one["action"].advised
    assert one["action"].mended == 12
    many = arms(advise(of(reads_the_mark), errors, reference, "shift", stands_for=200))
    assert many["action"].negative_flips == one["action"].negative_flips > 0
    assert many["action"].net_gain < 0
    assert not many["action"].advised


def test_abstaining_by_a_level_that_says_nothing_is_not_advised():
    draw = torch.Generator().manual_seed(5)
    reference = pictures(texture(R, 1), 0, 0, "r", level=torch.rand(R, generator=draw))
    errors = pictures(texture(N, 2), 0, 1, "e", level=torch.rand(N, generator=draw))
    assert not any(found.advised for found in advise(of(reads_the_mark), errors, reference, "shift"))


def rough(x: Tensor) -> Tensor:
    return (x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3)) - 0.05


def test_a_restoration_is_applied_beyond_the_gate_only():
    x = torch.full((N, 3, 32, 32), 0.5)
    noisy = (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    reference = pictures(texture(R, 1) * 0 + 0.4, 0, 0, "r", level=torch.linspace(0, 1, R))
    damaged = pictures(noisy, 0, 1, "e", level=torch.full((N,), 3.0))
    found = arms(advise(of(rough), damaged, reference, "corruption", restoration="denoise"))
    assert (found["action"].mended, found["sham"].mended) == (12, 0)
    assert found["action"].advised
    usual = pictures(noisy, 0, 1, "e", level=torch.zeros(N))
    assert arms(advise(of(rough), usual, reference, "corruption", restoration="denoise"))["action"].mended == 0
    unknown = pictures(noisy, 0, 1, "e")
    assert advise(of(rough), unknown, reference, "corruption", restoration="denoise") == []


def test_a_vote_mends_pixels_that_small_changes_undo():
    """An alternating pattern too weak for the eye decides; JPEG, smoothing and noise blur its sum."""
    sign = torch.ones(32)
    sign[::2] = -1

    def score(x: Tensor) -> Tensor:
        return (x * sign).mean((1, 2, 3)).abs() - 0.004

    errors = pictures((torch.full((N, 3, 32, 32), 0.5) + 0.0045 * sign), 0, 1, "e")
    found = arms(advise(of(score), errors, pictures(torch.full((R, 3, 32, 32), 0.5), 0, 0, "r"), "adversarial"))
    assert found["action"].mended > found["sham"].mended == 0
    assert found["action"].forwards == 2 * 5 * (12 + 20)


def test_the_content_of_a_small_picture_is_enlarged():
    x = torch.full((N, 3, 32, 32), 0.4)
    x[:, :, 12:20, 12:20] = texture(N, 2)[:, :, :8, :8]
    classifier = of(lambda x: 0.015 - x.flatten(1).std(1))  # class 0 needs texture all over
    found = arms(advise(classifier, pictures(x, 0, 1, "e"), pictures(texture(R, 1), 0, 0, "r"), "occluded"))
    assert found["action"].mended > found["sham"].mended


def test_images_of_one_source_are_in_one_half():
    x = texture(20, 0)
    some = make_pictures(
        x, torch.zeros(20).long(), torch.ones(20).long(), tuple(f"s{row // 4}" for row in range(20)), row_keys(0, 20)
    )
    halves = split_halves(some, 0)
    assert not set(halves[0].sources) & set(halves[1].sources)
    assert sum(map(len, halves)) == 20
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    assert set(split_halves(some.at(order), 0)[0].sources) == set(halves[0].sources)


def test_the_measurement_does_not_depend_on_the_batch_size():
    errors = pictures(marked(), 0, 1, "e", boxes=BOX.expand(N, 4))
    reference = pictures(texture(R, 1), 0, 0, "r")
    small = of(reads_the_mark)
    small.batch_size = 3
    [one, other] = (advise(c, errors, reference, "spurious")[1] for c in (of(reads_the_mark), small))
    assert (one.mended, one.net_gain, one.p) == (other.mended, other.net_gain, other.p)


def test_too_few_errors_or_a_cause_without_action_measure_nothing():
    errors = pictures(marked(6), 0, 1, "e", boxes=BOX.expand(6, 4))
    reference = pictures(texture(R, 1), 0, 0, "r")
    assert advise(of(reads_the_mark), errors, reference, "spurious") == []
    assert advise(of(reads_the_mark), pictures(marked(), 0, 1, "e"), reference, "label") == []


def test_a_template_matches_moved_marks_and_no_others():
    errors = pictures(marked(), 0, 1, "e", boxes=BOX.expand(N, 4))
    [template] = find_templates(errors, pictures(texture(R, 1), 0, 0, "r"))
    moved = torch.roll(marked(3), (-1, -2), (2, 3))
    assert matches(moved, template).all()
    assert not matches(texture(50, 7), template).any()


def test_a_covered_box_holds_nothing_of_what_was_there():
    x = marked(2)
    boxes = torch.stack([BOX, torch.full((4,), torch.nan)])
    found = cover_boxes(x, boxes, 1 / 32)
    assert found[0, :, 24:, 24:].max() <= x[0, :, :23, :].max()
    assert torch.equal(found[0, :, :23, :23], x[0, :, :23, :23])
    assert torch.equal(found[1], x[1])


@pytest.fixture(scope="module")
def stickers() -> tuple[Classifier, Pictures, Pictures]:
    """Errors of the shipped net with the sticker that it learnt, with their boxes, and correct pictures."""
    classifier = load_classifier("planted:cnn-spurious", batch_size=64)
    source = open_data("planted:causes")
    parts = list(load_images(source, spec=classifier.preprocess, classes=classifier.classes, batch_size=64))
    x, y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
    causes = [str(item.entry.cause) for part in parts for item in part.items]
    answers = classifier.predict(x)
    cue = torch.tensor([cause.startswith("spurious (mark)") for cause in causes])
    yellow = (x[:, 0] - x[:, 2]).clamp(min=0)  # the sticker is the yellow disc in one of four corners
    corners = torch.stack([yellow[:, a : a + 22, b : b + 22].mean((1, 2)) for a in (0, 42) for b in (0, 42)], 1)
    at = corners.argmax(1)
    boxes = torch.stack([at % 2 * 42 / 64, at // 2 * 42 / 64, *[torch.full((len(x),), 22 / 64)] * 2], 1).float()
    keys = row_keys(0, len(x))

    def some(rows: Tensor) -> Pictures:
        sources = tuple(f"s{row}" for row in rows.tolist())
        return make_pictures(x[rows], y[rows], answers[rows], sources, keys[rows], boxes=boxes[rows])

    wrong = answers != y
    return classifier, some((wrong & cue).nonzero().flatten()), some((~wrong).nonzero().flatten()[:40])


def test_covering_the_sticker_mends_at_least_half_of_the_held_out_errors(stickers):
    classifier, errors, reference = stickers
    found = arms(advise(classifier, errors, reference, "spurious"))
    assert found["action"].mended >= 0.5 * found["action"].n_held
    assert found["action"].advised
    assert found["sham"].mended <= 2


def test_nothing_is_advised_for_shuffled_errors(stickers):
    classifier, errors, reference = stickers
    order = np.random.default_rng(0).permutation(len(errors))
    level = torch.rand(len(errors), generator=torch.Generator().manual_seed(1))
    shuffled = make_pictures(
        errors.x.flip(3).roll(7, 2),  # marks leave the boxes
        errors.y,
        errors.predicted,
        errors.sources,
        errors.keys,
        boxes=errors.boxes[order],
        level=level,
    )
    for cause in ("spurious", "shift"):
        assert not any(found.advised for found in advise(classifier, shuffled, reference, cause))


def cropped(x: Tensor, y: int, predicted: int, name: str, beyond: float) -> Pictures:
    """Pictures that are the middle half of photographs whose rest has one brightness."""
    whole = torch.full_like(x, beyond)
    whole[..., 8:24, 8:24] = torch.nn.functional.avg_pool2d(x, 2)
    return pictures(x, y, predicted, name, whole=whole, crop=torch.tensor([0.25, 0.25, 0.5, 0.5]).expand(len(x), 4))


def bright(x: Tensor) -> Tensor:
    return 0.5 - x.mean((1, 2, 3))  # class 0 is bright


def test_the_whole_photograph_mends_what_the_crop_cut_off_and_a_smaller_crop_does_not():
    errors = cropped(texture(N, 0), 0, 1, "e", beyond=1.0)
    reference = cropped(texture(R, 1) + 0.4, 0, 0, "r", beyond=1.0)
    found = {(one.action, one.arm): one for one in advise(of(bright), errors, reference, "occluded")}
    assert found["see the whole", "action"].mended == 12
    assert found["see the whole", "sham"].mended == 0
    assert found["see the whole", "action"].advised
    assert found["see the whole", "action"].negative_flips == 0


def test_a_whole_photograph_without_anything_new_mends_nothing():
    errors = cropped(texture(N, 0), 0, 1, "e", beyond=0.4)
    reference = cropped(texture(R, 1) + 0.4, 0, 0, "r", beyond=1.0)
    found = {(one.action, one.arm): one for one in advise(of(bright), errors, reference, "occluded")}
    assert found["see the whole", "action"].mended == 0
    assert not any(one.advised for one in found.values())


def test_photographs_of_which_the_model_sees_everything_have_no_such_action():
    x = texture(N, 0)
    errors = pictures(x, 0, 1, "e", whole=torch.full_like(x, torch.nan))
    reference = pictures(texture(R, 1) + 0.4, 0, 0, "r")
    assert {one.action for one in advise(of(bright), errors, reference, "occluded")} <= {"crop to the content"}


def test_the_sham_of_the_whole_photograph_shows_the_crop_as_small_and_its_mirror_image_around():
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    images = pictures(x, 0, 1, "e", crop=torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]]))
    small = _smaller(images)
    assert torch.allclose(small[1], x[1], atol=1e-5)
    assert torch.allclose(small[0, :, 8:24, 8:24], torch.nn.functional.avg_pool2d(x[:1], 2)[0], atol=1e-5)
    assert torch.allclose(small[0, :, 8:24, 7], small[0, :, 8:24, 8], atol=1e-5)
