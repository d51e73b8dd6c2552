"""The method: which counterfactuals it makes, that what it reports is true, and what it refuses."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from tests.contract.nets import build
from tests.contract.nets import images as blobs
from tests.explain.counterfactuals.analytic import Constant, Linear, images
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import AccessError, InputError
from whywrong.core.input_spec import InputSpec
from whywrong.core.result import shown_as_rows
from whywrong.explain.counterfactuals import CounterfactualConfig, counterfactual, default_radius, smallest
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.explain.counterfactuals.result import CounterfactualBatch, CounterfactualResult
from whywrong.explain.counterfactuals.solvers.lmo import lp_norm
from whywrong.models.classifier import Classifier

QUICK = CounterfactualConfig(steps=10, trust=False)


def errors(batch: int = 5) -> tuple[nn.Module, Tensor, Tensor]:
    """Images that are wrong: their runner-up counts as true; the last one is right."""
    net, x = build("gap"), blobs(batch, seed=1)
    with torch.no_grad():
        order = net(x).argsort(1, descending=True)
    y = order[:, 1].clone()
    y[-1] = order[-1, 0]
    return net, x, y


def test_an_error_gets_one_into_the_true_class_and_one_deeper_into_the_wrong_one():
    net, x, y = errors()
    result = counterfactual(Classifier(net), x, y, config=QUICK)
    columns = result.columns()
    predicted = net(x).argmax(1)
    for row in range(4):
        assert columns["role"][row] == ["true", "wrong"]
        assert columns["target"][row] == [int(y[row]), int(predicted[row])]
    assert columns["role"][4] == ["runner_up", "true"]
    assert columns["target"][4][1] == int(y[4])


def test_what_it_reports_is_what_the_classifier_says_of_the_stored_pictures():
    net, x, y = errors()
    config = dataclasses.replace(QUICK, temperature=0.7, radii=(0.5, 2.0))
    entries = counterfactual(Classifier(net), x, y, config=config).entries
    with torch.no_grad():
        logits, stored = net(entries.z), net(entries.z_u8.float() / 255)
    probability = (logits / 0.7).softmax(1)
    pick = torch.arange(len(entries))
    torch.testing.assert_close(entries.probability_target_end, probability[pick, entries.target], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        entries.probability_target_u8, (stored / 0.7).softmax(1)[pick, entries.target], atol=1e-5, rtol=1e-4
    )
    assert torch.equal(entries.valid, logits.argmax(1) == entries.target)
    assert torch.equal(entries.valid_u8, stored.argmax(1) == entries.target)
    assert torch.equal(entries.predicted_end, logits.argmax(1))
    torch.testing.assert_close(entries.norm, lp_norm((entries.z - x[entries.row]).flatten(1), 1.5))
    assert bool((entries.norm <= entries.eps * (1 + 1e-6)).all())
    assert bool((entries.probability_target_end >= entries.probability_target_start - 1e-6).all())
    assert bool((entries.probability_true_start == entries.probability_true_start).all())


def test_a_larger_ball_is_never_worse_and_warm_starts_are_close():
    net, x, y = errors()
    config = dataclasses.replace(QUICK, steps=40, radii=(0.5, 2.0), gap_tolerance=0.0)
    cold = counterfactual(Classifier(net), x, y, config=config).entries
    small, large = cold.eps == 0.5, cold.eps == 2.0
    assert bool((cold.probability_target_end[large] >= cold.probability_target_end[small] - 1e-3).all())
    warm = counterfactual(Classifier(net), x, y, config=dataclasses.replace(config, warm=True)).entries
    assert torch.equal(warm.target, cold.target)
    assert torch.equal(warm.eps, cold.eps)
    torch.testing.assert_close(warm.probability_target_end, cold.probability_target_end, atol=0.03, rtol=0)


def test_the_smallest_one_is_valid_also_as_a_picture_and_never_farther_than_a_long_bisection_allows():
    net, x, y = errors(4)
    config = dataclasses.replace(QUICK, smallest=True)
    classifier = Classifier(net)
    result = counterfactual(classifier, x, y, config=config)
    assert int(result.forwards.sum()) == classifier.forwards
    entries = result.entries
    chosen = [i for i, role in enumerate(entries.role) if role == "smallest"]
    assert entries.row[chosen].tolist() == [0, 1, 2, 3]
    assert bool(entries.valid[chosen].all())
    assert bool(entries.valid_u8[chosen].all())
    torch.testing.assert_close(entries.eps[chosen], entries.norm[chosen], rtol=1e-6, atol=1e-9)
    with classifier:
        long = smallest(
            ClassObjective(classifier, "margin"),
            x,
            entries.target[chosen],
            p=1.5,
            eps=default_radius(1.5, x[0].numel()),
            solves=10,
            steps=30,
        )
    assert bool((entries.norm[chosen] <= 1.1 * long.radius).all())


def test_the_smallest_change_of_a_linear_model_is_its_distance_to_the_boundary():
    net, x = Linear(), images(4)
    classifier = Classifier(net)
    target = (net(x).argmax(1) == 0).long()
    with classifier:
        found = smallest(ClassObjective(classifier), x, target, p=2, eps=0.01)
    distance = net(x).diff(dim=1)[:, 0].abs().detach() / net.w.detach().norm()
    assert bool(found.found.all())
    torch.testing.assert_close(found.radius.float(), distance, rtol=0.02, atol=0)


def test_asked_targets_and_empty_places():
    net, x, y = errors(3)
    targets = torch.tensor([[0, 1], [2, -1], [-1, -1]])
    result = counterfactual(Classifier(net), x, y, config=QUICK, targets=targets)
    assert result.columns()["target"] == [[0, 1], [2], []]
    assert result.to_arrow().num_rows == 3


def test_changes_outside_a_region_are_none_and_the_share_on_the_object_is_reported():
    net, x, y = errors()
    region = torch.zeros(5, 16, 16, dtype=torch.bool)
    region[:, 4:10, 4:10] = True
    masks = region.clone()
    masks[0] = False
    entries = counterfactual(Classifier(net), x, y, config=QUICK, region=region, masks=masks).entries
    changed = (entries.z != x[entries.row]).any(1)
    assert not bool((changed & ~region[entries.row]).any())
    assert bool(entries.object_share[entries.row == 0].isnan().all())
    torch.testing.assert_close(entries.object_share[entries.row > 0], torch.ones(8))


def test_default_radii_keep_the_mean_change_of_a_pixel():
    assert default_radius(1.5, 150528) == pytest.approx(75)
    assert default_radius(1.5, 3072) == pytest.approx(5.6, abs=0.01)
    assert default_radius(2, 3072) == pytest.approx(2.57, abs=0.01)
    assert default_radius(1, 3072) == pytest.approx(12.2, abs=0.1)
    assert default_radius(math.inf, 12) == pytest.approx(8 / 255)


def test_pixels_just_outside_the_range_are_clamped_in_a_copy():
    net, x, y = errors(3)
    x[0, 0, 0, 0], x[1, 0, 0, 0] = 1 + 5e-7, 1.01
    given = x.clone()
    result = counterfactual(Classifier(net), x, y, config=QUICK)
    assert torch.equal(x, given)
    assert result.status == ["ok", "bad_input", "ok"]
    assert float(result.entries.z.max()) <= 1


def test_a_model_that_looks_at_nothing_is_refused():
    result = counterfactual(Classifier(Constant()), images(2), torch.tensor([0, 1]), config=QUICK)
    assert result.status == ["refused", "refused"]
    assert all("gradient is zero" in str(reason) for reason in result.reason)
    assert all(bool(values.isnan().all()) for values in result.maps().values())


def test_a_model_that_draws_lots_is_refused():
    class Lots(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Linear()
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.net(x) * (1 + self.calls % 3)

    result = counterfactual(Classifier(Lots()), images(3), torch.tensor([0, 1, 0]), config=QUICK)
    assert set(result.status) == {"refused"}
    assert "different answers" in str(result.reason[0])


def test_a_ball_that_holds_every_image_is_noted():
    result = counterfactual(
        Classifier(Linear()), images(2), torch.tensor([0, 1]), config=dataclasses.replace(QUICK, radii=(1000.0,))
    )
    assert result.status == ["ok", "ok"]
    assert "only the pixel range" in str(result.reason[0])


def test_trust_is_asked_and_paid_for():
    net, x, y = errors()
    classifier = Classifier(net)
    result = counterfactual(classifier, x, y, config=dataclasses.replace(QUICK, trust=True))
    assert set(result.entries.trust) <= {"adversarial", "undecided"}  # nothing is semantic without judges
    assert all(result.entries.trust_reason)
    assert int(result.forwards.sum()) == classifier.forwards
    assert int(result.backwards.sum()) == classifier.backwards


def test_the_view_shows_exactly_the_lists_as_rows():
    assert shown_as_rows(CounterfactualResult.schema()) == [one.name for one in CounterfactualBatch.declared()]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": 0.9}, "convex"),
        ({"radii": (0.0,)}, "positive"),
        ({"radii": (math.nan,)}, "positive"),
        ({"p": math.inf, "radii": (8.0,)}, "8/255"),
        ({"solver": "apgd"}, "p = 1, 2 and inf"),
        ({"objective": "probability"}, "objective"),
        ({"temperature": 0.0}, "temperature"),
        ({"steps": 0}, "steps"),
        ({"stop_conf": 2.0}, "stop_conf"),
        ({"gap_tolerance": -1.0}, "gap_tolerance"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        CounterfactualConfig(**settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": torch.tensor([0, 1, 9])}, "target 9"),
        ({"targets": torch.tensor([0, 1, -2])}, "target -2"),
        ({"targets": torch.tensor([0.0, 1.0, 2.0])}, "targets must be int64"),
        ({"targets": torch.tensor([0, 1])}, "targets must be"),
        ({"masks": torch.ones(3, 16, 16)}, "masks must be bool"),
        ({"region": torch.ones(3, 4, 4, dtype=torch.bool)}, "region must be bool"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    net, x, y = errors(3)
    with pytest.raises(InputError, match=message):
        counterfactual(Classifier(net), x, y, config=QUICK, **options)


def test_channels_last_are_refused_where_the_input_is_known():
    net, x, y = errors(3)
    known = Classifier(net, preprocess=InputSpec(channels=3, height=16, width=16))
    with pytest.raises(InputError, match="takes 3 channels"):
        counterfactual(known, x.permute(0, 2, 3, 1), y, config=QUICK)


def test_scores_alone_are_not_enough():
    net, x, y = errors(3)
    with pytest.raises(AccessError, match="GRADIENTS"):
        counterfactual(Classifier(net, access=Access.SCORES), x, y)


def test_rows_outside_of_detail_cost_nothing_and_say_why():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 4 * 4, 3))
    x = torch.rand(3, 3, 4, 4)
    y = net(x).argsort(1, descending=True)[:, 1]
    detail = torch.tensor([True, False, True])
    some = counterfactual(Classifier(net), x, y, detail=detail, config=CounterfactualConfig(steps=3))
    every = counterfactual(Classifier(net), x, y, config=CounterfactualConfig(steps=3))
    assert some.status == ["ok", "skipped", "ok"]
    assert "only some errors" in str(some.reason[1])
    assert (int(some.forwards[1]), int(some.backwards[1])) == (0, 0)
    assert [some.columns()["target"][row] for row in range(3)] == [
        every.columns()["target"][0],
        [],
        every.columns()["target"][2],
    ]
    with pytest.raises(InputError, match="detail must be bool"):
        counterfactual(Classifier(net), x, y, detail=torch.ones(3))
