"""Rows of attacks with gradients on the whole image."""

from __future__ import annotations

from torch import Tensor

from whywrong.attacks.apgd import APGDConfig, apgd
from whywrong.attacks.balls import BallNorm
from whywrong.attacks.pgd import PGDConfig, pgd
from whywrong.attacks.state import AttackResult
from whywrong.attacks.votes import VoteAttackConfig, vote_attack
from whywrong.core.randomness import keyed_uniform
from whywrong.explain.robustness.parts import Part, RowCall, RowMissing, part

_TARGET = 1 << 20  # random stream of the targets, apart from those of the starts


def pgd_linf(call: RowCall) -> tuple[Part, ...]:
    """Attack with PGD in linf."""
    return _row(call, "pgd_linf", _pgd(call, "linf", None))


def pgd_l2(call: RowCall) -> tuple[Part, ...]:
    """Attack with PGD in l2."""
    return _row(call, "pgd_l2", _pgd(call, "l2", None))


def pgd_linf_targeted(call: RowCall) -> tuple[Part, ...]:
    """Attack with PGD in linf towards a random class.

    It is the same for all models.
    """
    classes = call.classifier.num_classes
    if classes < 2:
        raise RowMissing("a targeted attack needs at least 2 classes")
    drawn = (keyed_uniform(call.keys, (), _TARGET) * (classes - 1)).long().clamp_max(classes - 2)
    targets = drawn + (drawn >= call.y)  # any class but the true one
    result = _pgd(call, "linf", targets)
    reached = (result.predicted == targets)[:, None].cpu()
    return (part(call, "pgd_linf_targeted", ("attack",), [result.predicted], fooled=reached),)


def apgd_linf(call: RowCall) -> tuple[Part, ...]:
    """Attack with APGD in linf."""
    return _row(call, "apgd_linf", _apgd(call, "linf"))


def apgd_l2(call: RowCall) -> tuple[Part, ...]:
    """Attack with APGD in l2."""
    return _row(call, "apgd_l2", _apgd(call, "l2"))


def vote_linf(call: RowCall) -> tuple[Part, ...]:
    """Attack the votes of a capsule network in linf."""
    config = VoteAttackConfig(norm="linf", eps=call.config.eps, steps=call.config.steps)
    return _row(call, "vote_linf", vote_attack(call.classifier, call.x, call.y, keys=call.keys, config=config))


def _row(call: RowCall, name: str, result: AttackResult) -> tuple[Part, ...]:
    return (part(call, name, ("attack",), [result.predicted]),)


def _eps(call: RowCall, norm: BallNorm) -> float:
    return call.config.eps if norm == "linf" else call.config.eps_l2


def _pgd(call: RowCall, norm: BallNorm, targets: Tensor | None) -> AttackResult:
    config = PGDConfig(norm=norm, eps=_eps(call, norm), steps=call.config.steps)
    return pgd(call.classifier, call.x, call.y, targets=targets, keys=call.keys, config=config)


def _apgd(call: RowCall, norm: BallNorm) -> AttackResult:
    config = APGDConfig(norm=norm, eps=_eps(call, norm), steps=call.config.apgd_steps)
    return apgd(call.classifier, call.x, call.y, keys=call.keys, config=config)
