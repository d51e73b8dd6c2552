"""Squash and routing against closed forms and an independent, slow implementation."""

from __future__ import annotations

import math

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.models.architectures.routing import (
    dynamic_routing,
    em_routing,
    log_share,
    safe_length,
    squash,
    squashed_length,
)


def votes(b=2, n=5, k=4, d=3, seed=0):
    return torch.randn(b, n, k, d, generator=torch.Generator().manual_seed(seed))


def slow_routing(votes, iterations):
    """Dynamic routing by loops over plain numbers."""
    b, n, k, d = votes.shape
    coupling, sums = torch.zeros(b, n, k), torch.zeros(b, k, d)
    for image in range(b):
        logit = [[0.0] * k for _ in range(n)]
        for _ in range(iterations):
            c = [[math.exp(logit[i][j]) / sum(math.exp(v) for v in logit[i]) for j in range(k)] for i in range(n)]
            s = [[sum(c[i][j] * float(votes[image, i, j, e]) for i in range(n)) for e in range(d)] for j in range(k)]
            for j in range(k):
                length = math.sqrt(sum(value**2 for value in s[j]))
                v = [length**2 / (1 + length**2) * value / length for value in s[j]]
                for i in range(n):
                    logit[i][j] += sum(float(votes[image, i, j, e]) * v[e] for e in range(d))
        coupling[image], sums[image] = torch.tensor(c), torch.tensor(s)
    return sums, coupling


def test_squash_keeps_the_direction_and_gives_the_stated_length():
    s = torch.tensor([[0.3, -0.4], [30.0, 40.0], [3e-3, 4e-3]])
    n = torch.tensor([0.5, 50.0, 5e-3])
    v = squash(s)
    assert torch.allclose(v.norm(dim=1), n**2 / (1 + n**2), rtol=1e-4)
    assert torch.allclose(squashed_length(s), n**2 / (1 + n**2))
    assert torch.allclose(v / v.norm(dim=1, keepdim=True), s / n[:, None], atol=1e-5)


def test_the_zero_vector_has_length_zero_and_finite_gradients():
    for function in (squash, squashed_length, safe_length):
        s = torch.zeros(2, 3, requires_grad=True)
        value = function(s)
        assert bool((value == 0).all())
        value.sum().backward()
        assert s.grad is not None
        assert bool(s.grad.isfinite().all())


def test_squashed_lengths_grow_with_the_vector():
    lengths = squashed_length(torch.linspace(0, 20, 400)[:, None])
    assert bool((lengths.diff() > 0).all())


def test_a_dead_capsule_keeps_scores_finite():
    lengths = torch.zeros(1, 3, requires_grad=True)
    log_share(lengths).sum().backward()
    assert bool(log_share(lengths).isfinite().all())
    assert lengths.grad is not None
    assert bool(lengths.grad.isfinite().all())


def test_shares_are_the_softmax_of_their_logarithm():
    lengths = torch.tensor([[0.2, 0.6, 0.2], [0.9, 0.05, 0.05]])
    assert torch.allclose(log_share(lengths).softmax(1), lengths / lengths.sum(1, keepdim=True))


@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
def test_routing_agrees_with_a_slow_independent_implementation(iterations):
    sums, coupling = dynamic_routing(votes(), iterations)
    slow_sums, slow_coupling = slow_routing(votes(), iterations)
    assert torch.allclose(sums, slow_sums, atol=1e-5)
    assert torch.allclose(coupling, slow_coupling, atol=1e-5)


def test_one_iteration_couples_all_classes_equally_so_that_sums_are_scaled_means():
    sums, coupling = dynamic_routing(votes(), 1)
    assert torch.allclose(coupling, torch.full_like(coupling, 1 / 4))
    assert torch.allclose(sums, votes().mean(1) * 5 / 4, atol=1e-6)


@pytest.mark.parametrize("iterations", [1, 2, 4])
def test_coupling_sums_to_one_over_the_classes(iterations):
    _, coupling = dynamic_routing(10 * votes(), iterations)
    assert torch.allclose(coupling.sum(2), torch.ones(2, 5), atol=1e-6)


def test_equal_votes_for_all_classes_keep_the_coupling_uniform():
    same = votes()[:, :, :1].expand(-1, -1, 4, -1)
    _, coupling = dynamic_routing(same, 5)
    assert torch.allclose(coupling, torch.full_like(coupling, 1 / 4), atol=1e-6)


