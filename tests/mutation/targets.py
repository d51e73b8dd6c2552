"""The modules whose results people rely on, and the tests that are to notice a change of each."""

from __future__ import annotations

_COUNTERFACTUALS = "tests/explain/counterfactuals"
_INTERACTIONS = "tests/explain/interactions"
_PATCHES = "tests/explain/patch_groups"
_SPURIOUS = "tests/explain/spurious"
_BOUNDS = "tests/test_bounds.py"
_FIXES = ("tests/attacks/test_invert.py", "tests/attacks/test_regions.py")

TARGETS: dict[str, tuple[str, ...]] = {
    "core/statistics.py": ("tests/core/test_statistics.py", _BOUNDS),
    "core/margins.py": ("tests/core/test_margins.py",),
    "core/randomness.py": ("tests/core/test_randomness.py", _BOUNDS),
    "core/discoveries.py": ("tests/core/test_discoveries.py",),
    "core/matching.py": ("tests/core/test_matching.py",),
    "attacks/inverted/contribution.py": ("tests/attacks/test_contribution.py", _BOUNDS),
    "attacks/inverted/margin_oracle.py": _FIXES,
    "attacks/inverted/newton.py": _FIXES,
    "attacks/inverted/region_fix.py": ("tests/attacks/test_regions.py",),
    "attacks/inverted/regions.py": ("tests/attacks/test_regions.py",),
    "attacks/inverted/rounding.py": ("tests/attacks/test_rounding.py", *_FIXES),
    "attacks/inverted/shrink.py": ("tests/attacks/test_shrink.py", *_FIXES),
    "attacks/inverted/sign.py": _FIXES,
    "attacks/inverted/steps.py": ("tests/attacks/test_steps.py",),
    "attacks/balls.py": ("tests/attacks/test_balls.py",),
    "attacks/pgd.py": ("tests/attacks/test_pgd.py", "tests/attacks/test_attack_rules.py", _BOUNDS),
    "attacks/apgd.py": ("tests/attacks/test_apgd.py", "tests/attacks/test_attack_rules.py", _BOUNDS),
    "explain/cam.py": ("tests/explain/test_cam.py", _BOUNDS),
    "explain/covering.py": ("tests/explain/test_covering.py", _BOUNDS),
    "explain/counterfactuals/solvers/lmo.py": (f"{_COUNTERFACTUALS}/solvers/test_lmo.py",),
    "explain/counterfactuals/metrics.py": (f"{_COUNTERFACTUALS}/test_metrics.py", _BOUNDS),
    "explain/counterfactuals/judges.py": (
        f"{_COUNTERFACTUALS}/test_judges.py",
        f"{_COUNTERFACTUALS}/test_trust.py",
        _BOUNDS,
    ),
    "explain/counterfactuals/trust.py": (f"{_COUNTERFACTUALS}/test_trust.py", _BOUNDS),
    "explain/interactions/estimators.py": (
        f"{_INTERACTIONS}/test_estimators.py",
        f"{_INTERACTIONS}/test_budget_allocation.py",
        f"{_INTERACTIONS}/test_rounding.py",
        _BOUNDS,
    ),
    "explain/interactions/profile.py": (
        f"{_INTERACTIONS}/test_profile.py",
        f"{_INTERACTIONS}/test_estimators.py",
        _BOUNDS,
    ),
    "explain/interactions/strengths.py": (f"{_INTERACTIONS}/test_profile.py", f"{_INTERACTIONS}/test_estimators.py"),
    "explain/patch_groups/found.py": (f"{_PATCHES}/test_method.py",),
    "explain/patch_groups/game.py": (f"{_PATCHES}/test_game.py",),
    "explain/patch_groups/grad_cam.py": (f"{_PATCHES}/test_grad_cam.py",),
    "explain/patch_groups/greedy.py": (f"{_PATCHES}/test_greedy.py", _BOUNDS),
    "explain/patch_groups/method.py": (f"{_PATCHES}/test_method.py",),
    "explain/patch_groups/rankings.py": (f"{_PATCHES}/test_rankings.py", _BOUNDS),
    "explain/patch_groups/rollout.py": (f"{_PATCHES}/test_rollout.py",),
    "explain/patch_groups/shapley.py": (f"{_PATCHES}/test_shapley.py", _BOUNDS),
    "explain/spurious/change_mass.py": (f"{_SPURIOUS}/test_change_mass.py", _BOUNDS),
    "explain/spurious/features.py": (f"{_SPURIOUS}/test_features.py",),
    "explain/spurious/harmful.py": (f"{_SPURIOUS}/test_harmful.py", _BOUNDS),
    "explain/spurious/levels.py": (f"{_SPURIOUS}/test_levels.py",),
    "explain/spurious/neural_pca.py": (f"{_SPURIOUS}/test_neural_pca.py", _BOUNDS),
    "explain/spurious/refit.py": (f"{_SPURIOUS}/test_refit.py", _BOUNDS),
    "explain/spurious/scores.py": (f"{_SPURIOUS}/test_harmful.py", f"{_SPURIOUS}/test_spufix.py"),
    "explain/spurious/spufix.py": (f"{_SPURIOUS}/test_spufix.py",),
    "explain/spurious/spuriosity.py": (f"{_SPURIOUS}/test_spuriosity.py", f"{_SPURIOUS}/test_spufix.py", _BOUNDS),
    "explain/spurious/transplant.py": (f"{_SPURIOUS}/test_transplant.py", _BOUNDS),
    "reproduce/class_ranks.py": ("tests/reproduce/test_class_ranks.py",),
    "reproduce/error_batches.py": ("tests/reproduce/test_protocol.py", _BOUNDS),
    "reproduce/inverted/claims.py": ("tests/reproduce/test_inverted.py", _BOUNDS),
    "reproduce/null_cases.py": ("tests/reproduce/test_null_cases.py", _BOUNDS),
    "reproduce/protocol.py": ("tests/reproduce/test_protocol.py",),
    "reproduce/spurious.py": ("tests/reproduce/test_spurious_claim.py", _BOUNDS),
    "reproduce/counterfactuals/claims.py": ("tests/reproduce/test_counterfactuals.py",),
    "reproduce/counterfactuals/trust.py": ("tests/reproduce/test_counterfactuals_trust.py", _BOUNDS),
    "reproduce/interactions/attribution.py": ("tests/reproduce/test_interactions.py",),
    "reproduce/interactions/group_claims.py": ("tests/reproduce/test_interactions.py",),
    "reproduce/interactions/rankings.py": ("tests/reproduce/test_interactions.py",),
    "reproduce/interactions/two_models.py": ("tests/reproduce/test_interactions.py",),
}

