"""Registry of the built-in methods; modules it names are imported only when they are used."""

from __future__ import annotations

from whywrong.core.access import Access
from whywrong.core.registry import Method

METHODS: tuple[Method, ...] = (
    Method(
        name="cam",
        title="where the evidence for the wrong and for the true class lies",
        access=Access.INTERNALS,
        function="whywrong.explain.cam:cam",
        config="whywrong.explain.cam:CamConfig",
        report="whywrong.report.methods.cam:CAM",
        passes=(1, 1),
        result_version=2,
    ),
    Method(
        name="inverted",
        title="the smallest change that makes the image right",
        access=Access.GRADIENTS,
        function="whywrong.attacks.inverted:invert",
        config="whywrong.attacks.inverted:InvertedConfig",
        report="whywrong.report.methods.inverted:INVERTED",
        takes=frozenset({"detail", "masks"}),
        passes=(40, 75),
        result_version=3,
    ),
    Method(
        name="covering",
        title="whether hiding one small place brings out the true class and no other",
        access=Access.SCORES,
        function="whywrong.explain.covering:covering",
        config="whywrong.explain.covering:CoveringConfig",
        report="whywrong.report.methods.covering:COVERING",
        takes=frozenset({"detail"}),
        passes=(0, 50),
        role_play=True,
    ),
    Method(
        name="patch_groups",
        title="which patches suffice for the prediction, undo it when hidden, or turn it into the true class",
        access=Access.SCORES,
        function="whywrong.explain.patch_groups:patch_groups",
        config="whywrong.explain.patch_groups:PatchGroupsConfig",
        report="whywrong.report.methods.patch_groups:PATCH_GROUPS",
        depth="standard",
        takes=frozenset({"detail"}),
        passes=(0, 900),
    ),
    Method(
        name="counterfactuals",
        title="what the model would have to see for the true class, and what it saw in the wrong one",
        access=Access.GRADIENTS,
        function="whywrong.explain.counterfactuals:counterfactual",
        config="whywrong.explain.counterfactuals:CounterfactualConfig",
        report="whywrong.report.methods.counterfactuals:COUNTERFACTUALS",
        depth="deep",
        takes=frozenset({"detail", "masks"}),
        passes=(0, 80),
        result_version=2,
    ),
    Method(
        name="profiles",
        title="how strongly patches cooperate, by how much else is visible",
        access=Access.SCORES,
        function="whywrong.explain.interactions.method:interactions",
        config="whywrong.explain.interactions.method:ProfilesConfig",
        report="whywrong.report.methods.profiles:PROFILES",
        depth="standard",
        takes=frozenset({"detail"}),
        passes=(0, 2_700),
        result_version=2,
    ),
)
