"""Settings of planting for verdicts, and how many errors of each role follow from them."""

from __future__ import annotations

from dataclasses import dataclass

from whywrong.core.errors import InputError
from whywrong.planting.batch import CAUSES

BYSTANDERS, DOUBLES, NATURAL = 0.17, 0.11, 0.25  # least share of bystanders and doubles, most of natural errors


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictPlan:
    """Settings of :func:`whywrong.planting.verdicts.planting.plant_errors`, checked when built.

    Attributes:
        causes: Causes to plant, of ``CAUSES``; empty for all that the images allow.
        per_cause: Errors with one cause wanted of each cause; at least 1.
        reference: Most correct images taken as reference; at least 1.
        tries: Most images tried per wanted error; at least 1.
        limit: Most images read from the data; at least 1.
        half: Half of the photographs that is used, 0 or 1; None uses all.
        seed: Seed of every random choice; at least 0.
    """

    causes: tuple[str, ...] = ()
    per_cause: int = 40
    reference: int = 300
    tries: int = 8
    limit: int = 2_000
    half: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for cause in self.causes:
            if cause not in CAUSES:
                raise InputError(f'no cause "{cause}"; there are {", ".join(CAUSES)}')
        if self.half not in (None, 0, 1):
            raise InputError(f"half must be 0 or 1, got {self.half}")
        for name, least in (("per_cause", 1), ("reference", 1), ("tries", 1), ("limit", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")


def shares(plants: int, natural: int) -> tuple[int, int, int]:
    """Return how many natural errors, doubles and bystanders go with ``plants`` errors of one cause.

    Args:
        plants: Errors with one cause.
        natural: Natural errors there are.

    Returns:
        At most a quarter are natural, at least 10 % doubles and 15 % bystanders, of all errors together.
    """
    rest = 1 - BYSTANDERS - DOUBLES
    kept = min(natural, int(plants * NATURAL / (rest - NATURAL)))
    whole = (plants + kept) / rest
    return kept, round(DOUBLES * whole), round(BYSTANDERS * whole)
