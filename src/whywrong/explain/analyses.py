"""The analyses that ship with the package, one line each; nothing that they name is imported before it is used."""

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
)
