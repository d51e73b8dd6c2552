"""How draws are shared out among orders: enough for a share of noise, never more than the mean asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.explain.interactions.profiles_kit import features

from whywrong.explain.interactions.features import Features
from whywrong.explain.interactions.sharing_out import PILOT_CONTEXTS, contexts_by_order

ERRORS = np.array([0.05, 0.2, 0.6, 0.1, 0.3])


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


def test_with_enough_draws_every_order_reaches_the_share_and_takes_no_more():
    contexts = contexts_by_order(pilot(), (False,) * 5, contexts=1000, noise=0.01)
    more = np.array(contexts) > 4  # the fewest that an order gets
    assert more.tolist() == [False, True, True, True, True]
    assert noise_left(contexts)[more] == pytest.approx(np.full(4, 0.01), abs=1.5e-3)
    assert noise_left(contexts)[0] < 0.01


def test_too_few_draws_make_every_order_as_noisy_as_the_next_and_are_all_used():
    contexts = contexts_by_order(pilot(), (False,) * 5, contexts=80, noise=0.001)
    assert sum(contexts) == pytest.approx(5 * 80, rel=0.02)
    left = noise_left(contexts)[np.array(contexts) > 4]
    assert left.max() < 1.2 * left.min()


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
