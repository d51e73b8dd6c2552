"""Record of an analysis, as plain values beside its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whywrong.verdicts.cascade import State
from whywrong.verdicts.decide import UNDETERMINED, Verdict
from whywrong.verdicts.stages.reference import Reference


@dataclass(slots=True)
class Facts:
    """Facts collected on the way.

    Attributes:
        lacks: What was not available for any error.
        notes: Remarks.
        helpers: Title, identity and use of each helper.
        combiner: Hash of the combiner, and what it says of this run.
        failed: Reason by item of each error that could not be measured.
        harmless: Small edits that change what these images show, and are left out.
    """

    lacks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    helpers: list[dict[str, Any]] = field(default_factory=list)
    combiner: dict[str, Any] | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    harmless: Sequence[str] = ()

    def record(self, errors: int) -> dict[str, Any]:
        """Return the record of an analysis without measurements."""
        return {
            "errors": errors,
            "measured": 0,
            "failed": dict(self.failed),
            "counts": {},
            "stated": {},
            "tested": {},
            "reference": {"images": 0, "available": 0, "source": "data", "passes": 0},
            "combiner": self.combiner,
            "helpers": self.helpers,
            "costs": {},
            "lacks": self.lacks,
            "notes": self.notes,
        }

    def full_record(
        self, errors: int, state: State, reference: Reference, verdicts: Sequence[Verdict]
    ) -> dict[str, Any]:
        """Return the record of an analysis with its counts and costs."""
        return self.record(errors) | {
            "measured": len(state),
            "counts": dict(Counter(one.cause for one in verdicts)),
            "stated": dict(Counter(one.cause for one in verdicts if one.stated)),
            "tested": dict(Counter(one.test.outcome if one.test else "untested" for one in verdicts)),
            "looks_like": dict(Counter(one.cause for one in verdicts if not one.stated and one.cause != UNDETERMINED)),
            "reference": {
                "images": len(reference.measured),
                "controls": len(reference.controls),
                "available": len(reference.correct),
                "source": reference.images,
                "passes": reference.passes,
            },
            "costs": costs(state, reference),
        }


def costs(state: State, reference: Reference) -> dict[str, Any]:
    """Return the passes of the model, in sum, for each error, and by step; the reference apart."""
    forwards, backwards = int(state.measured.forwards.sum()), int(state.measured.backwards.sum())
    steps, counts = np.unique(state.stage, return_counts=True)
    return {
        "forwards": forwards,
        "backwards": backwards,
        "for_each_error": (forwards + backwards) / max(len(state), 1),
        "by_step": dict(state.passes),
        "left_after_stage": {str(stage): int(count) for stage, count in zip(steps, counts, strict=True)},
        "reference": reference.passes,
    }
