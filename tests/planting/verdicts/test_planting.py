"""Errors planted for verdicts: each is verified, balanced, deterministic, and knows its photograph."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from whywrong.api import open_data
from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier
from whywrong.models.loading.zoo import load_classifier
from whywrong.planting.batch import Candidate
from whywrong.planting.verdicts.doubles import plant_doubles
from whywrong.planting.verdicts.kinds import Kind, find_kinds
from whywrong.planting.verdicts.plan import VerdictPlan, shares
from whywrong.planting.verdicts.planting import choose_reference, plant_errors
from whywrong.planting.verdicts.single import plant_cause
from whywrong.planting.verdicts.subjects import load_subjects
from whywrong.runs.labelled import LabelledSource

CHEAP = {
    "label": ("random", "near", "two"),
    "occluded": ("covered", "cut", "shrunk"),
    "corruption": ("fog", "contrast"),
}


@pytest.fixture(scope="module")
def kinds(net, subjects):
    found, refused = find_kinds(net, subjects)
    assert refused == {
        "confusion": "needs pictures that whywrong draws",
        "shift": "needs pictures that whywrong draws",
        "transfer": "needs a second network",
    }
    return found


@pytest.fixture(scope="module")
def planted(net, subjects):
    return plant_errors(net, subjects, VerdictPlan(per_cause=6))


def unchanged(batch, severity):
    return Candidate(batch.x, batch.y)


def predict(net, x):
    return net.predict(x.float() / 255)


def test_every_error_is_one_and_its_image_was_as_stated(net, subjects, planted):
    errors, _ = planted
    assert set(errors.role) == {"plant", "double", "bystander", "natural"}
    assert torch.equal(predict(net, errors.x), errors.predicted)
    assert (errors.predicted != errors.label).all()
    before = predict(net, subjects.x[errors.row])
    for row, role in enumerate(errors.role):
        natural = role in ("bystander", "natural")
        assert (errors.truth[row] == "ordinary") == natural
        assert before[row] == (errors.predicted[row] if natural else errors.true[row])
        assert (before[row] != errors.label[row]) == (
            natural or (errors.truth[row] == "label" and errors.kind[row] != "two")
        )
        assert bool((errors.x[row] != subjects.x[errors.row[row]]).any()) == (
            role != "natural" and errors.kind[row] not in ("random", "near")
        )
        assert errors.sources[row] == subjects.sources[errors.row[row]]
        assert errors.half[row] == subjects.half[errors.row[row]]


def test_shares_of_bystanders_doubles_and_natural_errors(planted):
    errors, report = planted
    roles = Counter(errors.role)
    assert roles["bystander"] >= 0.15 * len(errors)
    assert roles["double"] >= 0.10 * len(errors)
    assert 0 < roles["natural"] <= 0.25 * len(errors)
    assert {report.planted[cause] for cause in ("label", "corruption", "adversarial", "spurious", "occluded")} == {6}
    for plants, natural in ((50, 7), (250, 43), (300, 1000)):
        kept, doubles, bystanders = shares(plants, natural)
        whole = plants + kept + doubles + bystanders
        assert kept <= natural
        assert kept <= 0.25 * whole
        assert doubles >= 0.10 * whole
        assert bystanders >= 0.15 * whole


def test_kinds_halves_margins_and_strengths_are_balanced(net, subjects, kinds):
    some = [kind for kind in kinds if kind.name in ("covered", "cut")]
    errors = plant_cause(net, subjects, some, count=24, tries=10, seed=3)
    assert Counter(errors.kind) == {"covered": 12, "cut": 12}
    assert Counter(errors.half.tolist()) == {0: 12, 1: 12}
    assert int(errors.hard.sum()) == 12
    assert 8 <= int(errors.above.sum()) <= 12  # those of the highest severity have none above
    assert len(set(errors.sources)) == 24
    raised = errors.at(errors.above.nonzero().flatten())
    assert int(raised.severity.min()) >= 2


def test_what_a_kind_cannot_give_is_shared_out_evenly(net, subjects, kinds):
    some = [kind for kind in kinds if kind.name in ("covered", "cut")]
    idle = Kind("occluded", "idle", unchanged, unchanged, graded=True)
    errors = plant_cause(net, subjects, [*some, idle], count=9, tries=6, seed=0)
    counts = Counter(errors.kind)
    assert set(counts) == {"covered", "cut"}
    assert sorted(counts.values()) == [4, 5]


def test_the_same_seed_plants_the_same_errors(net, subjects, kinds):
    some = [kind for kind in kinds if kind.name in CHEAP["occluded"]]
    first, again, other = (plant_cause(net, subjects, some, count=6, tries=6, seed=seed) for seed in (1, 1, 2))
    for field in fields(first):
        a, b = getattr(first, field.name), getattr(again, field.name)
        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b
    assert first.sources != other.sources


def test_doubles_need_what_they_state(net, subjects, kinds):
    some = [kind for kind in kinds if kind.name in (*CHEAP["occluded"], *CHEAP["corruption"], "random")]
    errors = plant_doubles(net, subjects, some, count=8, tries=10, seed=0)
    assert {"both", "either"} <= set(errors.needs)
    assert len(set(errors.sources)) == len(errors)
    named = {kind.name: kind for kind in some}
    for row, needs in enumerate(errors.needs):
        assert (errors.truth[row], errors.second[row]) in (
            ("corruption", "occluded"), ("label", "corruption"), ("label", "occluded"),
        )  # fmt: skip
        _, second = errors.kind[row].split("+")
        batch = subjects.batch(net, errors.row[row : row + 1], 0, "doubles")
        alone = named[second].apply(batch, int(errors.severity[row])).x
        right = bool(net.predict((alone * 255).round() / 255) == errors.true[row])
        assert right == (needs == "both")


def test_cues_are_jittered_and_followed_on_other_images(net, subjects, kinds):
    mark = next(kind for kind in kinds if kind.name == "mark-1")
    rows = subjects.shuffled(subjects.right(), 9, "fresh")[:40]
    batch = subjects.batch(net, rows, 0, "fresh")
    candidate = mark.apply(batch, 1)
    target = int(candidate.must.max())
    open_to = batch.y != target
    assert (net.predict(candidate.x)[open_to] == target).float().mean() >= 0.4
    changed = (candidate.x != batch.x).any(1)
    area = changed.flatten(1).float().mean(1)
    assert len({round(float(one), 4) for one in area}) > 3  # sizes differ
    assert len({tuple(one.nonzero()[0].tolist()) for one in changed}) > 3  # places differ


def test_the_reference_is_right_and_covers_classes_and_halves(net, subjects, planted):
    rows = choose_reference(subjects, count=60, seed=0)
    assert torch.equal(predict(net, subjects.x[rows]), subjects.y[rows])
    assert Counter(subjects.half[rows].tolist()) == {0: 30, 1: 30}
    assert min(Counter(subjects.y[rows].tolist()).values()) >= 12
    errors, _ = planted
    used = frozenset(errors.sources)
    apart = choose_reference(subjects, count=60, seed=0, without=used)
    assert not used & {subjects.sources[row] for row in apart.tolist()}


def test_without_gradients_attacks_and_cues_are_left_out(subjects, net):
    scores = Classifier(net.model, classes=net.classes, preprocess=net.preprocess, access=Access.SCORES)
    found, refused = find_kinds(scores, subjects)
    assert not {kind.cause for kind in found} & {"adversarial"}
    assert "needs access to GRADIENTS" in refused["adversarial"]


def test_images_too_small_for_corruptions_get_none(net, subjects):
    small = replace(subjects, x=subjects.x[..., :28, :28])
    scores = Classifier(net.model, classes=net.classes, preprocess=net.preprocess, access=Access.SCORES)
    found, refused = find_kinds(scores, small)
    assert not [kind for kind in found if kind.cause == "corruption"]
    assert refused["corruption"] == "needs images of 32 to 512 pixels a side, these have 28 x 28"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"causes": ("fog",)}, 'no cause "fog"'),
        ({"per_cause": 0}, "per_cause must be at least 1, got 0"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_bad_plans_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        VerdictPlan(**settings)


def test_a_photograph_is_in_one_half_for_every_model_and_every_order(net, data, subjects):
    again = load_subjects(net, data, data.settle(net), limit=100)
    first = dict(zip(subjects.sources, subjects.half.tolist(), strict=True))
    assert {source: first[source] for source in again.sources} == dict(
        zip(again.sources, again.half.tolist(), strict=True)
    )
    assert 0.4 < subjects.half.float().mean() < 0.6


def test_two_objects_come_from_one_half(net, subjects, kinds):
    two = [kind for kind in kinds if kind.name == "two"]
    errors = plant_cause(net, subjects, two, count=8, tries=10, seed=0)
    x, width = subjects.x.float(), subjects.x.shape[-1]
    for row in range(len(errors)):
        share = (0.35, 0.45, 0.55, 0.65, 0.75)[int(errors.severity[row]) - 1]
        cut = round(width * (1 - share))
        start = (width - (width - cut)) // 2
        partner = (x[..., start : start + width - cut] - errors.x[row, ..., cut:]).abs().flatten(1).sum(1).argmin()
        assert subjects.half[partner] == errors.half[row]
        assert int(subjects.y[partner]) == int(errors.predicted[row])


@pytest.mark.slow
def test_drawn_pictures_get_more_than_two_pairs_of_confused_classes():
    net = load_classifier("planted:cnn", batch_size=64)
    source = LabelledSource(open_data("planted:test"))
    drawn = load_subjects(net, source, source.settle(net), limit=500)
    found, refused = find_kinds(net, drawn)
    assert {"mark", "tint", "weave"} <= set(refused)
    confusion = [kind for kind in found if kind.cause == "confusion"]
    errors = plant_cause(net, drawn, confusion, count=24, tries=8, seed=0)
    pairs = set(zip(errors.true.tolist(), errors.predicted.tolist(), strict=True))
    assert len(pairs) > 4
    assert set(errors.kind) == {"blend", "morph"}