def test_two_votes_on_a_line_follow_the_closed_form():
    a = 1.3
    toy = torch.tensor([[[[a], [a]], [[a], [-a]]]])  # class 1 gets a, a; class 2 gets a, -a
    first, _ = dynamic_routing(toy, 1)
    assert torch.allclose(first[0, :, 0], torch.tensor([a, 0.0]), atol=1e-6)
    _, coupling = dynamic_routing(toy, 2)
    length = a**2 / (1 + a**2)
    expected = 1 / (1 + math.exp(-a * length))
    assert torch.allclose(coupling[0, :, 0], torch.full((2,), expected), atol=1e-6)


def test_the_order_of_capsules_does_not_matter_and_classes_move_with_their_votes():
    sums, coupling = dynamic_routing(votes(), 3)
    order, classes = torch.tensor([3, 1, 4, 0, 2]), torch.tensor([2, 0, 3, 1])
    moved, moved_coupling = dynamic_routing(votes()[:, order][:, :, classes], 3)
    assert torch.allclose(moved, sums[:, classes], atol=1e-6)
    assert torch.allclose(moved_coupling, coupling[:, order][:, :, classes], atol=1e-6)


def test_gradients_pass_through_the_coupling():
    x = votes(1, 3, 2, 2).double().requires_grad_()
    weight = torch.tensor([[0.7, -1.1], [0.4, 0.9]])

    def value(v):
        return (dynamic_routing(v, 3)[0].double() * weight).sum()

    (grad,) = torch.autograd.grad(value(x), x)
    step, where = 1e-2, (0, 1, 0, 1)
    up, down = x.detach().clone(), x.detach().clone()
    up[where] += step
    down[where] -= step
    assert float(grad[where]) == pytest.approx(float(value(up) - value(down)) / (2 * step), rel=1e-3)
    detached, _ = dynamic_routing(x, 3)
    _, coupling = dynamic_routing(x.detach(), 3)
    held = torch.einsum("bnk,bnkd->bkd", coupling.double(), x)
    (without,) = torch.autograd.grad((held * weight).sum(), x)
    assert torch.allclose(held.float(), detached, atol=1e-5)
    assert abs(float(without[where] - grad[where])) > 1e-3  # so the check above would fail without that path


def test_em_routing_puts_a_capsule_at_agreeing_votes_and_activates_it_more():
    generator = torch.Generator().manual_seed(1)
    close = torch.tensor([1.0, -2.0]) + 0.05 * torch.randn(6, 2, generator=generator)
    wide = 3 * torch.randn(6, 2, generator=generator)
    toy = torch.stack([close, wide], 1)[None]
    zeros = torch.zeros(2)
    pose, active, assignment = em_routing(toy, torch.ones(1, 6), zeros, zeros, 3, rate=0.2)
    assert torch.allclose(pose[0, 0], torch.tensor([1.0, -2.0]), atol=0.1)
    assert float(active[0, 0]) > 0.9 > 0.5 > float(active[0, 1])
    assert torch.allclose(assignment.sum(2), torch.ones(1, 6), atol=1e-6)


def test_em_routing_ignores_capsules_that_are_not_active():
    toy = torch.cat([votes(1, 4), 100 + votes(1, 2)], 1)
    activation = torch.tensor([[1.0, 1, 1, 1, 0, 0]])
    zeros = torch.zeros(4)
    pose, active, _ = em_routing(toy, activation, zeros, zeros, 2)
    alone, alone_active, _ = em_routing(toy[:, :4], activation[:, :4], zeros, zeros, 2)
    assert torch.allclose(pose, alone, atol=1e-5)
    assert torch.allclose(active, alone_active, atol=1e-5)


def test_no_iterations_and_no_capsules_are_refused():
    with pytest.raises(InputError, match="at least 1 iteration, got 0"):
        dynamic_routing(votes(), 0)
    with pytest.raises(InputError, match="none of them 0"):
        dynamic_routing(torch.zeros(2, 0, 3, 4), 3)
    with pytest.raises(InputError, match="none of them 0"):
        em_routing(torch.zeros(2, 0, 3, 4), torch.zeros(2, 0), torch.zeros(3), torch.zeros(3), 3)
