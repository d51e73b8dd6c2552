"""Rows that change the whole image without knowing the model."""

from __future__ import annotations

from whywrong.attacks.balls import BallNorm, unit
from whywrong.core.randomness import keyed_normal, keyed_sign
from whywrong.data.affine import affine
from whywrong.data.corruptions import corrupt
from whywrong.explain.robustness.parts import Part, RowCall, part


def clean(call: RowCall) -> tuple[Part, ...]:
    """Classify the unchanged images."""
    return (part(call, "clean", ("unchanged",), [call.classifier.predict(call.x)]),)


def affine_random(call: RowCall) -> tuple[Part, ...]:
    """Classify the images under random affine transforms."""
    ranges, draws = call.config.affine, range(call.config.draws)
    found = [
        call.classifier.predict(affine(call.x, ranges.draw(call.keys, draw), padding=call.config.padding))
        for draw in draws
    ]
    return (part(call, "affine_random", [f"draw {draw + 1}" for draw in draws], found),)


def affine_grid(call: RowCall) -> tuple[Part, ...]:
    """Classify the images under every transform of the exact grid."""
    grid = call.config.affine.grid()
    found = [
        call.classifier.predict(affine(call.x, call.x.new_tensor(numbers), padding=call.config.padding))
        for _, numbers in grid
    ]
    return (part(call, "affine_grid", [name for name, _ in grid], found),)


def corruptions(call: RowCall) -> tuple[Part, ...]:
    """Classify the images under each corruption."""
    kinds = call.config.chosen_corruptions
    found = [call.classifier.predict(corrupt(call.x, kind, call.config.severity, keys=call.keys)) for kind in kinds]
    return (part(call, "corruptions", kinds, found),)


def noise_linf(call: RowCall) -> tuple[Part, ...]:
    """Classify the images under random signs of size eps.

    It is the control of attacks in linf.
    """
    return _noise(call, "linf")


def noise_l2(call: RowCall) -> tuple[Part, ...]:
    """Classify the images under random directions of length eps_l2.

    It is the control of attacks in l2.
    """
    return _noise(call, "l2")


def _noise(call: RowCall, norm: BallNorm) -> tuple[Part, ...]:
    shape, found = call.x.shape[1:], []
    for draw in range(call.config.draws):
        if norm == "linf":
            change = call.config.eps * keyed_sign(call.keys, shape, draw)
        else:
            change = call.config.eps_l2 * unit(keyed_normal(call.keys, shape, draw))
        found.append(call.classifier.predict((call.x + change).clamp_(0, 1)))
    return (part(call, f"noise_{norm}", [f"draw {draw + 1}" for draw in range(call.config.draws)], found),)
