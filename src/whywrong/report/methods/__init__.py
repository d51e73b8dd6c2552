"""What each method contributes to the picture of one error; a run without a method shows nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from whywrong.core.registry import Method
from whywrong.report import plug_ins
from whywrong.report.methods import cam, covering
from whywrong.report.methods.counterfactuals import section as counterfactuals
from whywrong.report.methods.inverted import section as inverted
from whywrong.report.methods.patch_groups import section as patch_groups
from whywrong.report.methods.profiles import section as profiles
from whywrong.report.primitives.sections import Context, Part

# In the order in which their sentences are read and their overlays can be chosen.
PARTS: dict[str, Callable[[Context], Part | None]] = {
    "inverted": inverted.part,
    "covering": covering.part,
    "cam": cam.part,
    "patch_groups": patch_groups.part,
    "profiles": profiles.part,
    "counterfactuals": counterfactuals.part,
}


def parts(context: Context, others: Sequence[Method] = ()) -> list[Part]:
    """Of every method that the run holds of this error, what it shows; then of plug-ins."""
    own = [part for part in (make(context) for make in PARTS.values()) if part is not None]
    return [*own, *_numbered([part for part in (plug_ins.part(each, context) for each in others) if part is not None])]


def _numbered(found: list[Part]) -> list[Part]:
    """Parts of plug-ins, their overlays numbered through; those beyond the last number fall away."""
    kinds = iter(plug_ins.KINDS)
    for part in found:
        part.overlays = [replace(overlay, kind=kind) for overlay, kind in zip(part.overlays, kinds, strict=False)]
    return found
