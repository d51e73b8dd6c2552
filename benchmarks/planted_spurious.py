"""Are the tools for spurious features right where the cue is known? A net that learnt fish with a sticker.

Three questions, each beside its floor:

1. Neural PCA. Is the sticker among the first three components of fish? Each component is compared on the same pictures
   with and without the sticker (AUC of alpha; mean gap in logits), and by the share of its map on the sticker, beside
   the sticker's share of the area.
2. SpuFix, and a last layer fitted again. How many pictures of other classes that carry the sticker are read as fish,
   before and after, and what does it cost in accuracy on pictures without stickers? SpuFix from the level of other
   classes, and in the published form.
3. Counterfactuals. Which share of the change lies on the sticker: of pictures that carry it and are read as fish, into
   their true class and deeper into fish; of pictures of other classes that carry it and are read rightly, into fish;
   and of pictures without, on the four places where stickers are. The net knows no places (its head is a mean), and
   may draw what stands for a sticker anywhere: so beside it stand the share of the gain in the logit of fish that
   comes through component 1, and the share of the change inside the one window of 16 pixels (a sticker measures 14),
   and of 24, where component 1 gains most. On the net itself, and on a robust copy of it (--copy, fine-tuned here; the
   net is not robust, so that its own changes are noise, as they should be).

    python benchmarks/planted_spurious.py --limit 480 --changes 40 --copy 2400
"""

from __future__ import annotations

import argparse
import json
import platform
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.randomness import row_keys
from whywrong.core.statistics import mean, wilson
from whywrong.data.planted import CUES, NAMES, Scene, ordinary_scene, render
from whywrong.explain.counterfactuals import default_radius, maximize
from whywrong.explain.counterfactuals.finetune import FinetuneConfig, finetune
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.explain.spurious import (
    ClassComponents,
    Features,
    Levels,
    class_components,
    component_maps,
    find_levels,
    fixed_logits,
    image_features,
    low_spuriosity,
    make_fix,
    mass_inside,
    refit_head,
    roc_area,
)
from whywrong.models.classifier import Classifier
from whywrong.models.layers.last_layer import find_last_layer
from whywrong.models.loading.zoo import load_classifier
from whywrong.planting.training import RECIPES, training_scene

MODEL = "cnn-spurious"
SEED = 21  # of the pictures: neither those of training nor those of the shipped sets
FISH = NAMES.index(RECIPES[MODEL].cue_class)
SCALES = (0.25, 1.0)  # of the default radius


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=480, help="test pictures")
    parser.add_argument("--reference", type=int, default=1440, help="training pictures for the components")
    parser.add_argument("--changes", type=int, default=40, help="counterfactuals a group; 0 leaves them out")
    parser.add_argument("--copy", type=int, default=0, help="training pictures for the robust copy; 0 leaves it out")
    parser.add_argument("--epochs", type=int, default=4, help="of the robust copy")
    parser.add_argument("--eps", type=float, default=FinetuneConfig().eps_linf, help="of its l_inf attack")
    parser.add_argument("--steps", type=int, default=30, help="of a search")
    parser.add_argument("--norms", type=float, nargs="+", default=[1.0, 1.5, 2.0], help="exponents of the search")
    options = parser.parse_args()
    torch.set_num_threads(1)
    net = load_classifier(f"planted:{MODEL}", batch_size=64)
    shown = training_scene(RECIPES[MODEL])[slice(0, options.reference)]
    reference = read(net, shown)
    components, levels = found(net, reference)
    plain = ordinary_scene(row_keys(SEED, options.limit))
    marked = plain.but(cue=CUES.index("mark") + torch.zeros_like(plain.label))
    with net:
        features = {name: read(net, scene) for name, scene in (("plain", plain), ("marked", marked))}
        report: dict[str, Any] = {
            "machine": {"torch": torch.__version__, "python": platform.python_version(), "cpu": platform.machine()},
            "model": f"planted:{MODEL}",
            "pictures": options.limit,
            "reference": options.reference,
            "components": ranked(net, components, features, marked),
            "spufix": {start: fixed(components, levels, features, start) for start in ("others", "class")},
            "refit": refitted(components, reference, features),
        }
    if options.changes:
        report["changes"] = {"net": changes(net, components, plain, marked, options)}
        if options.copy:
            copy, facts = robust_copy(net, options.copy, options.epochs, options.eps)
            report["copy"] = facts
            report["changes"]["copy"] = changes(copy, found(copy, read(copy, shown))[0], plain, marked, options)
    print(json.dumps(report, indent=1))


