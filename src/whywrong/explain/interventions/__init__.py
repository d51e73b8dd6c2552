"""Interventions that take a suspected cause away from an error, or give it to other images.

What they show is the effect of a cause. They say something only in comparison with controls, see
:mod:`whywrong.verdicts.tests_of_causes`.
"""

from whywrong.explain.interventions.catalogue import BY_NAME, INTERVENTIONS, Direction, Intervention
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
