"""Effects of cells against closed forms of nets whose scores are known."""

from __future__ import annotations

import pytest
import torch
from tests.explain.suppression.pairs_of import Halves, Linear, Opposed, Shifted, ends_of, noise, pairs_of
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.explain.suppression.cells import cell_sizes, grid_cells, mask_cells
from whywrong.explain.suppression.effects import (
    Pairs,
    composite_logits,
    left_out,
    path_effects,
    path_maps,
    shapley_effects,
)
from whywrong.explain.suppression.measures import (
    ABSENT,
    BALANCED,
    NEUTRAL,
    PROMOTION,
    SUPPRESSION,
    Gauge,
    effect_types,
    looks_like_probabilities,
    promotion_ratio,
    threshold,
    type_shares,
)
from whywrong.models.classifier import Classifier

A, B = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3])


def effects(net: torch.nn.Module, pairs: Pairs, mode: str, gauge: Gauge = "raw") -> tuple[Tensor, Tensor]:
    """Suppression and promotion (B, G) of every cell."""
    classifier = Classifier(net)
    if mode in ("remove", "insert"):
        found = left_out(classifier, pairs, ends_of(classifier, pairs), mode).under(gauge)  # type: ignore[arg-type]
    elif mode == "path":
        found = path_effects(path_maps(classifier, pairs, gauge, 16), pairs)
    else:
        found = shapley_effects(classifier, pairs, gauge, torch.arange(len(pairs)), 4)
    return -found[..., 0], found[..., 1]


@pytest.mark.parametrize("mode", ["remove", "insert", "path", "shapley"])
def test_every_mode_gives_the_weights_of_a_linear_model(mode: str):
    net = Linear()
    pairs = pairs_of(noise(3, 0), noise(3, 1), A, B)
    s, g = effects(net, pairs, mode)
    step = net.w.detach()[:, None] * (pairs.alt - pairs.ref)  # (K, B, C, H, W)
    for row in range(3):
        for cell in range(pairs.count):
            inside = pairs.cells[row] == cell
            assert float(s[row, cell]) == pytest.approx(-float(step[A[row], row][:, inside].sum()), abs=1e-5)
            assert float(g[row, cell]) == pytest.approx(float(step[B[row], row][:, inside].sum()), abs=1e-5)
    with torch.no_grad():
        before, after = net(pairs.ref), net(pairs.alt)
    rows = torch.arange(3)
    torch.testing.assert_close(s.sum(1).float(), (before - after)[rows, A], atol=1e-5, rtol=0)
    torch.testing.assert_close(g.sum(1).float(), (after - before)[rows, B], atol=1e-5, rtol=0)


def test_a_class_that_reads_one_half_is_affected_in_that_half_alone():
    ref, alt = 0.5 * noise(2, 0), 0.5 + 0.5 * noise(2, 1)
    a, b = torch.tensor([0, 0]), torch.tensor([1, 1])
    s, g = effects(Halves(), pairs_of(ref, alt, a, b), "remove")
    eps = torch.tensor(1e-3, dtype=torch.float64)
    kind = effect_types(s, g, eps).view(2, 4, 4)
    assert (kind[:, :, :2] == SUPPRESSION).all()
    assert (kind[:, :, 2:] == PROMOTION).all()
    ratio = promotion_ratio(s, g, eps)
    torch.testing.assert_close(ratio.view(2, 4, 4)[:, :, :2], (eps / s).log2().view(2, 4, 4)[:, :, :2])
    back_s, back_g = effects(Halves(), pairs_of(alt, ref, b, a), "insert")  # classes and images exchanged
    torch.testing.assert_close(promotion_ratio(back_s, back_g, eps), -ratio)


def test_opposed_scores_are_balanced_everywhere():
    pairs = pairs_of(noise(2, 0), noise(2, 1), torch.tensor([0, 0]), torch.tensor([1, 1]))
    s, g = effects(Opposed(), pairs, "remove")
    eps = torch.tensor(1e-3, dtype=torch.float64)
    kind = effect_types(s, g, eps)
    assert set(kind.unique().tolist()) <= {BALANCED, NEUTRAL}
    assert (promotion_ratio(s, g, eps).abs() < 1e-4).all()


def test_the_sum_of_both_effects_does_not_depend_on_what_is_added_to_all_scores():
    found = {}
    for amount in (0.0, 7.0):
        for gauge in ("raw", "centred", "logprob"):
            pairs = pairs_of(noise(3, 0), noise(3, 1), A, B)
            found[amount, gauge] = effects(Shifted(amount), pairs, "remove", gauge)  # type: ignore[arg-type]
    both = {key: s + g for key, (s, g) in found.items()}
    for value in both.values():
        torch.testing.assert_close(value, both[0.0, "raw"], atol=1e-4, rtol=0)
    eps = torch.tensor(1e-3, dtype=torch.float64)
    ratio = {key: promotion_ratio(s, g, eps) for key, (s, g) in found.items()}
    assert (ratio[7.0, "raw"] - ratio[0.0, "raw"]).abs().max() > 0.1
    for gauge in ("centred", "logprob"):
        torch.testing.assert_close(found[7.0, gauge][0], found[0.0, gauge][0], atol=1e-4, rtol=0)


def test_paths_and_shapley_values_add_up_on_a_curved_net():
    pairs = pairs_of(noise(3, 0), noise(3, 1), A, B)
    classifier = Classifier(Shifted(0.0))
    ends = ends_of(classifier, pairs).under("raw")
    whole = ends[:, 1] - ends[:, 0]
    exact = shapley_effects(classifier, pairs, "raw", torch.arange(3), 2)
    torch.testing.assert_close(exact.sum(1), whole, atol=1e-5, rtol=0)
    along = path_effects(path_maps(classifier, pairs, "raw", 16), pairs)
    torch.testing.assert_close(along.sum(1), whole, atol=1e-5, rtol=0)


