"""Networks of every family: counts, equivalences, and what each part does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.models.architectures.architecture import FAMILIES
from whywrong.models.architectures.build import build_network, plan_network, training_loss
from whywrong.models.architectures.capsnet import Transformations
from whywrong.models.architectures.graph import normalised_adjacency
from whywrong.models.architectures.losses import margin_loss
from whywrong.models.architectures.routing import squash

SHAPE = (3, 20, 24)


def network(family, classes=4, shape=SHAPE, **settings):
    shape = (3, 16, 24) if family == "vit" else shape
    return build_network(plan_network(family, shape, classes, width=4, **settings), seed=0).eval()


def images(n=3, shape=SHAPE, seed=0):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


def parameters(plan):
    return sum(weight.numel() for weight in build_network(plan, seed=0).parameters())


def test_published_layouts_have_exactly_the_published_numbers_of_parameters():
    caps = plan_network("capsnet", (1, 28, 28), 10, layout="published", types=32)
    assert parameters(caps) == 6_804_224
    assert parameters(replace(caps, decoder=True)) == 8_215_568
    assert parameters(plan_network("gracapsnet", (3, 32, 32), 10, layout="published", types=64)) == 2_793_130
    shared = plan_network("affcapsnet", (1, 28, 28), 10, layout="published", types=32, share="all")
    assert parameters(shared) == 6_804_224 - 1_474_560 + 1_280


@pytest.mark.parametrize("family", FAMILIES)
def test_each_image_gets_the_same_logits_alone_as_in_a_batch(family):
    net = network(family)
    x = images(3, (3, 16, 24) if family == "vit" else SHAPE)
    with torch.no_grad():
        together, alone = net(x), torch.cat([net(one[None]) for one in x])
    assert together.shape == (3, 4)
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_few_steps_of_training_learn_a_batch(family):
    net = network(family).train()
    x = images(12, (3, 16, 24) if family == "vit" else SHAPE)
    y = torch.arange(12) % 4
    x[:, 0] = (y / 3)[:, None, None]  # the class is the amount of red
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2 if family != "vit" else 3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = training_loss(net, x, y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-10:]) < 0.6 * losses[0]  # rounding decides how fast, and it differs between machines


@pytest.mark.parametrize("share", ["none", "position", "all"])
def test_the_sum_of_votes_is_the_same_with_and_without_making_them(share):
    generator = torch.Generator().manual_seed(0)
    transform = Transformations(share, 3, 6, 4, 5, 7)
    primary = torch.randn(2, 3, 6, 5, generator=generator)
    votes = transform.votes(primary)
    assert votes.shape == (2, 18, 4, 7)
    assert torch.allclose(transform.total(primary), votes.sum(1), atol=1e-5)


@pytest.mark.parametrize("share", ["none", "position", "all"])
def test_without_routing_answers_with_and_without_details_are_equal(share):
    net = network("affcapsnet", share=share)
    quick, full = net.answer(images()), net.answer(images(), details=True)
    assert quick.votes is None
    assert full.votes is not None
    assert torch.allclose(quick.sums, full.sums, atol=1e-5)


@pytest.mark.parametrize(("share", "same"), [("none", False), ("position", True), ("all", True)])
def test_shared_transformations_do_not_depend_on_positions(share, same):
    transform = Transformations(share, 2, 5, 3, 4, 4)
    primary = torch.randn(1, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    moved = primary[:, :, torch.tensor([4, 2, 0, 1, 3])]
    assert torch.allclose(transform.total(primary), transform.total(moved), atol=1e-5) is same


def test_with_one_iteration_the_mean_of_the_votes_gives_the_same_ranking():
    net, x = network("capsnet", iterations=1), images(40)
    routed, mean = net(x), net.mean_votes(x)
    assert torch.equal(routed.argsort(1), mean.argsort(1))
    assert not torch.allclose(routed, mean, atol=1e-6)  # the lengths differ


def test_attention_over_a_graph_sums_to_one_over_the_positions():
    net = network("gracapsnet")
    attention = net.answer(images()).attention
    assert torch.allclose(attention.sum(2), torch.ones(3, 8, 4), atol=1e-5)
    shown = net.attention_map(images(), torch.tensor([0, 3, 1]))
    assert shown.shape == (3, *net.size)
    assert torch.allclose(shown.flatten(1).sum(1), torch.ones(3), atol=1e-5)


def test_the_published_graph_joins_no_positions_and_the_grid_joins_neighbours():
    assert torch.equal(normalised_adjacency(14, 14, "code"), torch.eye(196))
    grid = normalised_adjacency(14, 14, "grid")
    ratio = grid[90, 91] / (grid[90, 90] * grid[91, 91]).sqrt()  # the normalisation cancels
    assert float(ratio) == pytest.approx(0.485, abs=1e-3)
    assert torch.allclose(grid, grid.T)


def test_the_bias_of_the_attention_has_no_gradient():
    net = network("gracapsnet")
    training_loss(net, images(), torch.tensor([0, 1, 2])).backward()
    assert float(net.bias.grad.abs().max()) < 1e-7
    assert float(net.attend.grad.abs().max()) > 1e-7


def test_on_a_single_position_attention_pooling_is_the_mean_of_the_transformed_capsules():
    net = network("gracapsnet", shape=(3, 2, 2))
    assert net.size == (1, 1)
    x = images(2, (3, 2, 2))
    nodes = torch.einsum("bte,ted->btd", net.primary(x)[:, :, 0], net.weight)
    expected = squash(nodes.mean(1))[:, None].expand(-1, 4, -1)
    assert torch.allclose(net.answer(x).caps, expected, atol=1e-6)


@pytest.mark.parametrize("transform", [False, True])
@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("squashed", [False, True])
def test_all_switches_of_the_convnet_go_together(transform, routing, squashed):
    net = network("convnet", transform=transform, routing=routing, squash=squashed, loss="nll", decoder=True)
    loss = training_loss(net, images(), torch.tensor([0, 1, 2]))
    loss.backward()
    assert all(weight.grad is not None and bool(weight.grad.isfinite().all()) for weight in net.parameters())
    answer = net.answer(images())
    assert bool((answer.lengths < 1).all()) or not squashed
    uniform = torch.full_like(answer.coupling, answer.coupling[0, 0, 0].item())
    assert torch.allclose(answer.coupling, uniform) is not routing


def test_a_convnet_without_switches_pools_one_linear_map_on_average():
    net = network("convnet", squash=False, loss="nll")
    features = net.primary(images()).transpose(1, 2).flatten(2).relu()
    expected = net.transform(features.mean(1)).unflatten(1, (4, 16))
    assert torch.allclose(net.answer(images()).sums, expected, atol=1e-5)


def test_the_decoder_sees_only_the_capsule_of_its_class():
    net = network("capsnet", decoder=True)
    caps = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0))
    changed = caps.clone()
    changed[:, 1:] += 1
    y = torch.tensor([0, 0])
    assert torch.equal(net.decoder.reconstruct(caps, y), net.decoder.reconstruct(changed, y))
    assert not torch.equal(net.decoder.reconstruct(caps, y), net.decoder.reconstruct(changed, y + 1))
    assert net.reconstruct(images()).shape == (3, *SHAPE)
    with pytest.raises(InputError, match="one class in 0 to 3"):
        net.decoder.reconstruct(caps, torch.tensor([0, 4]))


def test_gradients_agree_with_finite_differences():
    net, x, y = network("capsnet"), images(2), torch.tensor([0, 1])
    x = x.requires_grad_()
    (grad,) = torch.autograd.grad(margin_loss(net.answer(x).lengths, y), x)
    direction = grad / grad.norm()
    step = 0.05
    with torch.no_grad():
        ends = [float(margin_loss(net.answer(x + sign * step * direction).lengths, y)) for sign in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float(grad.norm()), rel=0.05)


def test_black_images_and_dead_channels_give_finite_gradients():
    net = network("capsnet", layout="published")
    for weight in net.parameters():
        weight.data.zero_()
    x = torch.zeros(2, *SHAPE, requires_grad=True)
    training_loss(net, x, torch.tensor([0, 1])).backward()
    assert bool(net(x).isfinite().all())
    assert bool(x.grad.isfinite().all())


def test_a_seed_fixes_the_weights_and_leaves_the_callers_generator_alone():
    state = torch.random.get_rng_state()
    first, second = (build_network(plan_network("capsnet", SHAPE, 3), seed=5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("capsnt", {}, 'nearest: "capsnet"'),
        ("capsnet", {"types": 0}, "types must be a whole number from 1 to 1,024, got 0"),
        ("capsnet", {"iterations": 0}, "iterations must be a whole number from 1"),
        ("capsnet", {"dims": 3}, 'unknown setting "capsnet.dims"; nearest: "capsnet.dim"'),
        ("capsnet", {"share": "some"}, "share must be one of none, position, all"),
        ("capsnet", {"decoder": "perhaps"}, "setting capsnet.decoder"),
        ("emcapsnet", {"dim": 8}, "poses of 4 x 4"),
        ("vit", {"decoder": True}, "no class capsules"),
    ],
)
def test_wrong_settings_are_refused_by_name(family, settings, message):
    with pytest.raises(InputError, match=message):
        build_network(plan_network(family, SHAPE, 4, **settings))


def test_one_class_and_wrong_sizes_are_refused():
    with pytest.raises(InputError, match="classes must be a whole number from 2"):
        plan_network("capsnet", SHAPE, 1)
    with pytest.raises(InputError, match="1 or 3 channels"):
        plan_network("capsnet", (2, 8, 8), 3)
    with pytest.raises(InputError, match="too small for the published layers"):
        build_network(plan_network("capsnet", (1, 12, 12), 3, layout="published"))
    with pytest.raises(InputError, match="no patch size of vit fills 29 x 31"):
        build_network(plan_network("vit", (1, 29, 31), 3))
    with pytest.raises(InputError, match=r"takes images \(B, 3, 20, 24\), got \(2, 3, 24, 24\)"):
        network("capsnet")(images(2, (3, 24, 24)))
    with pytest.raises(InputError, match="no decoder"):
        network("capsnet").reconstruct(images())
    with pytest.raises(InputError, match="makes no votes"):
        network("gracapsnet").mean_votes(images())
