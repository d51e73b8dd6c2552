"""The counterfactual method for a batch of images, and the verdict on its results.

Source: Boreiko, Augustin, Croce, Berens and Hein 2022, arXiv 2205.07972; the solver, the oracle at every p and the
smallest radius are ours (docs/methods/counterfactuals.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from whywrong.doors.methods import open_inputs
from whywrong.explain.counterfactuals.collect import collect
from whywrong.explain.counterfactuals.config import CounterfactualConfig
from whywrong.explain.counterfactuals.guidance import guided_by
from whywrong.explain.counterfactuals.named import helper_words, named_helper, named_judges
from whywrong.explain.counterfactuals.objectives import Objective
from whywrong.explain.counterfactuals.plan import plan_searches
from whywrong.explain.counterfactuals.result import AUXILIARY, GIVEN, NONE, OWN, CounterfactualResult
from whywrong.explain.counterfactuals.run import CounterfactualRun
from whywrong.explain.counterfactuals.search import run_searches
from whywrong.explain.counterfactuals.trust import TrustConfig, trust
from whywrong.models.classifier import Classifier


@open_inputs
def counterfactual(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    config: CounterfactualConfig | None = None,
    targets: Tensor | None = None,
    detail: Tensor | None = None,
    masks: Tensor | None = None,
    region: Tensor | None = None,
    objective: Objective | None = None,
    judges: Sequence[Classifier] = (),
    plain: Sequence[Classifier] = (),
    aux: Classifier | None = None,
) -> CounterfactualResult:
    """Change images within a ball so that a class becomes as probable as possible.

    By default a misclassified image gets two counterfactuals: into its true class, and deeper into the predicted class.
    A correctly classified image gets one deeper into its class, and one into the runner-up.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K); must grant gradients.
        x: Images, (B, C, H, W), floating point, in [0, 1]; left untouched.
        y: True classes, (B,), int64, in 0..K-1.
        keys: Seeds of random starts, (B,), int64; None uses (config.seed, row).
        config: Settings; None uses the defaults.
        targets: Classes to reach instead, (B,) or (B, T), int64; -1 marks an unused entry.
        detail: (B,), bool, images to explain; None explains all.
        masks: (B, H, W), bool, the object; all False if unknown. The share of the change inside it is reported.
        region: (B, H, W), bool, where the image may change; None is everywhere.
        objective: Objective that replaces that of the config, such as one with guidance by another model. Its passes of
            this classifier are counted.
        judges: Independent classifiers that judge whether the change is meaningful; None uses those of the config.
            Without any, no counterfactual is called semantic.
        plain: Ordinary classifiers, neither explained nor judging, whose counterfactuals are the judges' controls, with
            thresholds of the whole batch. Without any, each image has its own controls: the change with its pixels
            shuffled and, if the search was guided, the unguided counterfactual of the explained classifier.
        aux: The auxiliary classifier inside ``objective``, which must not judge. Without ``objective``, it guides as
            ``config.way`` says; None uses that of the config.

    Returns:
        Counterfactuals with their probabilities, sizes and Frank-Wolfe gaps. Passes: one forward for the unchanged
        image; per search, one forward and one backward per step and one more of both at its end; one forward for the
        stored picture.

    Raises:
        InputError: A shape, type, class or setting breaks the contract above.
        AccessError: The classifier grants no gradients.
        NotDifferentiableError: No gradient reaches the pixels.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> config = ww.CounterfactualConfig(radii=(2.0,), steps=3, trust=False)
        >>> found = ww.counterfactual(classifier, x, y, config=config).entries
        >>> bool((found.norm <= 2.0 + 1e-4).all())
        True
    """
    config = config or CounterfactualConfig()
    with CounterfactualRun(
        classifier, x, y, config=config, targets=targets, region=region, keys=keys, detail=detail, masks=masks
    ) as run:
        judges = judges or named_judges(config.judges, x, classifier)
        words = None
        if objective is None and (aux is not None or config.aux):
            name = config.aux if aux is None else "an auxiliary classifier"
            aux = named_helper(config.aux, x, classifier) if aux is None else aux
            objective = guided_by(classifier, aux, config.way, config.angle, config.temperature)
            words = helper_words(name, config.way, config.angle)
        rows = run.begin(objective)
        plan, found = run_searches(run, plan_searches(run, rows))
        result = replace(collect(run, rows, plan, found), guided_by=words)
        if config.trust:
            return _trusted(result, classifier, run.keys, judges, plain, aux, config, guided=objective is not None)
        return result


def _trusted(
    result: CounterfactualResult,
    classifier: Classifier,
    keys: Tensor,
    judges: Sequence[Classifier],
    plain: Sequence[Classifier],
    aux: Classifier | None,
    config: CounterfactualConfig,
    *,
    guided: bool,
) -> CounterfactualResult:
    """Add a verdict on every counterfactual, and its passes, to the result."""
    entries, settings = result.entries, TrustConfig(seed=config.seed)
    if not len(entries):
        return result
    # Its unguided counterfactuals show the effect of guidance per image: no verdict depends on the batch.
    paired = guided and bool(judges) and not plain
    said = trust(
        classifier,
        result.x[entries.row],
        entries.z,
        entries.target,
        judges=judges,
        plain=[classifier] if paired else plain,
        paired=paired,
        aux=aux,
        guided=guided,
        p=config.p,
        keys=keys[entries.row],
        config=settings,
    )
    led = (AUXILIARY if aux is not None else GIVEN) if guided else None
    coherent = said.coherence >= settings.coherent  # NaN, a zero gradient, is not
    return replace(
        result,
        entries=replace(
            entries,
            trust=tuple(said.verdict),
            trust_score=said.score.float(),
            trust_reason=tuple(said.reason),
            coherence=said.coherence.float(),
            guide=tuple(led or (OWN if keeps else NONE) for keeps in coherent.tolist()),
        ),
        forwards=result.forwards.index_add(0, entries.row, said.forwards),
        backwards=result.backwards.index_add(0, entries.row, said.backwards),
    )