def test_antithetic_permutations_reverse_each_other():
    """Two permutations give exact Shapley values if only neighbours in pairs interact."""
    pairs = pairs_of(noise(2, 0, 4), noise(2, 1, 4), torch.tensor([0, 0]), torch.tensor([1, 1]), grid=2)

    class Product(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            cells = torch.nn.functional.avg_pool2d(x.mean(1, keepdim=True), 2).flatten(1)
            value = cells[:, 0] * cells[:, 1] + cells[:, 2] * cells[:, 3]
            return torch.stack([value, -value], 1)

    found = shapley_effects(Classifier(Product()), pairs, "raw", torch.arange(2), 2)[..., 0]
    low, high = (torch.nn.functional.avg_pool2d(x.mean(1, keepdim=True), 2).flatten(1) for x in (pairs.ref, pairs.alt))
    step, mean = high - low, (high + low) / 2
    expected = step * mean[:, [1, 0, 3, 2]]
    torch.testing.assert_close(found.float(), expected, atol=1e-5, rtol=0)


def test_a_cell_without_pixels_has_no_effect_and_no_type():
    pairs = pairs_of(noise(1, 0), noise(1, 1), A[:1], B[:1], grid=2)
    gap = Pairs(ref=pairs.ref, alt=pairs.alt, a=pairs.a, b=pairs.b, cells=pairs.cells * 2, count=7,
                probabilities=pairs.probabilities)  # fmt: skip
    for mode in ("remove", "path", "shapley"):
        s, g = effects(Linear(), gap, mode)
        assert s[0].isnan().tolist() == [False, True, False, True, False, True, False]
        kind = effect_types(s, g, torch.tensor(1e-3, dtype=torch.float64))
        assert (kind[0, 1::2] == ABSENT).all()
    shares = type_shares(s, g, torch.tensor([1e-3], dtype=torch.float64))
    assert float(shares.plain.sum()) == pytest.approx(1.0)


def test_composites_show_the_change_in_chosen_cells():
    pairs = pairs_of(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8), A[:1], B[:1], grid=2)
    shown = torch.tensor([[True, False, False, True]])
    logits = composite_logits(Classifier(Halves()), pairs, shown, torch.tensor([0]))
    assert logits.tolist() == [[-48.0, 48.0, 0.0]]


def test_shares_and_weights_follow_the_types():
    eps = torch.tensor([1e-3], dtype=torch.float64)
    s = torch.tensor([[4.0, 1.0, 0.0, 3.0, -2.0]], dtype=torch.float64)
    g = torch.tensor([[1.0, 4.0, 0.0, 3.0, 0.0]], dtype=torch.float64)
    shares = type_shares(s, g, eps)
    assert shares.plain[0].tolist() == pytest.approx([0.2, 0.2, 0.2, 0.4])
    assert shares.weighted[0].tolist() == pytest.approx([5 / 16, 5 / 16, 6 / 16])
    assert float(shares.counter) == pytest.approx(0.2)
    nothing = type_shares(torch.zeros(1, 3).double(), torch.zeros(1, 3).double(), eps)
    assert nothing.plain[0].tolist() == [0, 0, 0, 1]
    assert nothing.weighted.isnan().all()


def test_the_threshold_follows_an_unusual_spread():
    logits = torch.tensor([[0.0, 5.0], [0.0, 0.01], [0.0, 5000.0]])
    assert threshold(logits, None).tolist() == pytest.approx([1e-3, 1e-5, 5.0])
    assert threshold(logits, 0.2).tolist() == pytest.approx([0.2] * 3)


def test_probabilities_are_told_from_logits():
    scores = torch.tensor([[0.2, 0.8], [0.5, 0.6], [2.0, -1.0]])
    assert looks_like_probabilities(scores).tolist() == [True, False, False]


def test_cells_of_a_grid_differ_by_at_most_one_row_and_column():
    cells = grid_cells(3, 8, 7)
    sizes = [[int((cells == 3 * i + j).sum()) for j in range(3)] for i in range(3)]
    assert sorted({n for line in sizes for n in line}) == [4, 6, 9]
    assert cells[0, 0] == 0
    assert cells[-1, -1] == 8
    assert int(cell_sizes(cells[None], 9).sum()) == 56


@pytest.mark.parametrize("grid", [0, 9, True, 2.0])
def test_a_grid_larger_than_the_image_is_refused(grid):
    with pytest.raises(InputError, match=r"grid must be in 1\.\.8 cells a side"):
        grid_cells(grid, 8, 8)


def test_masks_must_be_disjoint_and_cover_the_image():
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :2], masks[1, 2:] = True, True
    assert mask_cells(masks, 3, 4, 4).tolist() == [[[0] * 4] * 2 + [[1] * 4] * 2] * 3
    masks[1, 1, 3] = True
    with pytest.raises(InputError, match=r"pixel \(1, 3\) of row 0 lies in 2 masks"):
        mask_cells(masks, 3, 4, 4)
    masks[:, 1, 3] = False
    with pytest.raises(InputError, match=r"pixel \(1, 3\) of row 0 lies in no mask"):
        mask_cells(masks, 3, 4, 4)
    with pytest.raises(InputError, match="masks must cover 3 images of 5 x 4 pixels"):
        mask_cells(masks, 3, 5, 4)
    with pytest.raises(InputError, match="masks must be bool"):
        mask_cells(masks.float(), 3, 4, 4)
