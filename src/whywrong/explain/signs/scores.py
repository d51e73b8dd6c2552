"""Signs of the scores of the unchanged image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.explain.signs.sign import Kind, Sign


def _sign(name: str, doc: str, kind: Kind = "quantity", *, high: str = "", low: str = "", classes: int = 2) -> Sign:
    access = Access.SCORES
    return Sign(
        name=name, doc=doc, group="scores", stage="scores", kind=kind, access=access, high=high, low=low,
        least_classes=classes,
    )  # fmt: skip


SIGNS: tuple[Sign, ...] = (
    _sign("margin", "Logits by which the prediction leads the label.", "logit", low="the label is close behind"),
    _sign("margin_ratio", "The margin, divided by the standard deviation of the image's logits."),
    _sign(
        "log_odds_predicted", "Log odds of the prediction, nats.", high="the model is sure", low="the model is unsure"
    ),
    _sign(
        "log_p_label",
        "Log probability of the label, nats.",
        high="the label is probable",
        low="the label is improbable",
    ),
    _sign("log_rank_label", "Log of the rank of the label; 0 is the first.", classes=3),
    _sign("log_rank_share", "Log rank of the label, divided by the log of the number of classes.", "share", classes=3),
    _sign("entropy", "Entropy of the probabilities, nats.", high="the scores are spread over many classes"),
    _sign("energy", "Log of the sum of the exponentials of the logits.", low="low scores for every class"),
    _sign("second_gap", "Logits by which the prediction leads the next class.", "logit", classes=3),
    _sign("label_second", "1 if the label is the next class after the prediction, otherwise 0.", "share", classes=3),
)


def score_signs(logits: Tensor, y: Tensor, t: Tensor) -> dict[str, Tensor]:
    """Compute the signs of the scores.

    Args:
        logits: (n, K), finite.
        y: Label, (n,) int64.
        t: Predicted class, (n,) int64, which differs from ``y``.

    Returns:
        Values (n,) float32 by name.
    """
    z = logits.double()
    log_p = z.log_softmax(1)
    own, predicted = _at(z, y), _at(z, t)
    margin = predicted - own
    rank = 1 + (z > own[:, None]).sum(1)
    top = z.topk(2, dim=1)
    others = z.scatter(1, t[:, None], -torch.inf).logsumexp(1)
    return {
        "margin": margin,
        "margin_ratio": margin / z.std(1),
        "log_odds_predicted": predicted - others,
        "log_p_label": _at(log_p, y),
        "log_rank_label": rank.double().log(),
        "log_rank_share": rank.double().log() / math.log(z.shape[1]),
        "entropy": -(log_p.exp() * log_p).nan_to_num(0.0).sum(1),
        "energy": z.logsumexp(1),
        "second_gap": top.values[:, 0] - top.values[:, 1],
        "label_second": (rank == 2).double(),
    }


def _at(values: Tensor, c: Tensor) -> Tensor:
    return values.gather(1, c[:, None])[:, 0]
