"""How draws are shared out among orders: enough for a share of noise, never more than the mean asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.reproduce.interactions.profiles_kit import features

from whywrong.reproduce.interactions.allocation import PILOT_CONTEXTS, contexts_by_order
from whywrong.reproduce.interactions.features import Features

ERRORS = 0.3 * 1.3 ** np.arange(5)  # their logarithms lie on a line


def pilot(errors: np.ndarray = ERRORS, images: int = 32) -> Features:
    """Images whose A, M and U differ with a variance of 1, measured with known errors at five orders."""
    spread = np.random.default_rng(0).normal(size=(images, 1))
    spread = (spread - spread.mean()) / spread.std(ddof=1)
    whole = np.sqrt(1 + errors**2) * spread  # what is seen: the images and the noise
    values = np.repeat(whole[:, :, None], 3, 2)
    noise = np.broadcast_to(errors[None, :, None], values.shape)
    return replace(features(np.ones((images, 5))), A=values, M=values, U=values, A_se=noise, M_se=noise, U_se=noise)


def noise_left(contexts, errors=ERRORS):
    """Share of noise in the variance between images, if noise falls as 1/K."""
    noise = errors**2 * PILOT_CONTEXTS / np.array(contexts)
    return noise / (1 + noise)


def test_with_enough_draws_an_order_reaches_the_share_and_takes_no_more():
    flat = np.full(5, 0.4)
    contexts = contexts_by_order(pilot(flat), (False,) * 5, contexts=1000, noise=0.01)
    assert noise_left(contexts, flat) == pytest.approx(np.full(5, 0.01), rel=0.02)


def test_noisier_orders_get_more_so_that_all_are_as_noisy():
    contexts = contexts_by_order(pilot(), (False,) * 5, contexts=1000, noise=0.01)
    assert noise_left(contexts)[2] == pytest.approx(0.01, rel=0.02)  # smoothing bends only the ends
    assert noise_left(contexts) == pytest.approx(np.full(5, 0.01), rel=0.7)
    assert list(contexts) == sorted(contexts)


def test_one_order_that_looks_wild_is_smoothed_over():
    errors = np.array([0.3, 0.3, 3.0, 0.3, 0.3])  # a hundred times the noise
    contexts = contexts_by_order(pilot(errors), (False,) * 5, contexts=10_000, noise=0.01)
    assert contexts[2] < 8 * contexts[0]


def test_too_few_draws_make_every_order_as_noisy_as_the_next_and_are_all_used():
    contexts = contexts_by_order(pilot(), (False,) * 5, contexts=80, noise=0.001)
    assert sum(contexts) == pytest.approx(5 * 80, rel=0.02)
    plenty = contexts_by_order(pilot(), (False,) * 5, contexts=10_000, noise=0.001)
    assert np.array(contexts) / np.array(plenty) == pytest.approx(np.full(5, contexts[0] / plenty[0]), rel=0.05)


def test_enumerated_orders_take_nothing_from_the_others():
    exact = (True, False, False, False, True)
    contexts = contexts_by_order(pilot(), exact, contexts=60, noise=0.001)
    assert sum(contexts[1:4]) == pytest.approx(3 * 60, rel=0.02)


def test_images_that_do_not_differ_ask_for_the_fewest():
    flat = features(np.ones((32, 5)))
    flat = replace(flat, A_se=flat.U_se, M_se=flat.U_se)
    assert contexts_by_order(flat, (False,) * 5, contexts=50, noise=0.1) == (4,) * 5


def test_of_a_handful_of_images_nothing_is_concluded():
    assert contexts_by_order(pilot(images=7), (False,) * 5, contexts=17, noise=0.1) == (17,) * 5
