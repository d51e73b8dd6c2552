"""The method on errors and the function on pairs: pairs, controls, checks and bad input."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.contract.nets import build, images
from tests.explain.suppression.pairs_of import Linear, Shifted, noise
from torch import Tensor, nn

from whywrong.core.errors import AccessError, InputError
from whywrong.core.status import Status
from whywrong.explain.suppression import SuppressionConfig, promotion_suppression, suppression
from whywrong.explain.suppression.controls import with_random_signs
from whywrong.explain.suppression.effects import change_norms
from whywrong.explain.suppression.measures import NEUTRAL
from whywrong.models.classifier import Classifier

FAST = SuppressionConfig(grid=2, control=False, maps=False)


def runner_up(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x).argsort(1, descending=True)[:, 1]


def test_a_known_fix_is_not_searched_again_and_gives_the_same_result():
    net, x = build("gap"), (images(3, seed=1) * 255).round() / 255
    y = runner_up(net, x)
    searched = suppression(Classifier(net), x, y, config=FAST)
    from whywrong.attacks.inverted import invert

    fixes = invert(Classifier(net), x, y).fix_u8.float() / 255
    known = suppression(Classifier(net), x, y, fixes=fixes, config=FAST)
    assert known.backwards.tolist() == [0, 0, 0]
    assert (searched.backwards > 0).all()
    torch.testing.assert_close(known.s, searched.s)
    fixes[1] = x[1]  # not predicted as the label
    fixes[2] = torch.nan
    mixed = suppression(Classifier(net), x, y, fixes=fixes, config=FAST)
    assert (mixed.backwards > 0).tolist() == [False, True, True]
    torch.testing.assert_close(mixed.s, searched.s)
    with pytest.raises(InputError, match="fixes must have the shape"):
        suppression(Classifier(net), x, y, fixes=fixes[:, :, :8], config=FAST)


def test_totals_are_the_differences_of_the_scores_between_the_error_and_its_fix():
    net, x = build("flat"), images(3, seed=1)
    y = runner_up(net, x)
    with torch.no_grad():
        t = net(x).argmax(1)
    fixes = torch.cat([x[:2], x[2:]])
    found = suppression(Classifier(net), x, y, config=FAST)
    assert found.flipped.all()
    assert found.suppressed.equal(y)
    assert found.promoted.equal(t)
    margin = found.shares.total_suppression + found.shares.total_promotion
    with torch.no_grad():
        before = (net(fixes).gather(1, t[:, None]) - net(fixes).gather(1, y[:, None]))[:, 0]
    assert (margin >= before.double() - 1e-5).all()  # the fix lies beyond the boundary, so the whole margin is made up


def test_two_images_are_compared_with_the_classes_given():
    net = Linear()
    ref, alt = noise(2, 0), noise(2, 1)
    a, b = torch.tensor([0, 1]), torch.tensor([2, 3])
    found = promotion_suppression(Classifier(net), ref, alt, a, b, config=SuppressionConfig(grid=2))
    with torch.no_grad():
        change = net(alt) - net(ref)
    rows = torch.arange(2)
    torch.testing.assert_close(found.shares.total_suppression.float(), -change[rows, a], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.s.sum((1, 2)), -change[rows, a], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.g.sum((1, 2)), change[rows, b], atol=1e-5, rtol=0)
    assert found.forwards.tolist() == [2 + 4 + 12 + 5] * 2
    assert found.psr.shape == found.types.shape == found.strengths.shape == (2, 2, 2)
    chosen = promotion_suppression(Classifier(net), ref, alt, a, config=FAST)
    with torch.no_grad():
        top = net(alt).argsort(1, descending=True)
    expected = torch.where(top[:, 0] == a, top[:, 1], top[:, 0])
    assert chosen.promoted.equal(expected)


def test_every_mode_agrees_on_a_linear_model_and_states_its_residual():
    ref, alt = noise(2, 0), noise(2, 1)
    a, b = torch.tensor([0, 1]), torch.tensor([2, 3])
    found = {}
    for mode in ("remove", "insert", "path", "shapley"):
        config = replace(FAST, mode=mode)  # type: ignore[arg-type]
        found[mode] = promotion_suppression(Classifier(Linear()), ref, alt, a, b, config=config)
        torch.testing.assert_close(found[mode].s, found["remove"].s, atol=1e-5, rtol=0)
    assert found["remove"].residual.isnan().all()
    assert (found["path"].residual < 1e-5).all()
    assert found["path"].backwards.tolist() == [32, 32]


def test_effects_that_do_not_add_up_are_refused():
    class Step(nn.Module):
        """A jump between the nodes, which no gradient tells of."""

        def forward(self, x: Tensor) -> Tensor:
            value = x.mean((1, 2, 3))
            jump = 5.0 * (value > 0.5).float()
            return torch.stack([-value - jump, value + jump], 1)

    ref, alt = torch.full((1, 3, 8, 8), 0.2), torch.full((1, 3, 8, 8), 0.8)
    labels = torch.tensor([0]), torch.tensor([1])
    found = promotion_suppression(Classifier(Step()), ref, alt, *labels, config=replace(FAST, mode="path"))
    assert found.status == [Status.REFUSED]
    assert "do not add up" in str(found.reason[0])
    assert found.s.isnan().all()
    assert found.shares.neutral.isnan().all()
    assert float(found.residual) > 0.5


def test_a_change_of_zero_is_neutral_everywhere_and_said_so():
    x = noise(1, 0)
    found = promotion_suppression(Classifier(Linear()), x, x, torch.tensor([0]), torch.tensor([1]), config=FAST)
    assert found.status == [Status.OK]
    assert found.reason == ["the two images are equal"]
    assert (found.types == NEUTRAL).all()
    assert found.image_type == ["neutral"]


def test_a_pair_that_does_not_flip_is_marked():
    net = Linear()
    x = noise(2, 0)
    with torch.no_grad():
        top = net(x).argmax(1)
    found = promotion_suppression(Classifier(net), x, (x + 1e-4).clamp(0, 1), top, config=FAST)
    assert found.flipped.tolist() == [False, False]
    assert (found.promoted != top).all()


def test_probabilities_are_read_as_their_logarithm():
    net = nn.Sequential(Shifted(0.0), nn.Softmax(1))
    ref, alt = noise(2, 0), noise(2, 1)
    labels = torch.tensor([0, 1]), torch.tensor([2, 3])
    found = promotion_suppression(Classifier(net), ref, alt, *labels, config=FAST)
    plain = promotion_suppression(
        Classifier(Shifted(0.0)), ref, alt, *labels, config=replace(FAST, gauge="logprob")
    )  # fmt: skip
    torch.testing.assert_close(found.s, plain.s, atol=1e-5, rtol=0)
    assert found.reason == ["the scores are probabilities; their logarithm was used"] * 2


def test_masks_and_superpixels_are_cells_too():
    ref, alt = noise(2, 0), noise(2, 1)
    labels = torch.tensor([0, 1]), torch.tensor([2, 3])
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, :, :3], masks[1, :, 3:] = True, True
    found = promotion_suppression(Classifier(Linear()), ref, alt, *labels, masks=masks, config=FAST)
    assert found.cells == "masks"
    assert found.count.tolist() == [2, 2]
    assert found.s.shape == (2, 8, 8)
    assert found.s[0, 0].unique().numel() == 2
    config = replace(FAST, cells="superpixels", superpixels=4)
    pieces = promotion_suppression(Classifier(Linear()), ref, alt, *labels, config=config)
    assert (pieces.count >= 2).all()
    torch.testing.assert_close(
        pieces.sum_promotion.float(), pieces.shares.total_promotion.float(), atol=1e-4, rtol=0
    )  # fmt: skip


def test_random_signs_keep_the_norm_of_every_cell_and_the_range():
    from tests.explain.suppression.pairs_of import pairs_of

    ref, alt = noise(3, 0), noise(3, 1)
    pairs = pairs_of(ref, alt, torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3]))
    signed = with_random_signs(pairs, torch.arange(3))
    assert float(signed.ref.min()) >= 0
    assert float(signed.ref.max()) <= 1
    torch.testing.assert_close(change_norms(signed), change_norms(pairs), atol=1e-5, rtol=0)
    assert ((signed.ref - ref).abs() > 1e-6).float().mean() > 0.1


def test_maps_of_a_pooled_net_locate_the_change_exactly():
    net = build("gap")
    ref, alt = images(2, seed=1), images(2, seed=2)
    labels = torch.tensor([0, 1]), torch.tensor([2, 3])
    config = SuppressionConfig(grid=2, control=False)
    found = promotion_suppression(Classifier(net), ref, alt, *labels, config=config)
    assert (found.cam_kind, found.cam_exact) == ("cam", True)
    s, g = found.location
    torch.testing.assert_close(s.sum((1, 2)).double(), found.shares.total_suppression, atol=1e-4, rtol=0)
    torch.testing.assert_close(g.sum((1, 2)).double(), found.shares.total_promotion, atol=1e-4, rtol=0)
    assert found.class_maps.shape == (2, 4, 4, 4)


def test_exchanging_classes_in_the_head_exchanges_the_effects():
    net = Linear()
    ref, alt = noise(2, 0), noise(2, 1)
    a, b = torch.tensor([0, 1]), torch.tensor([2, 3])
    found = promotion_suppression(Classifier(net), ref, alt, a, b, config=FAST)
    order = torch.tensor([3, 2, 1, 0])
    with torch.no_grad():
        net.w.copy_(net.w[order])
        net.b.copy_(net.b[order])
    moved = promotion_suppression(Classifier(net), ref, alt, 3 - a, 3 - b, config=FAST)
    torch.testing.assert_close(found.s, moved.s)
    torch.testing.assert_close(found.g, moved.g)


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("x_ref and x_alt must be aligned", lambda p: {**p, "x_ref": p["x_ref"][:, :, :4]}),
        ("x_ref: pixels of row 1", lambda p: {**p, "x_ref": p["x_ref"].index_fill(0, torch.tensor([1]), torch.nan)}),
        ("x_alt: images must be floating point", lambda p: {**p, "x_alt": (p["x_alt"] * 255).byte()}),
        ("a and b must differ, both are class 1 in row 1", lambda p: {**p, "b": torch.tensor([2, 1])}),
        ("class b 9 of row 0 is outside 0..3", lambda p: {**p, "b": torch.tensor([9, 3])}),
        ("masks must cover 2 images", lambda p: {**p, "masks": torch.ones(1, 4, 4, dtype=torch.bool)}),
    ],
)
def test_bad_pairs_are_refused_by_name_and_row(what, spoil):
    classifier = Classifier(Linear())
    classifier.logits(noise(1, 0))
    given = {"x_ref": noise(2, 0), "x_alt": noise(2, 1), "a": torch.tensor([0, 1]), "b": torch.tensor([2, 3])}
    with pytest.raises(InputError, match=what.replace(".", r"\.")):
        promotion_suppression(classifier, **spoil(given), config=FAST)


def test_a_grid_larger_than_the_image_and_unknown_settings_are_refused():
    pair = noise(1, 0), noise(1, 1), torch.tensor([0]), torch.tensor([1])
    with pytest.raises(InputError, match="grid must be in"):
        promotion_suppression(Classifier(Linear()), *pair, config=SuppressionConfig(grid=9))
    for name, value in (("mode", "drop"), ("gauge", "odd"), ("grid", 1), ("eps", 0.0), ("beyond", -1), ("nodes", 0)):
        with pytest.raises(InputError, match=name):
            SuppressionConfig(**{name: value})
    from whywrong.core.access import Access

    blind = Classifier(Linear(), access=Access.SCORES)
    assert promotion_suppression(blind, *pair, config=FAST).cam_kind is None
    with pytest.raises(AccessError, match="GRADIENTS"):
        promotion_suppression(blind, *pair, config=replace(FAST, mode="path"))
