"""What each method contributes to the picture of one error; a run without a method shows nothing of it."""

from __future__ import annotations

from collections.abc import Callable

from whywrong.report.parts import counterfactuals, evidence, fix, patch_groups, profiles
from whywrong.report.parts.pieces import Context, Part

# In the order in which their sentences are read and their overlays can be chosen.
PARTS: dict[str, Callable[[Context], Part | None]] = {
    "inverted": fix.part,
    "cam": evidence.part,
    "patch_groups": patch_groups.part,
    "profiles": profiles.part,
    "counterfactuals": counterfactuals.part,
}


def parts(context: Context) -> list[Part]:
    """Of every method that the run holds of this error, what it shows."""
    return [part for part in (make(context) for make in PARTS.values()) if part is not None]
