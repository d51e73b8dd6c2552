"""All perturbations that plant mistakes, and the settings that choose among them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.planting import adversarial, damage, drawn, labels, occlusion
from whywrong.planting.batch import CAUSES, SEVERITIES, Perturbation

PERTURBATIONS: tuple[Perturbation, ...] = (
    *labels.PERTURBATIONS,
    *damage.PERTURBATIONS,
    *adversarial.PERTURBATIONS,
    *drawn.PERTURBATIONS,
    *occlusion.PERTURBATIONS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantConfig:
    """Settings of :func:`plant`, checked when built.

    Attributes:
        causes: Causes to plant, of ``CAUSES``; empty for all that these images allow.
        kinds: Names of perturbations, of ``PERTURBATIONS``; empty for all of the causes.
        per_cause: Verified mistakes wanted of each cause; at least 1.
        strength: Severity 1..5 at which to plant; None takes the smallest that makes the image misclassified.
        tries: Most images tried per wanted mistake; at least 1.
        on_object: Cover only objects whose mask or box is known.
        seed: Seed of every random choice.
    """

    causes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    per_cause: int = 100
    strength: int | None = None
    tries: int = 20
    on_object: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, chosen, known in (
            ("cause", self.causes, CAUSES),
            ("kind", self.kinds, tuple(dict.fromkeys(kind.name for kind in PERTURBATIONS))),
        ):
            for one in chosen:
                if one not in known:
                    near = difflib.get_close_matches(one, known, n=1)
                    hint = f'; nearest: "{near[0]}"' if near else ""
                    raise InputError(f'no {name} "{one}"; there are {", ".join(known)}{hint}')
        for name in ("per_cause", "tries"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.strength is not None and not 1 <= self.strength <= SEVERITIES:
            raise InputError(f"strength must be in 1..{SEVERITIES}, got {self.strength}")


def choose_perturbations(
    config: PlantConfig, *, is_drawn: bool, access: Access
) -> tuple[list[Perturbation], dict[str, str]]:
    """Choose the perturbations of the requested causes and kinds.

    Args:
        config: Requested causes and kinds.
        is_drawn: Whether the pictures are drawn by whywrong.
        access: Access to the classifier.

    Returns:
        The perturbations, and the causes left out, with the reason.

    Raises:
        InputError: A cause or kind requested by name is not possible.
    """
    chosen, refused = [], {}
    for kind in PERTURBATIONS:
        if (config.causes and kind.cause not in config.causes) or (config.kinds and kind.name not in config.kinds):
            continue
        reason = ""
        if kind.drawn and not is_drawn:
            reason = "needs pictures that whywrong draws, such as planted:test"
        elif kind.gradients and access < Access.GRADIENTS:
            reason = f"needs access to GRADIENTS, this classifier grants {access.name}"
        if not reason:
            chosen.append(kind)
        elif kind.name in config.kinds:
            raise InputError(f"{kind.cause} {kind.name} {reason}")
        else:
            refused.setdefault(kind.cause, reason)
    for kind in chosen:
        refused.pop(kind.cause, None)
    for cause in config.causes:
        if all(kind.cause != cause for kind in chosen):
            raise InputError(f"{cause} {refused.get(cause, 'has none of these kinds')}")
    return chosen, refused