def found(net: Classifier, reference: Features) -> tuple[ClassComponents, Levels]:
    """Components of fish in training pictures, and their levels."""
    own, others = reference[reference.label == FISH], reference[reference.label != FISH]
    last = find_last_layer(net, (3, 64, 64))
    weight, bias = last.weight[FISH], float(last.bias[FISH])
    components = class_components(own.phi, own.logits[:, FISH], weight, bias, FISH)
    return components, find_levels(components, own.phi, others.phi)


def draw(scene: Scene) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, 64, 64) in [0, 1] and the places of their stickers (N, 64, 64)."""
    parts = [render(scene[rows]) for rows in torch.arange(len(scene)).split(120)]
    return torch.cat([part.images for part in parts]).float() / 255, torch.cat([part.cue for part in parts])


def read(net: Classifier, scene: Scene) -> Features:
    """Features of pictures."""
    return Features.cat(
        [
            image_features(net, draw(scene[rows])[0], scene.label[rows])[0]
            for rows in torch.arange(len(scene)).split(120)
        ]
    )


def ranked(
    net: Classifier, components: ClassComponents, features: dict[str, Features], marked: Scene
) -> list[dict[str, Any]]:
    """How much of the sticker is in each component, in the order of their variance."""
    others = features["plain"].label != FISH
    with_cue, without = (components.alphas(features[name].phi) for name in ("marked", "plain"))
    some = others.nonzero().flatten()[:60]
    x, cue = draw(marked[some])
    maps = component_maps(net, x, components)
    rows = []
    for number in range(len(components)):
        positive = maps.maps[:, number].clamp_min(0)
        spread = torch.nn.functional.interpolate(positive[:, None], size=64, mode="nearest")[:, 0].double()
        total = spread.sum((1, 2))
        share = ((spread * cue).sum((1, 2)) / total)[total > 0]
        cells = torch.nn.functional.adaptive_max_pool2d(cue[:, None].float(), maps.maps.shape[2:])[:, 0].flatten(1)
        peak = positive.flatten(1).argmax(1, keepdim=True)
        a, b = with_cue[others, number].numpy(), without[others, number].numpy()
        rows.append(
            {
                "rank": number + 1,
                "share_of_variance": float(components.share[number]),
                "auc_with_and_without": roc_area(a, b),
                "auc_own_class": roc_area(with_cue[~others, number].numpy(), without[~others, number].numpy()),
                "gap_logits": float((a - b).mean()),
                "map_on_cue": float(share.mean()),
                "map_peak_touches_cue": float(cells.gather(1, peak).mean()),
                "cue_area": float(cue.double().mean()),
            }
        )
    return rows


def fixed(components: ClassComponents, levels: Levels, features: dict[str, Features], start: Any) -> dict[str, Any]:
    """Component 1 taken away."""
    fix = make_fix(components, [0], levels, start)
    return repaired(features, {name: fixed_logits(one.logits, one.phi, [fix]) for name, one in features.items()})


def refitted(components: ClassComponents, reference: Features, features: dict[str, Features]) -> dict[str, Any]:
    """The last layer fitted again on reference pictures that show little of component 1."""
    head = refit_head(reference, low_spuriosity(reference, {FISH: components}, {FISH: [0]}))
    return repaired(features, {name: one.logits + head(one.phi) for name, one in features.items()})


def repaired(features: dict[str, Features], logits: dict[str, Tensor]) -> dict[str, Any]:
    """What other logits make of the same pictures."""
    after = {name: scores.argmax(1) for name, scores in logits.items()}
    before = {name: one.predicted for name, one in features.items()}
    label, others = features["plain"].label, features["plain"].label != FISH
    rates = {}
    for name, read_as in (("before", before["marked"]), ("after", after["marked"])):
        hits = wilson(int((read_as[others] == FISH).sum()), int(others.sum()))
        rates[name] = [hits.value, hits.low, hits.high]
    right = {name: (one["plain"] == label).double().numpy() for name, one in (("before", before), ("after", after))}
    change = mean(right["after"] - right["before"])
    return {
        "marked_others_read_as_fish": rates,
        "plain_accuracy": {name: float(hits.mean()) for name, hits in right.items()},
        "plain_accuracy_change_points": [100 * change.value, 100 * change.low, 100 * change.high],
        "plain_fish_accuracy": {name: float(hits[~others.numpy()].mean()) for name, hits in right.items()},
        "marked_fish_accuracy": {
            "before": float((before["marked"][~others] == FISH).double().mean()),
            "after": float((after["marked"][~others] == FISH).double().mean()),
        },
    }


def robust_copy(net: Classifier, pictures: int, epochs: int, eps: float) -> tuple[Classifier, dict[str, Any]]:
    """The net fine-tuned against attacks on its own training pictures, stickers included."""
    scene = training_scene(RECIPES[MODEL])[slice(0, pictures)]
    tuned = finetune(
        net, draw(scene)[0], scene.label, config=FinetuneConfig(epochs=epochs, eps_linf=eps, attack_steps=3)
    )
    facts = {
        "pictures": pictures,
        "epochs": epochs,
        "eps": eps,
        "agreement": tuned.agreement.value,
        "accuracy": tuned.accuracy.value,
        "robust_accuracy": tuned.robust_accuracy.value,
        "robust_accuracy_before": tuned.robust_accuracy_before.value,
    }
    return tuned.classifier, facts


def changes(
    net: Classifier, components: ClassComponents, plain: Scene, marked: Scene, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Share of the change on the sticker, by group, norm and radius."""
    most = options.changes
    others = (plain.label != FISH).nonzero().flatten()
    (x, _), (x_marked, cue) = draw(plain[others]), draw(marked[others])
    label = plain.label[others]
    right, read_as = net.predict(x) == label, net.predict(x_marked)
    fooled = (right & (read_as == FISH)).nonzero().flatten()[:most]
    steady = (right & (read_as == label)).nonzero().flatten()[:most]
    some = right.nonzero().flatten()[:most]
    spots = cue.any(0).expand(len(some), -1, -1)
    fish = torch.full_like(label, FISH)
    groups = {
        "marked, read as fish, into the true class": (x_marked[fooled], label[fooled], cue[fooled]),
        "marked, read as fish, deeper into fish": (x_marked[fooled], fish[fooled], cue[fooled]),
        "marked, read rightly, into fish": (x_marked[steady], fish[steady], cue[steady]),
        "without, into fish, on the four places": (x[some], fish[some], spots),
    }
    rows = []
    for name, (images, target, mask) in groups.items():
        for p in options.norms if len(images) else ():
            for scale in SCALES:
                facts, result = one_change(net, images, target, mask, p, scale, options.steps)
                if bool((target == FISH).all()):
                    facts["gain_through_component_1"] = through_cue(net, components, images, result)
                    facts["mass_where_it_gains"] = {
                        f"{8 * cells} px": where_it_gains(net, components, images, result, cells) for cells in (2, 3)
                    }
                rows.append({"group": name, **facts})
    return rows