# Cases of tests/golden/values.py and edges.py, and the modules whose results they hold.
_VALUES: dict[str, tuple[str, ...]] = {
    "shares": ("core/statistics.py",),
    "draws_and_discoveries": (
        "core/margins.py",
        "core/randomness.py",
        "core/discoveries.py",
        "core/matching.py",
    ),
    "balls_and_steps": (
        "attacks/balls.py",
        "attacks/inverted/steps.py",
    ),
    "fixes": (
        "attacks/inverted/contribution.py",
        "attacks/inverted/margin_oracle.py",
        "attacks/inverted/newton.py",
        "attacks/inverted/region_fix.py",
        "attacks/inverted/regions.py",
        "attacks/inverted/rounding.py",
        "attacks/inverted/shrink.py",
        "attacks/inverted/sign.py",
        "attacks/inverted/steps.py",
    ),
    "attacks": (
        "attacks/balls.py",
        "attacks/pgd.py",
        "attacks/apgd.py",
    ),
    "maps": (
        "explain/cam.py",
        "explain/covering.py",
    ),
    "linear_oracle": ("explain/counterfactuals/solvers/lmo.py",),
    "counterfactuals": ("explain/counterfactuals/metrics.py",),
    "trust_and_judges": (
        "explain/counterfactuals/metrics.py",
        "explain/counterfactuals/judges.py",
        "explain/counterfactuals/trust.py",
    ),
    "interactions": (
        "explain/interactions/estimators.py",
        "explain/interactions/profile.py",
        "explain/interactions/strengths.py",
    ),
    "patches": (
        "explain/patch_groups/found.py",
        "explain/patch_groups/game.py",
        "explain/patch_groups/grad_cam.py",
        "explain/patch_groups/greedy.py",
        "explain/patch_groups/method.py",
        "explain/patch_groups/rankings.py",
        "explain/patch_groups/rollout.py",
        "explain/patch_groups/shapley.py",
    ),
    "spurious": (
        "explain/spurious/features.py",
        "explain/spurious/harmful.py",
        "explain/spurious/levels.py",
        "explain/spurious/neural_pca.py",
        "explain/spurious/refit.py",
        "explain/spurious/scores.py",
        "explain/spurious/spufix.py",
        "explain/spurious/spuriosity.py",
    ),
    "changes": (
        "explain/spurious/change_mass.py",
        "explain/spurious/transplant.py",
    ),
    "claims_of_interactions": (
        "reproduce/protocol.py",
        "reproduce/interactions/attribution.py",
        "reproduce/interactions/group_claims.py",
        "reproduce/interactions/rankings.py",
        "reproduce/interactions/two_models.py",
    ),
    "other_claims": (
        "reproduce/class_ranks.py",
        "reproduce/error_batches.py",
        "reproduce/inverted/claims.py",
        "reproduce/null_cases.py",
        "reproduce/protocol.py",
        "reproduce/spurious.py",
        "reproduce/counterfactuals/claims.py",
        "reproduce/counterfactuals/trust.py",
    ),
}
_EDGES = {  # cases of edges.py, and those of values.py whose modules they hold, too
    "edges_of_numbers": ("shares", "draws_and_discoveries"),
    "edges_of_fixes": ("fixes", "balls_and_steps"),
    "edges_of_attacks": ("attacks",),
    "edges_of_maps": ("maps",),
    "edges_of_counterfactuals": ("linear_oracle", "counterfactuals"),
    "edges_of_interactions": ("interactions",),
    "edges_of_patches": ("patches",),
    "edges_of_spurious": ("spurious", "changes"),
    "edges_of_claims": ("claims_of_interactions", "other_claims"),
}
for _name, _others in _EDGES.items():
    _VALUES[_name] = tuple(dict.fromkeys(module for other in _others for module in _VALUES[other]))
for _name, _modules in _VALUES.items():
    for _module in _modules:
        # First: it takes the least time.
        TARGETS[_module] = (f"tests/golden/test_values.py::test_values_are_what_they_were[{_name}]", *TARGETS[_module])

# (module, change): mutants that compute the same, each with the reason.
EQUIVALENT: frozenset[tuple[str, str]] = frozenset(
    {
        # Apart only where two float sums tie exactly.
        ("attacks/inverted/contribution.py", "gap.abs() >= 0.5 * worst[rows] -> gap.abs() > 0.5 * worst[rows]"),
    }
)
