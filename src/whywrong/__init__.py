"""Find out why an image classifier got images wrong, and what to do about it.

Public names are imported on first use. ``import whywrong`` is therefore fast and does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from whywrong._version import __version__

if TYPE_CHECKING:
    from whywrong.api import (
        check,
        diagnose,
        dissect,
        explain_image,
        forecast,
        open_run,
        plant,
        repair,
        reproduce_claim,
        reproduce_claims,
        robustness,
        spurious_features,
        verdict,
        write_report,
    )
    from whywrong.attacks.black_box import BlackBoxConfig, BlackBoxResult, black_box
    from whywrong.attacks.inverted import InvertedConfig, InvertedResult, invert
    from whywrong.attacks.minimal import SmallestFixConfig, SmallestFixResult, smallest_fix
    from whywrong.attacks.surrogates.distil import distil
    from whywrong.attacks.surrogates.models import Surrogate
    from whywrong.attacks.surrogates.train import DistilConfig
    from whywrong.core.access import Access
    from whywrong.core.classes import ClassList
    from whywrong.core.errors import WhyWrongError
    from whywrong.core.input_spec import InputSpec
    from whywrong.data.batches import load_images
    from whywrong.explain.cam import CamConfig, CamResult, cam
    from whywrong.explain.counterfactuals import CounterfactualConfig, CounterfactualResult, counterfactual
    from whywrong.explain.covering import CoveringConfig, CoveringResult, covering
    from whywrong.explain.interactions.method import ProfilesConfig, ProfilesResult, interactions
    from whywrong.explain.patch_groups import PatchGroupsConfig, PatchGroupsResult, patch_groups
    from whywrong.explain.relevance import RelevanceConfig, RelevanceResult, relevance
    from whywrong.explain.signs import SignsConfig, SignsResult, signs
    from whywrong.explain.suppression import (
        SuppressionConfig,
        SuppressionResult,
        promotion_suppression,
        suppression,
    )
    from whywrong.models.classifier import Classifier
    from whywrong.models.loading.zoo import load_classifier
    from whywrong.report.drawing import plot
    from whywrong.reproduce.protocol import ClaimResult
    from whywrong.runs.folder import RunFolder

_HOMES = {
    "whywrong.api": [
        "check",
        "diagnose",
        "dissect",
        "explain_image",
        "forecast",
        "open_run",
        "plant",
        "repair",
        "reproduce_claim",
        "reproduce_claims",
        "robustness",
        "spurious_features",
        "verdict",
        "write_report",
    ],
    "whywrong.attacks.black_box": ["BlackBoxConfig", "BlackBoxResult", "black_box"],
    "whywrong.attacks.inverted": ["InvertedConfig", "InvertedResult", "invert"],
    "whywrong.attacks.minimal": ["SmallestFixConfig", "SmallestFixResult", "smallest_fix"],
    "whywrong.attacks.surrogates.distil": ["distil"],
    "whywrong.attacks.surrogates.models": ["Surrogate"],
    "whywrong.attacks.surrogates.train": ["DistilConfig"],
    "whywrong.core.access": ["Access"],
    "whywrong.core.classes": ["ClassList"],
    "whywrong.core.errors": ["WhyWrongError"],
    "whywrong.core.input_spec": ["InputSpec"],
    "whywrong.data.batches": ["load_images"],
    "whywrong.explain.cam": ["CamConfig", "CamResult", "cam"],
    "whywrong.explain.counterfactuals": ["CounterfactualConfig", "CounterfactualResult", "counterfactual"],
    "whywrong.explain.covering": ["CoveringConfig", "CoveringResult", "covering"],
    "whywrong.explain.patch_groups": ["PatchGroupsConfig", "PatchGroupsResult", "patch_groups"],
    "whywrong.explain.relevance": ["RelevanceConfig", "RelevanceResult", "relevance"],
    "whywrong.explain.signs": ["SignsConfig", "SignsResult", "signs"],
    "whywrong.explain.suppression": [
        "SuppressionConfig",
        "SuppressionResult",
        "promotion_suppression",
        "suppression",
    ],
    "whywrong.explain.interactions.method": ["ProfilesConfig", "ProfilesResult", "interactions"],
    "whywrong.models.classifier": ["Classifier"],
    "whywrong.models.loading.zoo": ["load_classifier"],
    "whywrong.report.drawing": ["plot"],
    "whywrong.reproduce.protocol": ["ClaimResult"],
    "whywrong.runs.folder": ["RunFolder"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Access",
    "BlackBoxConfig",
    "BlackBoxResult",
    "CamConfig",
    "CamResult",
    "ClaimResult",
    "ClassList",
    "Classifier",
    "CounterfactualConfig",
    "CounterfactualResult",
    "CoveringConfig",
    "CoveringResult",
    "DistilConfig",
    "InputSpec",
    "InvertedConfig",
    "InvertedResult",
    "PatchGroupsConfig",
    "PatchGroupsResult",
    "ProfilesConfig",
    "ProfilesResult",
    "RelevanceConfig",
    "RelevanceResult",
    "RunFolder",
    "SignsConfig",
    "SignsResult",
    "SmallestFixConfig",
    "SmallestFixResult",
    "SuppressionConfig",
    "SuppressionResult",
    "Surrogate",
    "WhyWrongError",
    "__version__",
    "black_box",
    "cam",
    "check",
    "counterfactual",
    "covering",
    "diagnose",
    "dissect",
    "distil",
    "explain_image",
    "forecast",
    "interactions",
    "invert",
    "load_classifier",
    "load_images",
    "open_run",
    "patch_groups",
    "plant",
    "plot",
    "promotion_suppression",
    "relevance",
    "repair",
    "reproduce_claim",
    "reproduce_claims",
    "robustness",
    "signs",
    "smallest_fix",
    "spurious_features",
    "suppression",
    "verdict",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'whywrong' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value  # a submodule of the same name, imported on the way, must not stand in front of it
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