def one_change(
    net: Classifier, x: Tensor, target: Tensor, mask: Tensor, p: float, scale: float, steps: int
) -> tuple[dict[str, Any], Tensor]:
    """One group at one norm and radius, and the counterfactuals."""
    eps = scale * default_radius(p, x[0].numel())
    with net:
        result = maximize(ClassObjective(net), x, target, p=p, eps=eps, steps=steps)
    share = mass_inside(x, result.z, mask).numpy()
    share = share[~np.isnan(share)]
    on_cue = mean(share)
    area = float(mask.double().mean())
    facts = {
        "p": p,
        "eps": eps,
        "n": len(share),
        "mass_on_cue": [on_cue.value, on_cue.low, on_cue.high],
        "area": area,
        "lift": on_cue.value / area,
        "valid": float((result.logits.argmax(1) == target).double().mean()),
    }
    return facts, result.z


def through_cue(net: Classifier, components: ClassComponents, x: Tensor, changed: Tensor) -> list[float]:
    """Share of the gain in the logit of fish that component 1 makes, over images that gain; with its interval."""
    label = torch.full((len(x),), FISH)
    before, after = (image_features(net, images, label)[0] for images in (x, changed))
    gain = (after.logits - before.logits)[:, FISH].double()
    part = (components.alphas(after.phi) - components.alphas(before.phi))[:, 0]
    share = mean((part / gain)[gain > 0.1].numpy())
    return [share.value, share.low, share.high]


def where_it_gains(
    net: Classifier, components: ClassComponents, x: Tensor, changed: Tensor, cells: int
) -> dict[str, Any]:
    """Share of the change inside the window, ``cells`` by ``cells`` of the map, where component 1 gains most."""
    after, before = (component_maps(net, images, components).maps[:, :1] for images in (changed, x))
    sums = torch.nn.functional.avg_pool2d(after - before, cells, stride=1)[:, 0]  # (B, n, n)
    best = sums.flatten(1).argmax(1)
    top, left = (8 * (best // sums.shape[2]))[:, None, None], (8 * (best % sums.shape[2]))[:, None, None]
    at = torch.arange(x.shape[2])
    rows, columns = at[None, :, None], at[None, None, :]
    side = 8 * cells
    window = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    share = mass_inside(x, changed, window).numpy()
    mass = mean(share[~np.isnan(share)])
    return {"mass": [mass.value, mass.low, mass.high], "area": side**2 / x[0, 0].numel()}


if __name__ == "__main__":
    main()
