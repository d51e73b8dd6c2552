"""Claims of counterfactuals, C1 to C6 and C8 in this package, C7 in ``reproduce/spurious.py``."""

from __future__ import annotations

from whywrong.core.registry import Claim

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="counterfactuals.C1",
        title="the smaller the exponent, the fewer pixels carry the change, at radii of equal mean change",
        function="whywrong.reproduce.counterfactuals.claims:sparsity_follows_the_exponent",
        config="whywrong.reproduce.counterfactuals.config:CounterfactualClaimConfig",
        draw="whywrong.reproduce.counterfactuals.figure:draw_spread",
        takes=frozenset({"progress", "cache"}),
    ),
    Claim(
        name="counterfactuals.C2",
        title="at those radii p = 1.5 reaches a probability between those of p = 1 and p = 2",
        function="whywrong.reproduce.counterfactuals.claims:reach_lies_between",
        config="whywrong.reproduce.counterfactuals.config:CounterfactualClaimConfig",
        draw="whywrong.reproduce.counterfactuals.figure:draw_spread",
        takes=frozenset({"progress", "cache"}),
    ),
    Claim(
        name="counterfactuals.C3",
        title="the best value never falls, and 30 steps give 95 % of the probability of 75",
        function="whywrong.reproduce.counterfactuals.claims:short_searches_do",
        config="whywrong.reproduce.counterfactuals.config:CounterfactualClaimConfig",
        draw="whywrong.reproduce.counterfactuals.figure:draw_spread",
        takes=frozenset({"progress", "cache"}),
    ),
    Claim(
        name="counterfactuals.C4",
        title="at p = 2 Auto-Frank-Wolfe and Auto-PGD end within a few points of each other",
        function="whywrong.reproduce.counterfactuals.claims:solvers_agree",
        config="whywrong.reproduce.counterfactuals.config:CounterfactualClaimConfig",
        draw="whywrong.reproduce.counterfactuals.figure:draw_spread",
        takes=frozenset({"progress", "cache"}),
    ),
    Claim(
        name="counterfactuals.C5",
        title="Auto-Frank-Wolfe leaves a part of its radius unused, and filling the ball recovers it",
        function="whywrong.reproduce.counterfactuals.claims:budget_stays_unused",
        config="whywrong.reproduce.counterfactuals.config:CounterfactualClaimConfig",
        draw="whywrong.reproduce.counterfactuals.figure:draw_spread",
        takes=frozenset({"progress", "cache"}),
    ),
    Claim(
        name="counterfactuals.C8",
        title="changes at p = 1.5 lie more on the object than changes at p = 2",
        function="whywrong.reproduce.counterfactuals.claims:change_lies_on_the_object",
        config="whywrong.reproduce.counterfactuals.config:CounterfactualClaimConfig",
        draw="whywrong.reproduce.counterfactuals.figure:draw_spread",
        takes=frozenset({"progress", "cache"}),
    ),
    Claim(
        name="counterfactuals.C6",
        title="changes of an ordinary model convince no independent judge; guided by a robust one they do more often",
        function="whywrong.reproduce.counterfactuals.trust:guidance_convinces",
        config="whywrong.reproduce.counterfactuals.trust:TrustClaimConfig",
        models=2,
        takes=frozenset({"judges", "progress"}),
    ),
    Claim(
        name="counterfactuals.C7",
        title="taking harmful components away raises the spurious score and leaves accuracy about as it was",
        function="whywrong.reproduce.spurious:repair_helps",
        config="whywrong.reproduce.spurious:SpuriousClaimConfig",
        takes=frozenset({"progress"}),
    ),
)
