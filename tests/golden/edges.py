"""Further cases of stored numbers: rows that fail, empty and full sets, ties, and every way that a setting opens.

They belong to the cases of ``values.py``, whose images and settings are ordinary ones.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from tests.contract.nets import build, images
from tests.explain.interactions.game_tables import random_tables
from tests.explain.patch_groups.nets import images as vit_images
from tests.explain.patch_groups.nets import tiny_vit
from tests.explain.spurious.toys import by_hand, toy_classifier, toy_images
from tests.golden.values import Steps, brightness_steps, case, claim_numbers
from torch import Tensor, nn

from whywrong.core import randomness, statistics
from whywrong.models.classifier import Classifier


class _Blind(nn.Module):
    """A net that answers NaN for bright images, and one and the same for images with a black corner.

    Images with a white corner get an infinite logit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = build("gap")

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x * (x[:, :1, :1, :1] > 0))
        logits = logits.masked_fill((x[:, 0, 0, :1] == 1) & (torch.arange(logits.shape[1]) == 1), torch.inf)
        return torch.where(x.mean((1, 2, 3))[:, None] > 0.9, torch.nan, logits)


def _some_fail() -> tuple[Classifier, Tensor, Tensor]:
    """Seven images with labels that are not predicted: two have no finite answer, two look alike to the net."""
    x = images(7, seed=3)[..., :12].contiguous()
    x[1] = 0.95
    x[3:5, :, 0, 0], x[6, :, 0, 0] = 0, 1
    y = build("gap")(x).argsort(1)[:, 1]
    return Classifier(_Blind()), x, y


@case
def edges_of_numbers() -> Any:
    draws = np.random.default_rng(8)
    columns = draws.normal(0.1, 1.0, (24, 3)) ** 3
    mostly = [np.where(np.arange(n) < n - others, 0.25, draws.random(n)) for n, others in ((20, 5), (40, 5), (40, 9))]
    few = statistics.resampled_mean(columns[:19], 1200, 3)
    alike = statistics.resampled_mean(np.tile([0.3, 0.0], (30, 1)), 1200, 3)
    skewed = statistics.resampled_mean(np.exp(3 * columns), 1200, 5)
    return {
        "share_p": [
            statistics.share_p(hits, n, b) for hits, n, b in ((0, 0, 0.5), (1, 1, 0.5), (3, 4, 1.2), (3, 4, -1.0))
        ],
        "mean": [statistics.mean(v, bounds=b, seed=1) for v in mostly for b in (None, (-1.0, 1.0), (0.0, 1.0))],
        "mean_p": [statistics.mean_p(v, bound=0.3, bounds=(0.0, 1.0), seed=1) for v in mostly],
        "few": [few.intervals(), few.p(0.1), few.interval(0.5)],
        "alike": [alike.intervals(), alike.p(0.3), alike.p(0.4)],
        "skewed": [skewed.intervals(), skewed.interval(0.999), skewed.p(9.0)],
        "holm": statistics.holm(np.array([[0.6, 0.2], [0.7, np.nan], [0.3, 0.5]])),
        "without": [statistics.without_one(n) for n in (1, 2)],
        "items": randomness.item_keys(7, [f"{n}.png" for n in range(12)], "cam") % 1000,
        "uniform": randomness.keyed_uniform(torch.tensor([2**62, -5]), (3,), 0),
        "bits": [
            randomness.keyed_uniform(randomness.row_keys(0, 2), (), 3),
            randomness.keyed_bits(torch.arange(3), (2,)),
        ],
    }


