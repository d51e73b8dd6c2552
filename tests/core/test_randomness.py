"""Keyed randomness: against a plain second writing of the generator, and against the distributions it claims."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from scipy import stats

from whywrong.core.randomness import (
    item_keys,
    keyed_bits,
    keyed_normal,
    keyed_sign,
    keyed_uniform,
    row_keys,
)

MASK = (1 << 64) - 1
N = 20_000


def mix(z: int) -> int:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014), in unbounded integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def bits(key: int, draw: int, element: int) -> int:
    start = mix((mix(key & MASK) + draw) & MASK)
    return mix((start + (element + 1) * 0x9E3779B97F4A7C15) & MASK)


@pytest.mark.parametrize("draw", [0, 1, 12345])
def test_bits_are_those_of_splitmix64(draw):
    keys = torch.tensor([0, 1, -1, 2**62, -(2**63), 987654321])
    found = keyed_bits(keys, (2, 3), draw)
    for row, key in enumerate(keys.tolist()):
        expected = [bits(key, draw, element) for element in range(6)]
        assert [v & MASK for v in found[row].flatten().tolist()] == expected


def test_no_two_seeds_and_rows_share_a_key():
    keys = torch.cat([row_keys(seed, 64) for seed in range(-3, 64)])
    assert len(keys.unique()) == 67 * 64
    assert row_keys(1, 2)[0] != row_keys(0, 2)[1]


@pytest.mark.parametrize("make", [keyed_bits, keyed_uniform, keyed_sign, keyed_normal])
def test_an_image_draws_the_same_whatever_its_neighbours(make):
    keys = torch.tensor([5, -7, 2**40, 0, 99])
    whole = make(keys, (3, 4), 2)
    for rows in ([0], [3, 1], [4, 3, 2, 1, 0]):
        assert torch.equal(make(keys[rows], (3, 4), 2), whole[rows])
    assert torch.equal(make(keys, (3, 4), 2), whole)


def test_uniforms_are_uniform_and_never_0_or_1():
    values = keyed_uniform(torch.tensor([3]), (N,)).double().numpy().ravel()
    assert 0 < values.min() < 0.001
    assert 0.999 < values.max() < 1
    assert stats.kstest(values, "uniform").pvalue > 0.01  # fixed key, so this either holds or does not


def test_normals_are_standard_normal():
    values = keyed_normal(torch.tensor([4]), (N,)).double().numpy().ravel()
    assert np.isfinite(values).all()
    assert stats.kstest(values, "norm").pvalue > 0.01
    assert abs(values.mean()) < 4 / math.sqrt(N)
    assert abs(values.std() - 1) < 4 / math.sqrt(2 * N)


def test_normals_are_box_muller_over_the_whole_circle():
    keys = torch.tensor([4, 9])
    bits = keyed_bits(keys, (500,)).numpy().view(np.uint64)
    radius = np.sqrt(-2 * np.log(((bits >> np.uint64(41)) + 0.5) / 2**23))
    expected = radius * np.cos(2 * np.pi * (bits & np.uint64(0x7FFFFF)) / 2**23)
    np.testing.assert_allclose(keyed_normal(keys, (500,)).numpy(), expected, atol=2e-6)


def test_signs_are_even():
    values = keyed_sign(torch.tensor([5]), (N,))
    assert set(values.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(values.mean())) < 4 / math.sqrt(N)


@pytest.mark.parametrize("other", ["key", "draw", "element"])
def test_neighbouring_keys_draws_and_elements_are_uncorrelated(other):
    if other == "key":
        block = keyed_uniform(torch.arange(N), (2,))
        a, b = block[:-1, 0], block[1:, 0]
    elif other == "draw":
        a, b = (keyed_uniform(torch.arange(N), (1,), draw)[:, 0] for draw in (0, 1))
    else:
        block = keyed_uniform(torch.tensor([8]), (N,))[0]
        a, b = block[:-1], block[1:]
    assert abs(np.corrcoef(a.double(), b.double())[0, 1]) < 4 / math.sqrt(N)


def test_row_keys_differ_by_seed_and_row_and_do_not_depend_on_the_batch():
    keys = row_keys(1, 1000)
    assert keys.dtype == torch.int64
    assert len(set(keys.tolist()) | set(row_keys(2, 1000).tolist())) == 2000
    assert torch.equal(row_keys(1, 10), keys[:10])
    assert len(row_keys(1, 0)) == 0


def test_item_keys_are_a_hash_of_seed_item_and_method():
    keys = item_keys(7, ["a", "b"], "inverted")
    expected = hashlib.blake2b(b"7/inverted/a", digest_size=8).digest()
    assert int(keys[0]) == int.from_bytes(expected, "little", signed=True)
    assert len({*keys.tolist(), *item_keys(8, ["a"], "inverted").tolist(), *item_keys(7, ["a"], "cam").tolist()}) == 4


def test_global_generators_are_left_alone():
    before = torch.get_rng_state()
    keyed_normal(row_keys(0, 4), (5,))
    assert torch.equal(torch.get_rng_state(), before)


def test_uniform_values_lie_in_the_middle_of_their_cells():
    """23 bits and a half: the mean of all values is 0.5 exactly, and neither 0 nor 1 can come."""
    drawn = keyed_uniform(row_keys(3, 4), (500,)).double() * 2**23
    assert ((drawn % 1) == 0.5).all()
