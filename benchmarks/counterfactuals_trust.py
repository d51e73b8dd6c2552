"""Do judges tell counterfactuals that mean something from those that do not, and what does guidance bring?

Counterfactuals (p = 1.5, 30 Frank-Wolfe steps) of two adversarially trained and three ordinary CIFAR-10 nets, on the
first lossless test images, targets fixed; judged by the adversarially trained nets that took no part in the search.
Controls are counterfactuals of the ordinary nets other than the explained one. Reported: AUROC of the trust score
(least convinced judge) between the two kinds, pooled, by explained robust net, by judge alone, and with shuffled
controls; verdicts by net; coherence and survival. Then the guidance of an ordinary net by ``robust_vit``, judged by
``robust_resnet``, and the other way around; the floor is the plain gradient, and the images untouched. With
``--planted`` the same on the nets and pictures that ship with the package, and a fine-tuned copy.

    python benchmarks/counterfactuals_trust.py --data ../shared/data --limit 100 --out trust.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from whywrong.core.statistics import wilson
from whywrong.explain.counterfactuals.finetune import FinetuneConfig, finetune
from whywrong.explain.counterfactuals.guidance import ConeGuidance, EnsembleGuidance, SmoothGuidance
from whywrong.explain.counterfactuals.judges import Opinion
from whywrong.explain.counterfactuals.metrics import cout, pix90, pooled_features, sfid, validity
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.explain.counterfactuals.solvers.maximize import maximize
from whywrong.explain.counterfactuals.trust import DAMAGES, TrustConfig, TrustResult, trust
from whywrong.models.classifier import Classifier

ROBUST = ("robust_resnet", "robust_vit")
PLAIN = ("resnet20", "resnet56", "small_vit")
P, STEPS = 1.5, 30


def cifar(data: Path, limit: int) -> tuple[dict[str, Classifier], Tensor, Tensor]:
    """The five nets, and the first ``limit`` lossless test images with their labels."""
    spec = importlib.util.spec_from_file_location("shared_models", data / "models.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["shared_models"] = module
    spec.loader.exec_module(module)
    nets = {name: Classifier(module.build(name), batch_size=100) for name in (*ROBUST, *PLAIN)}
    with np.load(data / "cifar10_test_a" / "test_lossless.npz") as arrays:
        x = torch.from_numpy(arrays["images"][:limit]).permute(0, 3, 1, 2).contiguous().float() / 255
        y = torch.from_numpy(arrays["labels"][:limit]).long()
    return nets, x, y


def targets(y: Tensor, classes: int) -> Tensor:
    """Another class for every image, all of them in turn."""
    return (y + 1 + torch.arange(len(y)) % (classes - 1)) % classes


def changed(objective: Any, net: Classifier, x: Tensor, target: Tensor, eps: float, p: float = P) -> Tensor:
    keys = torch.arange(len(x))
    with net:
        return maximize(objective, x, target, p=p, eps=eps, steps=STEPS, keys=keys).z


def auroc(plain: Sequence[Tensor], robust: Sequence[Tensor]) -> dict[str, float]:
    """AUROC with a bootstrap interval over counterfactuals."""
    a, b = torch.cat(list(plain)).numpy(), torch.cat(list(robust)).numpy()
    rng = np.random.default_rng(0)

    def value(first: np.ndarray, second: np.ndarray) -> float:
        return float(roc_auc_score([0] * len(first) + [1] * len(second), np.concatenate([first, second])))

    draws = [value(rng.choice(a, len(a)), rng.choice(b, len(b))) for _ in range(1000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"value": value(a, b), "low": float(low), "high": float(high), "plain": len(a), "robust": len(b)}


def quantiles(values: Tensor) -> list[float]:
    known = values[values.isfinite()].double()
    return [round(float(known.quantile(q)), 4) for q in (0.05, 0.25, 0.5, 0.75, 0.95)] if len(known) else []


def told(result: TrustResult) -> dict[str, Any]:
    """The verdicts of one set of counterfactuals in numbers."""
    n = len(result.verdict)
    counts = {name: result.verdict.count(name) for name in ("semantic", "undecided", "adversarial")}
    opinion: Opinion = result.opinion
    not_semantic = wilson(n - counts["semantic"], n)
    return {
        "verdicts": counts,
        "not_semantic": [not_semantic.value, not_semantic.low, not_semantic.high],
        "agree_by_judge": opinion.agrees.float().mean(0).tolist(),
        "flips_by_judge": opinion.flips.float().mean(0).tolist(),
        "mean_rise_by_judge": opinion.rise.mean(0).tolist(),
        "controls": [opinion.kind, opinion.controls],
        "score_quantiles": quantiles(result.score),
        "coherence_quantiles": quantiles(result.coherence),
        "kept_quantiles": {name: quantiles(result.kept[:, i]) for i, name in enumerate(DAMAGES)},
    }


def separation(
    nets: dict[str, Classifier],
    robust: Sequence[str],
    plain: Sequence[str],
    vces: dict[str, Tensor],
    x: Tensor,
    target: Tensor,
) -> dict[str, Any]:
    """Trust in the counterfactuals of every net, with both kinds of controls; AUROCs."""
    numbers: dict[str, Any] = {"nets": {}, "auroc": {}}
    for kind in ("plain_counterfactuals", "permuted"):
        results: dict[str, TrustResult] = {}
        for name, vce in vces.items():
            results[name] = trust(
                nets[name], x, vce, target,
                judges=[nets[r] for r in robust if r != name],
                plain_vces=[vces[q] for q in plain if q != name] if kind == "plain_counterfactuals" else (),
                p=P,
            )  # fmt: skip
            reached = validity(nets[name].logits(vce), target)
            numbers["nets"].setdefault(name, {})[kind] = told(results[name])
            numbers["nets"][name]["flip_rate"] = reached.flip_rate
            numbers["nets"][name]["mean_probability"] = reached.mean_probability
            numbers["nets"][name]["pix90"] = float(pix90(x, vce).nanmean())
        scores = {name: result.score for name, result in results.items()}
        found = {"pooled": auroc([scores[q] for q in plain], [scores[r] for r in robust])}
        for name in robust:
            found[f"explained {name}"] = auroc([scores[q] for q in plain], [scores[name]])
        for j, judge in enumerate(robust):
            alone = {q: _score(results[q].opinion, j) for q in plain}
            for name in robust:
                if name != judge:
                    found[f"judge {judge} alone"] = auroc(list(alone.values()), [scores[name]])
                    found[f"judge {judge} alone, raw rise"] = auroc(
                        [results[q].opinion.rise[:, j] for q in plain], [results[name].opinion.rise[:, 0]]
                    )
        numbers["auroc"][kind] = found
        print(f"{kind} done", file=sys.stderr, flush=True)
    numbers["auroc"]["coherence alone"] = auroc(
        [results[q].coherence for q in plain], [results[r].coherence for r in robust]
    )
    return numbers


def _score(opinion: Opinion, judge: int) -> Tensor:
    centre, threshold = opinion.centre[:, judge], opinion.threshold[:, judge]
    return (opinion.rise[:, judge] - centre) / (threshold - centre)


def guided(
    nets: dict[str, Classifier],
    explained: str,
    aux: str,
    judge: str,
    controls: dict[str, Tensor],
    x: Tensor,
    target: Tensor,
    eps: float,
) -> dict[str, Any]:
    """Table 3: who believes counterfactuals of an ordinary net, by guidance."""
    net, help_ = nets[explained], nets[aux]
    objectives = {
        "plain gradient": ClassObjective(net),
        "cone 30": ConeGuidance(net, help_, 30.0),
        "cone 60": ConeGuidance(net, help_, 60.0),
        "ensemble": EnsembleGuidance(net, help_),
        "smoothing (sigma 0.1, 4 draws)": SmoothGuidance(net, 0.1, 4),
    }
    rows: dict[str, Any] = {}
    right = (net.predict(x) != target) & (nets[judge].predict(x) != target)
    x, target = x[right], target[right]
    controls = {name: vce[right] for name, vce in controls.items()}
    source = net.predict(x)
    for name, objective in {"untouched": None, **objectives, "aux gradient only": ClassObjective(help_)}.items():
        start = time.perf_counter()
        z = x if objective is None else changed(objective, help_ if name.startswith("aux") else net, x, target, eps)
        seconds = time.perf_counter() - start
        reached = {who: validity(nets[who].logits(z), target) for who in (explained, aux, judge)}
        rows[name] = {
            who: {"flip_rate": v.flip_rate, "mean_probability": v.mean_probability} for who, v in reached.items()
        } | {"seconds": seconds, "n": len(x)}
        if objective is None:
            continue
        result = trust(
            net, x, z, target, judges=[nets[judge]], aux=None if name == "plain gradient" else help_,
            plain_vces=[vce for q, vce in controls.items() if q != explained or name != "plain gradient"], p=P,
        )  # fmt: skip
        rows[name]["trust"] = told(result)
        rows[name]["pix90"] = float(pix90(x, z).nanmean())
        rows[name]["cout"] = float(cout(net, x[:40], z[:40], target[:40], source[:40]).mean())
        features = [pooled_features(nets[judge], part) for part in (x, z)]
        rows[name]["sfid"] = vars_of(sfid(*features, name=judge))
        print(f"{explained} guided by {aux}: {name} done", file=sys.stderr, flush=True)
    return rows


def vars_of(found: Any) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("name", "value", "n", "biased")}


def planted(limit: int, epochs: int, pictures: int) -> dict[str, Any]:
    """The shipped nets: verdicts, guidance of the ordinary one by the robust one, and a fine-tuned copy."""
    from whywrong.core.randomness import row_keys
    from whywrong.data.planted import open_set, ordinary_scene, render
    from whywrong.models.loading.zoo import load_classifier

    nets = {name: load_classifier(f"planted:{name}") for name in ("cnn", "vit", "cnn-spurious", "cnn-robust")}
    drawn = open_set("test").draw(torch.arange(limit))
    x = drawn.images.float() / 255
    target = targets(open_set("test").label[:limit], nets["cnn"].num_classes)
    eps = 5.6  # that of CIFAR-10, although there are four times as many values: the nets need no more
    numbers: dict[str, Any] = {"eps": eps, "n": limit}
    vces = {name: changed(ClassObjective(net), net, x, target, eps) for name, net in nets.items()}
    for name in ("cnn", "vit", "cnn-robust"):
        judge = "cnn-robust" if name != "cnn-robust" else "vit"
        controls = [vces[q] for q in ("cnn", "cnn-spurious") if q != name]
        numbers[name] = told(trust(nets[name], x, vces[name], target, judges=[nets[judge]], plain_vces=controls, p=P))
        numbers[name]["flip_rate"] = validity(nets[name].logits(vces[name]), target).flip_rate
        print(f"planted {name} done", file=sys.stderr, flush=True)
    scene = ordinary_scene(row_keys(77, pictures))  # keys that neither training nor test pictures have
    start = time.perf_counter()
    copy = finetune(
        nets["cnn"], render(scene).images.float() / 255, scene.label,
        config=FinetuneConfig(epochs=epochs, eps_linf=5 / 255, attack_steps=2, rate=2e-3, flip=True),
    )  # fmt: skip
    numbers["finetuned"] = {
        "pictures": pictures, "epochs": epochs, "seconds": time.perf_counter() - start,
        **{
            name: [getattr(copy, name).value, getattr(copy, name).low, getattr(copy, name).high]
            for name in ("agreement", "accuracy", "accuracy_before", "robust_accuracy", "robust_accuracy_before")
        },
        "held_out": copy.held_out, "losses": copy.losses,
    }  # fmt: skip
    print("planted copy done", file=sys.stderr, flush=True)
    ways = {
        "plain gradient": (nets["cnn"], None, None),
        "cone 60, cnn-robust": (nets["cnn"], ConeGuidance(nets["cnn"], nets["cnn-robust"], 60.0), nets["cnn-robust"]),
        "cone 60, copy": (nets["cnn"], ConeGuidance(nets["cnn"], copy.classifier, 60.0), copy.classifier),
        "ensemble, copy": (nets["cnn"], EnsembleGuidance(nets["cnn"], copy.classifier), copy.classifier),
        "the copy explained": (copy.classifier, ClassObjective(copy.classifier), None),
    }
    for name, (who, objective, aux) in ways.items():  # the judge is a transformer that took no part in any of it
        z = vces["cnn"] if objective is None else changed(objective, who, x, target, eps)
        controls = [vces["cnn-spurious"]] if objective is None else [vces["cnn"], vces["cnn-spurious"]]
        result = trust(who, x, z, target, judges=[nets["vit"]], aux=aux, plain_vces=controls, p=P)
        numbers[name] = told(result) | {"flip_rate_of_cnn": validity(nets["cnn"].logits(z), target).flip_rate}
        print(f"planted {name} done", file=sys.stderr, flush=True)
    return numbers


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with models.py and images")
    parser.add_argument("--limit", type=int, default=100, help="images")
    parser.add_argument("--eps", type=float, nargs="*", default=[5.6], help="radii, l_1.5, [0, 1] units")
    parser.add_argument("--guidance", nargs="*", default=["resnet20"], choices=PLAIN, help="ordinary nets to guide")
    parser.add_argument("--no-separation", action="store_true", help="guidance only")
    parser.add_argument("--planted", type=int, default=0, metavar="N", help="also N pictures of planted:test")
    parser.add_argument("--epochs", type=int, default=2, help="of the fine-tuned copy")
    parser.add_argument("--pictures", type=int, default=800, help="drawn for the fine-tuned copy")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: real models and images are not here")
    torch.set_num_threads(options.threads)
    machine = {"torch": torch.__version__, "python": platform.python_version(), "cpu": platform.machine()}
    report: dict[str, Any] = {"machine": {**machine, "threads": options.threads}, "p": P, "steps": STEPS}
    report["trust_settings"] = str(TrustConfig())
    nets, x, y = cifar(options.data, options.limit)
    report["images"], target = len(x), targets(y, 10)
    for eps in options.eps if options.guidance or not options.no_separation else ():
        chosen = PLAIN if options.no_separation else (*PLAIN, *ROBUST)
        vces = {name: changed(ClassObjective(nets[name]), nets[name], x, target, eps) for name in chosen}
        print(f"eps {eps}: searched", file=sys.stderr, flush=True)
        if not options.no_separation:
            report.setdefault("separation", {})[eps] = separation(nets, ROBUST, PLAIN, vces, x, target)
        for explained in options.guidance:
            for aux, judge in (ROBUST, ROBUST[::-1]):
                controls = {name: vces[name] for name in PLAIN}
                rows = guided(nets, explained, aux, judge, controls, x, target, eps)
                report.setdefault("guidance", {})[f"{explained}, aux {aux}, judge {judge}, eps {eps}"] = rows
    if options.planted:
        report["planted"] = planted(options.planted, options.epochs, options.pictures)
    text = json.dumps(report, indent=1)
    if options.out:
        options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
