"""Registry of the built-in analyses; modules it names are imported only when they are used."""

from __future__ import annotations

from whywrong.core.access import Access
from whywrong.core.registry import Analysis

ANALYSES: tuple[Analysis, ...] = (
    Analysis(
        name="spurious",
        title="what the model takes for a class and is not the object",
        access=Access.INTERNALS,
        function="whywrong.explain.spurious.analysis:spurious",
        config="whywrong.explain.spurious.config:SpuriousConfig",
        tables=("components", "examples", "changes"),
        views={"spurious": "components", "spurious_changes": "changes"},
        folder="spurious",
        record="search.json",
        files={"labels.csv": "class,component,label,basis"},
    ),
    Analysis(
        name="robustness",
        title="which model resists affine transforms, corruptions, attacks and patches",
        access=Access.LABELS,
        function="whywrong.explain.robustness.analysis:robustness",
        config="whywrong.explain.robustness.config:RobustnessConfig",
        tables=("rows", "trials", "images", "tests"),
        views={
            "robustness": "rows",
            "robustness_trials": "trials",
            "robustness_images": "images",
            "robustness_tests": "tests",
        },
        folder="robustness",
    ),
    Analysis(
        name="dissection",
        title="what the units of a layer detect, and which of them promote errors",
        access=Access.INTERNALS,
        function="whywrong.explain.dissection.analysis:dissection",
        config="whywrong.explain.dissection.config:DissectionConfig",
        tables=("dissection", "unit_effects", "unit_examples"),
        views={"dissection": "dissection", "unit_effects": "unit_effects"},
        folder="dissection",
    ),
    Analysis(
        name="verdict",
        title="what caused each error, tested against controls",
        access=Access.LABELS,
        function="whywrong.verdicts.analysis:verdict",
        config="whywrong.verdicts.config:VerdictConfig",
        tables=("verdicts", "signs", "interventions", "groups", "advice"),
        views={
            "verdicts": "verdicts",
            "signs": "signs",
            "verdict_signs": "signs",
            "interventions": "interventions",
            "verdict_interventions": "interventions",
            "groups": "groups",
            "advice": "advice",
        },
    ),
    Analysis(
        name="repair",
        title="what to do about the errors, and what fine-tuning on them gains",
        access=Access.LABELS,
        function="whywrong.verdicts.repair.analysis:repair",
        config="whywrong.verdicts.repair.config:RepairConfig",
        report="whywrong.report.analyses.repair:section",
        tables=("repair", "work", "repair_classes", "repair_lists"),
        views={
            "repair": "repair",
            "repair_classes": "repair_classes",
            "repair_lists": "repair_lists",
            "work": "work",
        },
        folder="repair",
        files={"work.csv": "work,item_id,key", "lists.json": "[", "weights.safetensors": "", "card.md": "# Repaired"},
    ),
)
