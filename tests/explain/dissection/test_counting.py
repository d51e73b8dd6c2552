"""Thresholds, overlap and the permutation null, against values that are known analytically."""

from __future__ import annotations

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.explain.dissection.counting import active_maps, count_overlap, overlap, reachable
from whywrong.explain.dissection.null import permutation_null
from whywrong.explain.dissection.thresholds import TopValues, find_thresholds, merge_top, top_values, values_kept

Q = 0.005


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def everything(masks: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(masks), masks.shape[2], dtype=torch.bool)


def test_merged_top_values_give_the_quantile_of_all_positions() -> None:
    x = torch.randn(40, 7, 5, 5, generator=gen())
    kept = values_kept(Q, 40 * 25, 7)
    parts = [top_values(part, kept) for part in x.split(9)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merge_top(merged, part, kept)
    found = find_thresholds(merged, Q)
    flat = x.movedim(1, 0).flatten(1)
    assert torch.equal(found, torch.quantile(flat, 1 - Q, dim=1, interpolation="lower"))
    assert ((flat > found[:, None]).sum(1) == 5).all()  # q of 1,000 positions


def test_thresholds_do_not_depend_on_the_order_of_images() -> None:
    x = torch.randn(20, 3, 4, 4, generator=gen())
    kept = values_kept(0.02, 320, 3)
    forward = merge_top(top_values(x[:8], kept), top_values(x[8:], kept), kept)
    backward = merge_top(top_values(x.flip(0)[:3], kept), top_values(x.flip(0)[3:], kept), kept)
    assert torch.equal(forward.values, backward.values)


def test_a_unit_that_is_mostly_zero_is_active_only_above_zero() -> None:
    x = torch.zeros(10, 1, 10, 10)
    x[0, 0, 0, 0] = 1.0
    threshold = find_thresholds(top_values(x, values_kept(Q, 1000, 1)), Q)
    assert threshold.item() == 0.0
    assert active_maps(x, threshold, 10).sum() == 1


def test_too_few_kept_values_are_refused() -> None:
    with pytest.raises(InputError, match="needs 6 values"):
        find_thresholds(TopValues(torch.zeros(1, 5), 1000), Q)
    with pytest.raises(InputError, match="fewer images"):
        values_kept(0.5, 10**9, 10)


def test_matrix_product_counts_as_a_loop_over_pixels() -> None:
    g = gen(1)
    active = (torch.rand(5, 4, 36, generator=g) < 0.2).float()
    masks = torch.rand(5, 3, 36, generator=g) < 0.3
    counted = torch.rand(5, 36, generator=g) < 0.9
    annotated = torch.rand(5, 3, generator=g) < 0.7
    found = count_overlap(active, masks, counted, annotated)
    for k in range(4):
        for c in range(3):
            both = unit = concept = 0
            for i in range(5):
                for p in range(36):
                    if counted[i, p] and annotated[i, c]:
                        both += int(active[i, k, p] > 0 and masks[i, c, p])
                        unit += int(active[i, k, p] > 0)
                        concept += int(masks[i, c, p])
            assert (int(found.both[k, c]), int(found.unit[k, c]), int(found.concept[c])) == (both, unit, concept)
            assert overlap(found)[k, c] == pytest.approx(both / max(unit + concept - both, 1))


def test_counts_of_parts_add_up() -> None:
    g = gen(2)
    active, masks = (torch.rand(6, 2, 16, generator=g) < 0.4).float(), torch.rand(6, 2, 16, generator=g) < 0.4
    counted = everything(masks)
    whole = count_overlap(active, masks, counted)
    parts = count_overlap(active[:2], masks[:2], counted[:2]) + count_overlap(active[2:], masks[2:], counted[2:])
    assert all(torch.equal(getattr(whole, name), getattr(parts, name)) for name in whole.__slots__)


@pytest.mark.parametrize("factor", [1, 4, 20])
def test_a_unit_inside_a_concept_of_share_f_reaches_q_over_f(factor: int) -> None:
    x = torch.rand(10, 1, 40, 40, generator=gen(3))  # 16,000 positions, 80 of them active
    order = x.flatten().argsort(descending=True)
    mask = torch.zeros(16_000, dtype=torch.bool)
    mask[order[: factor * 80]] = True
    masks = mask.view(10, 1, 1600)
    threshold = find_thresholds(top_values(x, values_kept(Q, 16_000, 1)), Q)
    counts = count_overlap(active_maps(x, threshold, 40), masks, everything(masks))
    assert overlap(counts).item() == pytest.approx(1 / factor)
    assert reachable(counts, Q).item() == pytest.approx(1 / factor)


def test_an_independent_unit_has_the_overlap_of_chance() -> None:
    g = gen(4)
    q, f = 0.1, 0.2
    active = (torch.rand(50, 1, 4096, generator=g) < q).float()
    masks = torch.rand(50, 1, 4096, generator=g) < f
    found = overlap(count_overlap(active, masks, everything(masks))).item()
    assert found == pytest.approx(q * f / (q + f - q * f), rel=0.03)


def test_maps_that_are_skipped_would_not_be_active() -> None:
    x = torch.randn(6, 5, 4, 4, generator=gen(5))
    thresholds = torch.tensor([0.0, 1.0, 1.5, 2.0, 9.0])
    large = torch.nn.functional.interpolate(x, (12, 12), mode="bilinear") > thresholds[:, None, None]
    assert torch.equal(active_maps(x, thresholds, 12), large.flatten(2).float())


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="masks must be"):
        count_overlap(torch.zeros(2, 1, 9), torch.zeros(2, 1, 8, dtype=torch.bool), torch.ones(2, 9, dtype=torch.bool))


def test_a_true_detector_is_above_chance_and_random_units_rarely_are() -> None:
    g = gen(6)
    masks = torch.rand(60, 4, 49, generator=g) < 0.15
    active = (torch.rand(60, 101, 49, generator=g) < 0.1).float()
    active[:, 0] = (masks[:, 2] & (torch.rand(60, 49, generator=g) < 0.8)).float()
    found = permutation_null(active, masks, permutations=99)
    assert found.p[0].item() == pytest.approx(0.01)
    assert found.observed[0] - found.expected[0] > 0.5
    assert (found.p[1:] <= 0.05).float().mean() <= 0.1


def test_a_unit_that_prefers_a_place_is_not_above_chance_for_a_concept_of_that_place() -> None:
    masks = torch.zeros(40, 1, 49, dtype=torch.bool)
    masks[:, 0, 20:30] = True  # always in the same place
    active = torch.zeros(40, 1, 49)
    active[:, 0, 22:28] = 1.0
    assert permutation_null(active, masks).p.item() == 1.0


def test_the_null_needs_two_images() -> None:
    with pytest.raises(InputError, match="at least 2"):
        permutation_null(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4, dtype=torch.bool))
