"""Numbers that the methods give for small nets and images, one case per group of functions.

Images are not square, batches are neither empty nor of one image, and settings differ from the defaults, so that a
swapped axis, a lost factor or another default changes a number. ``store.py`` stores them again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.contract.nets import build, images
from tests.explain.interactions.game_tables import random_tables
from tests.explain.patch_groups.nets import images as vit_images
from tests.explain.patch_groups.nets import tiny_vit
from tests.explain.spurious.toys import by_hand, toy_classifier, toy_images
from torch import Tensor, nn

from whywrong.core import discoveries, margins, matching, randomness, statistics
from whywrong.models.classifier import Classifier

STORED = Path(__file__).with_name("values.json")
CASES: dict[str, Callable[[], Any]] = {}


def case(function: Callable[[], Any]) -> Callable[[], Any]:
    """List a case under the name of its function."""
    CASES[function.__name__] = function
    return function


def _gap(batch: int = 6) -> tuple[Classifier, Tensor, Tensor]:
    """A net of convolutions, images (batch, 3, 16, 12), and the second-best classes as labels."""
    classifier = Classifier(build("gap"))
    x = images(batch, seed=3)[..., :12].contiguous()
    return classifier, x, classifier.logits(x).argsort(1, descending=True)[:, 1]


def _few_levels(x: Tensor) -> Tensor:
    """Images of grey levels, as they come from files."""
    return (x * 255).round() / 255


@case
def shares() -> Any:
    draws = np.random.default_rng(5)
    two = np.where(draws.random(30) < 0.3, 2.0, -1.0)
    mostly = np.where(np.arange(40) < 37, 0.25, draws.random(40))
    normal = draws.normal(0.3, 1.0, 25)
    columns = draws.normal(0.1, 1.0, (24, 3)) ** 3
    resampled = statistics.resampled_mean(columns, 1500, 3)
    return {
        "wilson": [statistics.wilson(hits, n) for hits, n in ((0, 7), (3, 7), (7, 7), (50, 90), (0, 0))],
        "exact": [statistics.exact_share(hits, n) for hits, n in ((0, 7), (3, 7), (7, 7), (50, 90))],
        "share_p": [statistics.share_p(hits, n, b) for hits, n, b in ((3, 7, 0.5), (50, 90, 0.4), (0, 9, 0.1))],
        "median": [statistics.median(normal[:n]) for n in (1, 2, 5, 6, 24, 25)],
        "mean": [
            statistics.mean(values, bounds=bounds, seed=1)
            for values, bounds in (
                (normal, None), (two, None), (mostly, (0.0, 1.0)), (mostly, None), (normal[:19], None),
                (normal[:20], (-9.0, 9.0)), (two[:20], None), (np.full(30, 0.5), (0.0, 1.0)), (np.full(30, 0.5), None),
            )
        ],
        "mean_p": [
            statistics.mean_p(values, bound=bound, bounds=bounds, seed=1)
            for values, bound, bounds in (
                (normal, 0.0, None), (two, 0.2, None), (two[:20], -0.3, None), (mostly, 0.3, (0.0, 1.0)),
                (mostly, 0.2, (0.0, 1.0)), (mostly, 0.25, (0.0, 1.0)), (mostly, 0.3, None), (normal[:19], 0.1, None),
                (mostly, 1.5, (0.0, 1.0)), (np.full(30, 0.5), 0.6, (0.0, 1.0)), (np.full(30, 0.5), 0.4, (0.0, 1.0)),
            )
        ],
        "intervals": [resampled.intervals(), resampled.interval(0.8), resampled.p(0.2), resampled.p(-0.1)],
        "mapped": resampled.map(np.exp).intervals(),
        "means": statistics.resampled_means(columns, 1200, 4),
        "flips": [statistics.sign_flip(columns[:n], 500, 2) for n in (5, 8, 24)],
        "signs": [statistics.signs_of(n, 300, 7) for n in (3, 9, 14)],
        "extreme": [
            statistics.extreme_share(np.array([1.0, -2.0, 3.0, -3.0, 0.5])[:, None], np.array([at]), exact=exact)
            for at in (2.0, 3.0, -3.0, 4.0) for exact in (False, True)
        ],
        "holm": statistics.holm(np.array([0.04, 0.01, 0.03, 0.03, 0.9, 0.2])),
        "without": statistics.without_one(5),
    }  # fmt: skip


@case
def draws_and_discoveries() -> Any:
    keys = randomness.row_keys(9, 3)
    v = np.array([0.5, 2.0, np.nan, 4.0, 1.0, 3.5, 2.5])
    turned = np.array([True, True, False, True, False, True, True])
    controls = np.linspace(-2, 2.2, 60)
    logits = torch.tensor([[2.0, 1.0, -1.0], [0.5, 0.5, 3.0], [1.0, 4.0, 4.0]])
    pool = np.array([0.1, 0.4, 0.45, 0.9, 1.4, 2.0, 2.1, 5.0])
    return {
        "uniform": randomness.keyed_uniform(keys, (2, 5), 1),
        "normal": randomness.keyed_normal(keys, (3, 3), 2),
        "sign": randomness.keyed_sign(keys, (7,), 3),
        "bits": randomness.keyed_bits(keys, (4,), 4) % 1000,
        "items": randomness.item_keys(3, ["a/b.png", "c"], "covering") % 1000,
        "confirm": discoveries.confirm(v, turned, controls, 0.2),
        "ranks": discoveries.rank_p_values(np.array([2.0, 0.0, 3.0]), controls),
        "kept": [discoveries.benjamini_hochberg(np.array([0.01, 0.02, 0.2, 0.03, 0.9]), at) for at in (0.05, 0.025, 1)],
        "margins": [margins.error_margin(logits, torch.tensor([1, 0, 2])), margins.best_other(logits, torch.arange(3))],
        "matched": [matching.match_nearest(np.array([0.42, 1.9, 0.0]), pool, wanted) for wanted in (1, 3, 5)],
    }


@case
def balls_and_steps() -> Any:
    from whywrong.attacks import balls
    from whywrong.attacks.inverted import steps

    keys = randomness.row_keys(1, 4)
    x, delta = randomness.keyed_uniform(keys, (2, 3, 5)), 0.3 * randomness.keyed_normal(keys, (2, 3, 5), 1)
    g, need = randomness.keyed_normal(keys, (2, 3, 5), 2), torch.tensor([0.2, 1.5, 6.0, -0.1])
    low, high = -randomness.keyed_uniform(keys, (2, 3, 5), 3), randomness.keyed_uniform(keys, (2, 3, 5), 4)
    box = balls.Box(x, 0.2)
    found: dict[str, Any] = {
        "room": [box.room(), box.room((x + delta).clamp(0, 1)), balls.Box(x, 1.0).room()],
        "clip": box.clip((x + delta).clone()),
        "norms": [balls.norm_of(delta, norm) for norm in ("l0", "l1", "l2", "linf")],
        "unit": balls.unit(delta),
    }
    for norm in ("l2", "linf"):
        ball = balls.Ball(x, 0.4 if norm == "l2" else 0.05, norm)
        found[norm] = [ball.clip(x + delta), ball.random(keys, 2), ball.ascent(delta)]
    for name, step in steps.STEPS.items():
        found[f"{name} step"] = step(g, need, low, high)
    several = torch.stack([g, g.flip(1), g.roll(1, 3)], 1)
    needs = torch.stack([need, need.flip(0), torch.full((4,), 0.5)], 1)
    found["several"] = [
        steps.polyhedral_step(several[:, :2], needs[:, :2], low, high),
        steps.polyhedral_step(several, needs, low, high),
        steps.polyhedral_step(several, 0.1 * needs, 0.2 * low, 0.2 * high),
    ]
    return found


@case
def fixes() -> Any:
    from whywrong.attacks.inverted import InvertedConfig, invert

    classifier, x, y = _gap()
    x = _few_levels(x)
    x[:, :, 3:9, 2:7] = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0, 0.0]).view(-1, 1, 1, 1)  # no room on one side
    settings: list[dict[str, Any]] = [
        {"segments": 9},
        {"norm": "linf", "segments": 6, "polish": 3},
        {"attack": "sign", "rounds": 6, "steps": 12, "segments": 5},
        {"radius": 0.06, "rivals": 2, "segments": 12, "polish": 2, "tighten": 1},
        {"budget": 4, "quantise": False, "segments": 4},
    ]
    names = {field.name for field in dataclasses.fields(InvertedConfig)}
    given = [{name: value for name, value in each.items() if name in names} for each in settings]
    masks = torch.zeros(len(x), 16, 12, dtype=torch.bool)
    masks[:, 4:11, 2:7] = True
    return [invert(classifier, x, y, masks=masks, config=InvertedConfig(**each)) for each in given]


@case
def attacks() -> Any:
    from whywrong.attacks.apgd import APGDConfig, apgd, checkpoints
    from whywrong.attacks.pgd import PGDConfig, pgd

    classifier, x, _ = _gap()
    y, aims = classifier.predict(x), classifier.logits(x).argmin(1)
    found: list[Any] = [checkpoints(100), checkpoints(7)]
    for norm, eps in (("linf", 0.03), ("l2", 0.4)):
        found.append(pgd(classifier, x, y, config=PGDConfig(norm=norm, eps=eps, steps=5, restarts=2, seed=3)))
        found.append(pgd(classifier, x, y, targets=aims, config=PGDConfig(norm=norm, eps=eps, steps=4, loss="dlr")))
        found.append(apgd(classifier, x, y, config=APGDConfig(norm=norm, eps=eps, steps=12, stop_early=False)))
        found.append(apgd(classifier, x, y, targets=aims, config=APGDConfig(norm=norm, eps=eps, steps=9, loss="dlr")))
    return found


@case
def maps() -> Any:
    from whywrong.explain.cam import CamConfig, cam
    from whywrong.explain.covering import CoveringConfig, blurred, covering, window_masks

    classifier, x, y = _gap()
    flat = Classifier(build("flat"))
    square = images(4, seed=8)
    config = CoveringConfig(cells=4, window=3, blur=0.2)
    of_flat = cam(flat, square, flat.logits(square).argsort(1)[:, 2])
    return {
        "cam": [cam(classifier, x, y), cam(classifier, x, y, config=CamConfig(kind="grad_cam_pp")), of_flat],
        "shape": [(each.rows, each.cols) for each in (of_flat, cam(classifier, x, y))],
        "covering": covering(classifier, x, y, detail=torch.arange(6) % 2 == 0, config=config),
        "windows": window_masks(config, 16, 12).float(),
        "blurred": [blurred(x, share) for share in (0.05, 0.2)],
    }


@case
def linear_oracle() -> Any:
    from whywrong.explain.counterfactuals.solvers import lmo

    keys = randomness.row_keys(4, 5)
    w = randomness.keyed_normal(keys, (200,))
    w[1, 50:] = 0
    w[2] = w[2].round()
    up, down = randomness.keyed_uniform(keys, (200,), 1), randomness.keyed_uniform(keys, (200,), 2)
    eps = torch.tensor([0.5, 3.0, 20.0, 90.0, 500.0])
    found = {str(p): lmo.linear_minimization_oracle(w, up, down, eps, p) for p in (1.0, 1.2, 1.5, 2.0, 4.0)}
    return {
        **found,
        "fill": [lmo.fill(w.abs() * 0.01, up, eps, p) for p in (1.0, 1.5, 2.0)],
        "norms": [lmo.lp_norm(w, p) for p in (1.0, 1.5, 2.0)],
        "few": lmo.linear_minimization_oracle(w[:, :20], up[:, :20], down[:, :20], eps / 9, 1.5),
    }


@case
def counterfactuals() -> Any:
    from whywrong.explain.counterfactuals import CounterfactualConfig, counterfactual, maximize, metrics
    from whywrong.explain.counterfactuals.objectives import ClassObjective

    classifier, x, y = _gap(24)
    source = classifier.predict(x)
    with classifier:
        found = maximize(ClassObjective(classifier), x, y, eps=6.0, steps=8)
        other = maximize(ClassObjective(classifier), x, y, p=2.0, eps=1.0, steps=8)
    vce = found.z
    mask = torch.zeros(24, 16, 12, dtype=torch.bool)
    mask[:, 2:9, 3:11] = True
    features, moved = metrics.pooled_features(classifier, x), metrics.pooled_features(classifier, vce)
    return {
        "search": [vce, other.z],
        "validity": [metrics.validity(classifier.logits(vce), y, temperature) for temperature in (1.0, 2.5)],
        "closeness": [metrics.closeness(x, vce, p, eps) for p, eps in ((1.5, 6.0), (1.0, 9.0), (2.0, 1.0))],
        "changed": [metrics.changed_share(x, vce), metrics.changed_share(x, vce, 0.1)],
        "pix90": [metrics.pix90(x, vce), metrics.pix90(x, vce, 0.5)],
        "inside": metrics.mass_inside(x, vce, mask),
        "cout": metrics.cout(classifier, x[:5], vce[:5], y[:5], source[:5], steps=7),
        "features": [features, metrics.frechet(features, moved), metrics.sfid(features, moved, name="gap", seed=2)],
        "diversity": [metrics.diversity(torch.stack([vce, other.z, x]), p) for p in (1.0, 2.0)],
        "method": counterfactual(classifier, x[:3], y[:3], config=CounterfactualConfig(steps=6)),
    }


@case
def trust_and_judges() -> Any:
    from whywrong.explain.counterfactuals import judges, maximize, metrics
    from whywrong.explain.counterfactuals.objectives import ClassObjective
    from whywrong.explain.counterfactuals.trust import TrustConfig, mean_cosine, trust

    classifier, judge, plain = (Classifier(build("gap", seed)) for seed in (0, 5, 6))
    x = images(24, seed=3)
    y = classifier.logits(x).argsort(1, descending=True)[:, 1]
    keys = randomness.row_keys(2, 24)
    with classifier:
        vce = maximize(ClassObjective(classifier), x, y, eps=8.0, steps=6).z
    few, short = slice(0, 5), {"controls": 21, "stretch": 1.5, "quantile": 0.8, "steps": 4}
    asked = judges.ask_judges([judge, plain], x[few], vce[few], y[few], keys[few], **short)
    plains, _ = judges.plain_counterfactuals([plain], x, vce, y, p=1.5, steps=5)
    paired = judges.ask_judges(
        [judge], x, vce, y, keys, plain=[plain], plain_vces=plains, paired=True, steps=5, quantile=0.7
    )
    config = TrustConfig(controls=20, control_steps=5, draws=3, sigma=0.1, blur=1.2, jpeg_quality=50, kept=0.4)
    return {
        "asked": asked, "paired": paired, "agreement": metrics.judge_agreement(paired), "plains": plains,
        "rises": judges.paired_threshold(torch.linspace(-1, 3, 40)[:, None] ** 2, 0.9),
        "permuted": judges.permuted(x[few], vce[few], keys[few], 2, 1.5),
        "large": judges.as_large(x, x + 0.5 * (vce - x).abs(), vce, 1.5),
        "trust": [
            trust(classifier, x[few], vce[few], y[few], judges=[judge], config=config),
            trust(classifier, x[few], vce[few], y[few], config=config),
            trust(classifier, x, vce, y, judges=[judge], plain=[plain], plain_vces=plains, paired=True, config=config),
        ],
        "cosine": mean_cosine(classifier, x[few], y[few], keys[few], config),
    }  # fmt: skip


@case
def interactions() -> Any:
    from whywrong.explain.interactions import InteractionsConfig, all_pairs, estimate, group_profile
    from whywrong.explain.masking.games import TableGame

    tables = random_tables(2 * 24, 8).view(24, 2, -1).transpose(1, 2)
    game, pairs = TableGame(tables), all_pairs(8)
    found: list[Any] = []
    for method in ("faithful", "shared", "balanced"):
        config = InteractionsConfig(method=method, contexts=6, orders=(0, 2, 5, 6), units=3, seed=4)
        found.append(estimate(game, pairs[:9], config=config))
    precise = estimate(game, pairs, config=InteractionsConfig(precision=0.4, pilot=4, max_passes=1500))
    full = estimate(game, pairs, config=InteractionsConfig(contexts=4, orders=(0, 3, 6)))
    groups = [group_profile(full, rows, draws=1000, seed=2) for rows in (range(24), range(3, 23))]
    intervals = [full.interval(name, level) for name in ("A", "M", "U", "overall") for level in (0.9, 0.95)]
    return [found, precise, groups, intervals]


@case
def patches() -> Any:
    from whywrong.explain import patch_groups as pg
    from whywrong.explain.masking.players import PlayersConfig

    classifier, x, y = _gap(4)
    vit = Classifier(tiny_vit())
    views = vit_images(3)
    label = vit.logits(views).argsort(1, descending=True)[:, 1]
    keys = randomness.row_keys(6, 3)
    game = pg.PatchGame(vit, views, label)
    pixels = pg.PatchGame(classifier, x, y, config=PlayersConfig(kind="pixels", grid=4))
    orders = {
        f"{name} {deletion}": pg.order_of(
            name, vit, views, label, game, keys, deletion=deletion, steps=4, permutations=2
        )
        for name in pg.RANKINGS for deletion in (False, True)
    }  # fmt: skip
    return {
        "vit": pg.patch_groups(vit, views, label, detail=torch.tensor([True, False, True])),
        "pixels": pg.patch_groups(classifier, x, y, config=pg.PatchGroupsConfig(kind="pixels", grid=4, most=0.5)),
        "orders": orders,
        "curves": pg.curves(game, orders["moxi False"], deletion_order=orders["moxi True"], steps=5),
        "rollout": pg.rollout(vit, views),
        "grad_cam": [pg.grad_cam(classifier, x, y, grid=(4, 3)), pg.grad_cam(vit, views, label)],
        "shapley": [
            pg.shapley_values(game, "log_odds_true", keys, 3),
            pg.shapley_by_contexts(game, "log_odds_true", keys, 3),
        ],
        "greedy": [
            pg.greedy_order(pixels, "log_odds_true", adds=adds, steps=6, ask_start=ask, lazy=lazy)
            for adds, ask, lazy in ((True, True, 0), (False, True, 2), (True, False, 0))
        ],
    }


@case
def spurious() -> Any:
    from whywrong.explain import spurious as sp

    classifier = toy_classifier()
    x, label, cue = toy_images(40, (0.5, 0.2, 0.1), seed=1)
    features = by_hand(x.mean((2, 3)), classifier, label)
    head: Any = classifier.module.head
    weight, bias = head.weight.detach(), head.bias.detach()
    found = {
        index: sp.class_components(
            features.phi[label == index], features.logits[label == index, index],
            weight[index], float(bias[index]), index,
            config=sp.NeuralPCAConfig(components=3, min_images=5),
        )
        for index in (0, 1)
    }  # fmt: skip
    alphas = {index: found[index].alphas(features.phi) for index in found}
    levels = {
        index: sp.find_levels(found[index], alphas[index][label == index], alphas[index][label != index])
        for index in found
    }
    chosen = {0: [0], 1: [0, 1]}
    fixes = sp.fixes_of(found, levels, chosen)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2)))[0]
    turned = toy_classifier(rotation)
    phi = by_hand(x.mean((2, 3)) @ rotation.T, turned, label).phi
    others = x.mean((2, 3))[label != 0] @ rotation.T
    away: Any = turned.module.head.weight[0].detach()
    rows = sp.low_spuriosity(features, found, chosen, 0.4)
    refit = sp.refit_head(features, rows, pull=0.01, steps=60)
    flat, other = Classifier(build("flat")), images(24, seed=4)
    seen, _ = sp.image_features(flat, other, flat.predict(other))
    last: Any = list(flat.module.modules())[-1]  # type: ignore[union-attr]
    of_flat = sp.class_components(
        seen.phi,
        seen.logits[:, 2],
        last.weight[2].detach(),
        float(last.bias[2].detach()),
        2,
        config=sp.NeuralPCAConfig(components=2),
    )
    return {
        "flat maps": sp.component_maps(flat, other[:5], of_flat),
        "both": sp.matched_fix(
            found[0], [0, 1], features.phi, phi, away, 0, others=by_hand(others, turned, label[:30]).phi
        ),
        "components": found, "levels": levels, "alphas": alphas, "fixes": fixes, "rows": rows, "refit": refit,
        "maps": sp.component_maps(classifier, x[:5, :, :, :6].contiguous(), found[0]),
        "features": sp.image_features(classifier, x[:9], label[:9]),
        "harm": [
            sp.harmful(found[0], levels[0], features, searched=4, config=sp.HarmfulConfig(min_carriers=3, start=start))
            for start in ("others", "mean")
        ],
        "logits": [
            sp.fixed_logits(features.logits, features.phi, fixes),
            sp.repair(classifier, fixes).logits(x[:9]),
            sp.with_head(classifier, refit).logits(x[:9]),
        ],
        "matched": sp.matched_fix(
            found[0], [0], features.phi, phi, away, 0, others=by_hand(others, turned, label[:30]).phi
        ),
        "spuriosity": [sp.spuriosity(alphas[0][:, 0], cue, share=share) for share in (0.25, 0.4)],
        "areas": [
            area(alphas[0][cue, 0].numpy().round(1), alphas[0][~cue, 0].numpy().round(1))
            for area in (sp.average_precision, sp.roc_area)
        ],
    }  # fmt: skip


@case
def changes() -> Any:
    from whywrong.explain import spurious as sp
    from whywrong.explain.counterfactuals import maximize
    from whywrong.explain.counterfactuals.objectives import ClassObjective

    classifier, x, _ = _gap(30)
    with classifier:
        target = torch.ones(30, dtype=torch.int64)
        changed = maximize(ClassObjective(classifier), x, target, eps=12.0, steps=6).z
    objects = torch.zeros(30, 16, 12, dtype=torch.bool)
    objects[:20, 6:12, 2:9] = True
    found = sp.class_change(x, changed, 1, objects=objects, side=4, clusters=2, fewest=10)
    wide = sp.class_change(x, changed, 1, clusters=3, fewest=10)
    unset: Any = {"forwards": None, "backwards": None}  # where a search ends early, a pass more or less is rounding
    route = sp.RouteConfig(eps=4.0, steps=4, side=4, clusters=2, fewest=10)
    return {
        "change": [found, wide],
        "inside": sp.mass_inside(x, changed, objects),
        "outside": sp.mass_outside(x[:20], changed[:20], objects[:20]),
        "transplant": [sp.transplant(classifier, x, found, tested=tested, seed=2) for tested in (2, 4)],
        "route": dataclasses.replace(sp.changes_into(classifier, x, 2, config=route), **unset),
    }


class Steps(nn.Module):
    """Three classes by brightness of a grey image, with products of cells, so that cells interact."""

    def forward(self, x: Tensor) -> Tensor:
        cells = nn.functional.avg_pool2d(x, 8).flatten(1)
        level = cells.mean(1) + 0.4 * (cells[:, :-1] * cells[:, 1:] - cells[:, 1:] ** 2).mean(1)
        return -300 * (level[:, None] - torch.tensor([0.3, 0.5, 0.7])).square()


def brightness_steps() -> tuple[Tensor, Tensor, dict[str, Any]]:
    """60 grey images of three levels, their labels, one in five wrong, and settings that keep claims short."""
    keys = randomness.row_keys(0, 60)
    y = torch.arange(60) % 3
    level = 0.3 + 0.2 * y + 0.08 * (2 * randomness.keyed_uniform(keys, ()) - 1)
    cells = 0.1 * randomness.keyed_normal(keys, (1, 4, 4), 1)
    x = (level.view(-1, 1, 1, 1) + cells.repeat_interleave(8, 2).repeat_interleave(8, 3)).clamp(0, 1)
    settings = {"limit": 6, "pool": 40, "players": "pixels", "grid": 4, "contexts": 2, "noise": None,
                "kinds": "brightness", "eps": 0.1, "draws": 1000, "permutations": 4}  # fmt: skip
    return x, torch.where(torch.arange(60) % 5 == 0, (y + 1) % 3, y), settings


@case
def claims_of_interactions() -> Any:
    from whywrong.reproduce.protocol import TensorImages
    from whywrong.reproduce.running import run_claim

    x, y, settings = brightness_steps()
    data = TensorImages(x, y, batch_size=16)
    one, two = Classifier(Steps()), Classifier(Steps())
    found = {}
    for number in (1, 2, 4, 7, 8):
        models = [one, two] if number in (4, 5) else [one]
        own = {name: value for name, value in settings.items() if number != 8 or name in ("limit", "grid", "draws")}
        found[f"C{number}"] = claim_numbers(run_claim(f"interactions.C{number}", models, data, own))
    return found


@case
def other_claims() -> Any:
    from whywrong.reproduce.class_ranks import class_ranks
    from whywrong.reproduce.error_batches import error_batches
    from whywrong.reproduce.null_cases import null_cases, permuted_classifier, phase_scrambled, random_labels
    from whywrong.reproduce.protocol import TensorImages
    from whywrong.reproduce.running import run_claim

    classifier, x, y = _gap(30)
    y = torch.where(torch.arange(30) % 3 == 0, classifier.predict(x), y)
    wrong = classifier.predict(x) != y
    data = TensorImages(_few_levels(x), y, batch_size=7)
    judge = Classifier(build("gap", 5))
    fast = {"limit": 22, "steps": 5, "long": 9}
    x_toy, label, _ = toy_images(120, (0.5, 0.2, 0.2))
    found: dict[str, Any] = {
        f"inverted.{number}": run_claim(f"inverted.{number}", [classifier], data, given)
        for number, given in ((1, {}), (1, {"whole_levels": False}), (3, {"limit": 12}), (6, {}))
    }
    found |= {
        f"counterfactuals.C{number}": run_claim(f"counterfactuals.C{number}", [classifier], data, fast)
        for number in (1, 2, 3, 4, 5)
    }
    found["counterfactuals.C7"] = run_claim("counterfactuals.C7", [toy_classifier()], TensorImages(x_toy, label))
    found["counterfactuals.C6"] = run_claim(
        "counterfactuals.C6", [classifier, judge], data, {"limit": 24, "steps": 4}, judges=[Classifier(build("gap", 6))]
    )
    return {
        "claims": {name: claim_numbers(result) for name, result in found.items()},
        "ranks": class_ranks(classifier, x[wrong], y[wrong]),
        "errors": [
            (images, labels) for images, labels, _ in error_batches(classifier, data, limit=9, batch_size=4)
        ],
        "labels": [random_labels(4, y, seed=3), random_labels(6, y, classifier.predict(x), seed=3)],
        "scrambled": phase_scrambled(x, seed=2),
        "permuted": permuted_classifier(classifier, x, seed=1).logits(x),
        "nulls": [(null.name, null.x, null.y) for null in null_cases(classifier, x, y, most=9, seed=4)],
    }  # fmt: skip


def claim_numbers(result: Any) -> dict[str, Any]:
    """What a claim says; pictures and settings are left out."""
    kept = ("effect", "interval", "n", "verdict", "numbers", "samples")
    return {name: getattr(result, name) for name in kept}


def summary(value: Any) -> Any:
    """Describe any result in numbers and words, small enough to be stored.

    An array becomes its shape, its sum, the sum of its sizes, a sum weighted by place, and how many values are not
    finite. Residuals are left out: they are what rounding leaves.
    """
    if isinstance(value, Tensor | np.ndarray):
        return _of_array(np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        left_out = {name for name in kept if name.endswith("residual") or isinstance(kept[name], Classifier)}
        return {name: summary(part) for name, part in kept.items() if name not in left_out}
    if isinstance(value, Mapping):
        return {str(name): summary(part) for name, part in value.items()}
    if isinstance(value, bool | str) or value is None:
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.7g}") if math.isfinite(value) else str(float(value))
    if isinstance(value, Sequence | set | frozenset):
        return [summary(part) for part in value]
    return type(value).__name__


def _of_array(array: np.ndarray) -> dict[str, Any]:
    if array.dtype.kind not in "biuf":
        return {"list": [str(part) for part in array.ravel()]}
    flat = array.astype(np.float64).ravel()
    finite = np.where(np.isfinite(flat), flat, 0.0)
    weighted = float(finite @ np.cos(np.arange(len(flat)) * 0.7 + 0.3))
    sums = [float(f"{part:.8g}") for part in (finite.sum(), np.abs(finite).sum(), weighted)]
    return {"shape": list(array.shape), "sums": sums, "odd": int((~np.isfinite(flat)).sum())}