@case
def edges_of_fixes() -> Any:
    from whywrong.attacks.balls import Box
    from whywrong.attacks.inverted import InvertedConfig, invert
    from whywrong.attacks.inverted.contribution import contribution, object_lift
    from whywrong.attacks.inverted.margin_oracle import MarginOracle
    from whywrong.attacks.inverted.newton import _next_candidate
    from whywrong.attacks.inverted.region_fix import region_fix
    from whywrong.attacks.inverted.shrink import close_in, polish
    from whywrong.attacks.inverted.sign import growing_sign, iterative_sign
    from whywrong.attacks.inverted.steps import STEPS, polyhedral_step

    classifier = Classifier(build("gap"))
    x = images(5, seed=3)[..., :12].contiguous()
    y = classifier.logits(x).argsort(1, descending=True)[:, 1]
    rows, keys = torch.arange(5), randomness.row_keys(2, 5)
    oracle = MarginOracle(classifier, y, 0.01)
    box = Box(x, 0.3)
    with classifier:
        one, many = (oracle.linearise(rows, x, rivals=rivals) for rivals in (1, 9))
        slopes = oracle.linearise(rows, x, entropy=True)
        level = slopes.clone()
        level.grad[2] = 0
        moved = [_next_candidate(start, box, InvertedConfig(overshoot=0.2)) for start in (one, many)]
        walks = [
            walk(oracle, rows, start, box, 0.02, 7, keys)
            for walk in (iterative_sign, growing_sign)
            for start in (slopes, level)
        ]
        fixed = oracle.linearise(rows, box.clip(x - 3 * one.grad.sign()))
        right = fixed.right.nonzero().flatten()
        near = close_in(oracle, right, x[right], one.margin[right], fixed.at(right), 3)
        small = [polish(oracle, right, box.at(right), fixed.at(right), norm, 6) for norm in ("l2", "linf", "l1", "l0")]
        delta = fixed.pixels - x
        maps = [
            contribution(
                classifier,
                x,
                y,
                size * delta,
                one.margin,
                oracle.test(rows, x + size * delta).margin,
                halvings=halvings,
                tolerance=1e-4,
            )
            for size in (1.0, 0.6)
            for halvings in (0, 1, 4)
        ]
        segments = (torch.arange(16)[:, None] // 4 * 3 + torch.arange(12) // 4).expand(5, -1, -1).contiguous()
        g = torch.where(segments[:, None] < 7, one.grad, 0.0)
        scale = classifier.logits(x).abs().amax(1)
        settings = (
            {"safety": 0.01},
            {"region_limit": 0.2, "region_change": 0.05, "region_overshoot": 0.0, "radius": 0.1},
        )
        regions = [
            region_fix(
                classifier, x, y, segments, one.margin, g, scale, config=InvertedConfig(region_rounds=8, **given)
            )
            for given in settings
        ]
    masks = torch.zeros(5, 16, 12, dtype=torch.bool)
    masks[0, :9, :3] = masks[1, 2:4] = True
    masks[2] = True
    noise = randomness.keyed_normal(keys, (16, 12), 3)
    need = torch.tensor([0.2, 900.0, 1.0, -0.1, 0.0])
    flat = one.grad.clone()
    flat[2] = 0
    low, high = (0.3 * bound for bound in (-x, 1 - x))
    return {
        "oracle": [one, many, slopes, oracle.forwards, oracle.backwards],
        "moved": moved,
        "walks": walks,
        "near": near,
        "small": small,
        "regions": regions,
        "maps": [(each.map, each.nodes, each.residual > 0.01) for each in maps],
        "lift": [object_lift(each, masks, least) for each in (noise, noise.flip(2)) for least in (191, 192)],
        "steps": {
            name: [step(g.double(), need.double(), low.double(), high.double()) for g in (one.grad, flat)]
            for name, step in STEPS.items()
        },
        "rivals": polyhedral_step(
            torch.stack([flat, one.grad.flip(0)], 1), need[:, None] * torch.tensor([1.0, 0.1]), low, high
        ),
        "wide": [
            invert(
                classifier,
                x,
                y,
                masks=masks,
                config=InvertedConfig(
                    attack=attack,
                    safety=0.01,
                    overshoot=0.1,
                    segments=20,
                    regions=6,
                    tested_regions=5,
                    beyond=beyond,
                    step_size=0.01,
                    completeness=0.001,
                    norm=norm,
                ),
            )
            for attack, beyond, norm in (("newton", 0.1, "l2"), ("one_gradient", 0.9, "linf"), ("newton", 0.5, "l0"))
        ],
    }


@case
def edges_of_attacks() -> Any:
    from whywrong.attacks import balls
    from whywrong.attacks.apgd import APGDConfig, apgd, checkpoints
    from whywrong.attacks.pgd import PGDConfig, pgd

    classifier, x, y = _some_fail()
    good = [0, 2, 5]
    keys = randomness.row_keys(1, 3)
    ball = balls.Ball(x[good], 1.5, "l2")
    return {
        "random": [balls.Ball(x[good, :1, :1, :2], 0.4, "l2").random(keys, draw) for draw in range(3)],
        "unit": [balls.unit(scale * (x[good] - 0.5)) for scale in (1e-30, 1e30)],
        "clip": ball.clip(x[good] + 0.3),
        "checkpoints": [checkpoints(steps) for steps in (1, 2, 10, 50)],
        "apgd": [
            apgd(
                classifier,
                x[good],
                y[good],
                config=APGDConfig(norm="linf", eps=0.1, steps=40, loss=loss, stop_early=stop),
            )
            for loss in ("ce", "dlr")
            for stop in (False, True)
        ],
        "pgd": [
            pgd(classifier, x[good], y[good], config=PGDConfig(norm="l2", eps=0.3, steps=4, step_size=0.2, restarts=r))
            for r in (1, 3)
        ],
    }


@case
def edges_of_maps() -> Any:
    from whywrong.explain.cam import CamConfig, cam
    from whywrong.explain.covering import CoveringConfig, covering

    classifier, x, y = _some_fail()
    kinds = ("auto", "grad_cam", "grad_cam_pp", "layer_cam", "xgrad_cam")
    known = [kind for kind in kinds if _accepts(lambda kind=kind: CamConfig(kind=kind))]
    square = images(4, seed=8)
    found = []
    for name in ("gap", "flat"):
        net = Classifier(build(name))
        label = net.logits(square).argsort(1)[:, 2]
        for kind in known:
            for tolerance in (1e-9, 0.5):
                found.append(cam(net, square, label, config=CamConfig(kind=kind, tolerance=tolerance)))
    return {
        "failing": [cam(classifier, x, y), cam(classifier, x, y, config=CamConfig(kind="grad_cam"))],
        "kinds": found,
        "covering": covering(classifier, x, y, config=CoveringConfig(cells=4, window=2)),
    }


def _accepts(make: Any) -> bool:
    try:
        make()
    except ValueError:
        return False
    return True


@case
def edges_of_counterfactuals() -> Any:
    from whywrong.explain.counterfactuals import metrics
    from whywrong.explain.counterfactuals.solvers import lmo
    from whywrong.explain.counterfactuals.trust import TrustConfig, trust

    keys = randomness.row_keys(4, 6)
    w = randomness.keyed_normal(keys, (300,))
    w[1], w[2, :290], w[3] = 0.0, 0.0, 1.0
    w[4] = 1e-20 * w[4]
    w[5, 7] = torch.inf
    up, down = randomness.keyed_uniform(keys, (300,), 1), randomness.keyed_uniform(keys, (300,), 2)
    up[0, :50] = 0
    eps = torch.tensor([0.05, 3.0, 20.0, 0.5, 9e9, 1.0], dtype=torch.float64)
    powers = (1.0, 1.01, 1.1, 1.2, 1.5, 1.95, 2.0, 3.0, 8.0, float("inf"))
    x = images(4, seed=2)
    vce = (x + 0.2 * randomness.keyed_normal(randomness.row_keys(3, 4), (3, 16, 16))).clamp(0, 1)
    vce[1] = x[1]
    own, many = Classifier(build("gap")), images(20, seed=9)
    even = x.clone()
    even[..., :10, 0] = (even[..., :10, 0] + 0.5) % 1
    found = trust(
        own,
        many,
        (many + 0.1).clamp(0, 1),
        own.logits(many).argmin(1),
        judges=[Classifier(build("gap", 5))],
        plain=[own, Classifier(build("gap", 6))],
        guided=True,
        config=TrustConfig(controls=20, control_steps=2, draws=2),
    )
    return {
        "oracle": {str(p): lmo.linear_minimization_oracle(w.clone(), up, down, eps, p) for p in powers},
        "fill": {str(p): lmo.fill(w.abs().nan_to_num(0, 0, 0), up, eps, p) for p in powers},
        "norms": [lmo.lp_norm(size * w[:4], p) for p in powers for size in (1e-25, 1.0)],
        "pix90": [metrics.pix90(x, z, share) for z in (vce, even) for share in (0.1, 0.9, 1.0)],
        "inside": metrics.mass_inside(x, vce, torch.ones(4, 16, 16, dtype=torch.bool)),
        # Passes of its own searches, where one more or less is rounding, are taken off.
        "own": [
            found.forwards - found.opinion.own_passes[0],
            found.backwards - found.opinion.own_passes[1],
            found.score,
        ],
    }


@case
def edges_of_interactions() -> Any:
    from whywrong.explain.interactions import InteractionsConfig, all_pairs, estimate, group_profile
    from whywrong.explain.interactions.strengths import jackknife_se
    from whywrong.explain.masking.games import TableGame

    tables = random_tables(2 * 6, 7).view(6, 2, -1).transpose(1, 2)
    tables[2] = 1.0  # nothing interacts
    pairs = all_pairs(7)
    found: list[Any] = []
    for settings in (
        {"precision": 0.1, "contexts": 60},
        {"precision": 0.5, "contexts": 60, "pilot": 6},
        {"precision": 0.3, "contexts": 60, "max_passes": 900},
        {"max_passes": 700},
        {"method": "faithful", "max_passes": 2000},
        {"method": "shared", "contexts": 3},
        {"contexts": 500},
    ):
        game = TableGame(tables)
        game(torch.zeros(6, 1, 7, dtype=torch.bool))  # passes taken before
        found.append(estimate(game, pairs, config=InteractionsConfig(orders=(0, 2, 3, 5), seed=2, **settings)))
    replicates = randomness.keyed_normal(randomness.row_keys(5, 3), (4, 2))
    ran = torch.tensor([[True] * 4, [True, True, False, True], [True, False, False, True]])
    return {
        "estimates": found,
        "groups": [group_profile(each, range(6), draws=1000) for each in found[:3]],
        "errors": [jackknife_se(replicates), jackknife_se(replicates, ran), jackknife_se(replicates[:, :, 0], ran)],
    }


@case
def edges_of_patches() -> Any:
    from whywrong.explain import patch_groups as pg
    from whywrong.explain.masking.players import PlayersConfig
    from whywrong.explain.patch_groups.grad_cam import pooled

    classifier, x, y = _some_fail()
    vit = Classifier(tiny_vit(img_size=(32, 16)))
    views = vit_images(3)[..., :16].contiguous()
    label = vit.logits(views).argsort(1, descending=True)[:, 1]
    right = vit.predict(views)
    game = pg.PatchGame(vit, views, label)
    pixels = pg.PatchGame(classifier, x[[0, 2, 5]], y[[0, 2, 5]], config=PlayersConfig(kind="pixels", grid=4))
    maps = randomness.keyed_normal(randomness.row_keys(5, 2), (4, 6))
    return {
        "failing": pg.patch_groups(classifier, x, y, config=pg.PatchGroupsConfig(kind="pixels", grid=4)),
        "right": pg.patch_groups(vit, views, torch.where(torch.arange(3) == 1, right, label)),
        "whole": [pg.order_of("moxi", vit, views, label, game, deletion=deletion) for deletion in (False, True)],
        "single": [pg.order_of("moxi_minus", vit, views, label, game, deletion=deletion) for deletion in (False, True)],
        "rollout": pg.rollout(vit, views),
        "pooled": [pooled(maps, grid) for grid in ((2, 3), (8, 12), (2, 12), (8, 3), (4, 6))],
        "forwards": [game.forwards, pixels.forwards],
        "greedy": [
            pg.greedy_order(pixels, "log_odds_true", adds=adds, steps=5, ask_start=True, lazy=lazy)
            for adds, lazy in ((True, 0), (True, 1), (True, 3), (False, 0))
        ],
    }


@case
def edges_of_spurious() -> Any:
    from whywrong.explain import spurious as sp
    from whywrong.explain.spurious.change_mass import _looks, strongest_crops
    from whywrong.explain.spurious.levels import levels_of, quantile, without_outliers

    classifier = toy_classifier()
    x, label, cue = toy_images(40, (0.5, 0.2, 0.1), seed=1)
    features = by_hand(x.mean((2, 3)), classifier, label)
    wide = torch.randn(9, 20, generator=torch.Generator().manual_seed(0))
    weight = torch.linspace(-1, 1, 20)
    logit = wide @ weight
    logit[4] += 0.5
    few = sp.class_components(wide, logit, weight, 0.25, 1, config=sp.NeuralPCAConfig(components=4, min_images=3))
    columns = torch.randn(50, 3, generator=torch.Generator().manual_seed(1)).double()
    columns[:9, 1] = torch.nan
    columns[:4, 2] += 30
    rows = [features.label == index for index in (0, 1)]
    found = sp.class_components(
        features.phi[rows[0]],
        features.logits[rows[0], 0],
        classifier.module.head.weight[0].detach(),
        0.0,
        0,
        config=sp.NeuralPCAConfig(components=3, min_images=5),
    )
    levels = sp.find_levels(found, features.phi[rows[0]], features.phi[~rows[0]])
    scene = images(12, seed=5)[..., :14].contiguous()
    changed = scene.clone()
    changed[:, :, 3:9, 4:12] = (changed[:, :, 3:9, 4:12] + 0.3 * images(12, seed=6)[:, :, :6, :8]).clamp(0, 1)
    moved = (changed - scene).abs().sum(1)
    crops, places = strongest_crops(changed, moved, 10)
    objects = torch.zeros(12, 16, 14, dtype=torch.bool)
    objects[:10, 2:8] = True
    return {
        "few": [few, few.base, few.pulls, few.alphas(wide), few.rest(wide), len(few)],
        "levels": [levels_of(columns, columns[:, :].flip(0)), quantile(columns, 0.3), without_outliers(columns)],
        "one": quantile(columns[20:21], 0.7),
        "harm": [
            sp.harmful(found, levels, features, searched=n, config=sp.HarmfulConfig(level=a))
            for n, a in ((3, 0.05), (9, 0.4))
        ],
        "chance": [
            features.chance(0),
            features.chance(0, torch.full((len(x),), 0.7)),
            features.without(0, torch.ones(len(x))),
        ],
        "own level": [sp.make_fix(found, [2, 0], levels, start=start) for start in ("others", "class")],
        "looks": _looks(crops, changed - scene, places),
        "change": [
            sp.class_change(scene, changed, 1, objects=objects, clusters=2, fewest=4, side=side)
            for side in (None, 10, 99)
        ],
        "spuriosity": sp.spuriosity(found.alphas(features.phi)[:, 1], ~cue, share=0.5),
    }


@case
def edges_of_claims() -> Any:
    from whywrong.explain import spurious as sp
    from whywrong.explain.masking.games import TableGame
    from whywrong.reproduce.interactions.attribution import band_parts
    from whywrong.reproduce.interactions.config import InteractionsClaimConfig
    from whywrong.reproduce.interactions.two_models import _distance
    from whywrong.reproduce.inverted.claims import InvertedClaimConfig, _most_candidates, _rank
    from whywrong.reproduce.null_cases import null_cases
    from whywrong.reproduce.protocol import TensorImages, decide
    from whywrong.reproduce.running import run_claim
    from whywrong.reproduce.spurious import _rise, _size

    x, y, settings = brightness_steps()
    data, model = TensorImages(x, y, batch_size=16), Classifier(Steps())
    found = {f"C{number}": run_claim(f"interactions.C{number}", [model], data, settings) for number in (3, 5, 6)}
    gap, views = Classifier(build("gap")), images(30, seed=3)[..., :12].contiguous()
    second = gap.logits(views).argsort(1, descending=True)[:, 1]
    judges = [Classifier(build("gap", seed)) for seed in (6, 7)]
    wrong = TensorImages(views, second, batch_size=7)
    found["counterfactuals.C6"] = run_claim(
        "counterfactuals.C6", [gap, Classifier(build("gap", 5))], wrong, {"limit": 24, "steps": 4}, judges=judges
    )
    toy = toy_classifier()
    x_toy, label, _ = toy_images(40, (0.5, 0.2, 0.1), seed=1)
    features = by_hand(x_toy.mean((2, 3)), toy, label)
    own, others = features.phi[label == 0], features.phi[label != 0]
    parts = sp.class_components(
        own,
        own.double() @ toy.module.head.weight[0].detach().double(),
        toy.module.head.weight[0].detach(),
        0.0,
        0,
        config=sp.NeuralPCAConfig(components=3, min_images=5),
    )
    levels = sp.find_levels(parts, own, others)
    never = sp.Levels(levels.others, torch.full_like(levels.bar, torch.inf))  # no image carries the component
    fixed = dataclasses.replace(
        features, logits=sp.fixed_logits(features.logits, features.phi, [sp.make_fix(parts, [0], levels)])
    )
    A = np.random.default_rng(3).gamma(2.0, 1.0, (2, 30, 5))
    A[1] += [0.0, 0.2, 0.0, 0.9, 0.0]
    config = InteractionsClaimConfig(draws=1000)
    keys = randomness.row_keys(4, 3)
    tables = {n: random_tables(2 * 3, n).view(3, 2, -1).transpose(1, 2) for n in (4, 7, 12)}
    return {
        "claims": {name: claim_numbers(result) for name, result in found.items()},
        "distance": [_distance(A[0, :n], A[1, :n], config) for n in (5, 30)],
        "bands": [band_parts(TableGame(table), keys, 3) for table in tables.values()],
        "most": [_most_candidates(InvertedClaimConfig(attack=attack)) for attack in ("newton", "sign")],
        "rank": [
            _rank(gap, TensorImages(views, labels, batch_size=7), InvertedClaimConfig())
            for labels in (second, gap.predict(views))
        ],
        "size": _size(gap, wrong),
        "rises": [
            _rise({0: (parts, one)}, {0: numbers}, features, fixed, 3, draws=200)
            for one, numbers in ((levels, [0, 1]), (never, [0]))
        ],
        "nulls": [(null.name, null.x, null.y) for null in null_cases(model, x, y, most=9, seed=4)],
        "decided": [
            decide(low, high, 0.5, above=above)
            for above in (False, True)
            for low, high in ((0.1, 0.4), (0.6, 0.9), (0.4, 0.6), (np.nan, 0.9), (0.1, np.nan), (0.5, 0.5))
        ],
    }
