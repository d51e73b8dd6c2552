"""Interventions that take a suspected cause away from an error, or give it to other images.

What they show is the effect of a cause. They say something only in comparison with controls, see
:mod:`whywrong.verdicts.tests_of_causes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whywrong.explain.interventions.catalogue import BY_NAME, INTERVENTIONS, Direction, Intervention

if TYPE_CHECKING:
    from whywrong.explain.interventions.method import (
        InterventionsConfig,
        InterventionsResult,
        interventions,
        restored_matrix,
    )

__all__ = [
    "BY_NAME",
    "INTERVENTIONS",
    "Direction",
    "Intervention",
    "InterventionsConfig",
    "InterventionsResult",
    "interventions",
    "restored_matrix",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from whywrong.explain.interventions import method  # the report reads the catalogue without torch

    return getattr(method, name)
