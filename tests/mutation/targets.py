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

MODULES = tuple(TARGETS)

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
_VALUES["choices"] = MODULES
for _name, _modules in _VALUES.items():
    for _module in _modules:
        # First: it takes the least time.
        TARGETS[_module] = (f"tests/golden/test_values.py::test_values_are_what_they_were[{_name}]", *TARGETS[_module])

# (module, change): mutants that compute the same, each with the reason.
EQUIVALENT: frozenset[tuple[str, str]] = frozenset(
    {
        # Apart only where two float sums tie exactly.
        ("attacks/inverted/contribution.py", "gap.abs() >= 0.5 * worst[rows] -> gap.abs() > 0.5 * worst[rows]"),
        ("core/statistics.py", "away < -slack -> away <= -slack"),
        ("core/statistics.py", "np.abs(null) >= np.abs(observed) - slack -> np.abs(null) > np.abs(observed) - slack"),
        ("explain/counterfactuals/solvers/lmo.py", "sizes <= 1 -> sizes < 1"),
        ("explain/counterfactuals/solvers/lmo.py", "ratio <= t[rows] -> ratio < t[rows]"),
        ("explain/spurious/levels.py", "values > middle + _OUTLIER * width -> values >= middle + _OUTLIER * width"),
        ("explain/spurious/transplant.py", "adjusted[number] > 0 -> adjusted[number] >= 0"),
        ("reproduce/spurious.py", "part < (1 + first) / 2 -> part <= (1 + first) / 2"),
        ("attacks/inverted/steps.py", "broken < worst[open_rows] -> broken <= worst[open_rows]"),
        ("attacks/inverted/steps.py", "cost < value -> cost <= value"),
        # The least positive number that a division may meet, or a tolerance of rounding: any other would do.
        ("explain/counterfactuals/solvers/lmo.py", "1e-300 -> 1.3000000000000001e-300"),
        ("explain/interactions/estimators.py", "1e-300 -> 1.3000000000000001e-300"),
        ("explain/spurious/change_mass.py", "1e-12 -> 1.3000000000000001e-12"),
        ("explain/spurious/features.py", "1e-30 -> 1.3000000000000001e-30"),
        ("explain/counterfactuals/metrics.py", "1e-09 -> 1.3e-09"),
        ("reproduce/interactions/rankings.py", "1e-09 -> 1.3e-09"),
        ("core/statistics.py", "1e-09 -> 1.3e-09"),
        ("attacks/inverted/contribution.py", "1e-09 -> 1.3e-09"),
        ("attacks/inverted/steps.py", "1e-12 -> 1.3000000000000001e-12"),
        ("attacks/inverted/steps.py", "1 - 1e-12 -> 1 + 1e-12"),
        ("attacks/inverted/steps.py", "need.double() * (1 - 1e-12) -> need.double() / (1 - 1e-12)"),
        ("explain/spurious/refit.py", "1e-14 -> 1.3e-14"),
        ("explain/spurious/refit.py", "20 -> 21"),  # gradients that the solver remembers
        # The ridge only keeps a singular system solvable; a smaller set of rivals then gives the same step.
        ("attacks/inverted/steps.py", "gram.diagonal(dim1=1, dim2=2).amax -> gram.diagonal(dim1=1, dim2=2).amin"),
        # More rounds of an iteration that ends at the same point, or another start of it.
        ("attacks/inverted/steps.py", "(need > 0) & (rate > 0) -> (need > 0) | (rate > 0)"),
        (
            "explain/counterfactuals/solvers/lmo.py",
            "free.clamp_min(1e-300) ** (-1 / p) -> free.clamp_min(1e-300) * (-1 / p)",
        ),
        (
            "explain/counterfactuals/solvers/lmo.py",
            "many == count or bool((enough[:, -1] | (filled[:, -1] >= total)).all()) -> "
            "many == count and bool((enough[:, -1] | (filled[:, -1] >= total)).all())",
        ),
        # No share of the schedule is 1 exactly.
        ("attacks/apgd.py", "share <= 1 -> share < 1"),
        # At a radius of 1 the box is all of [0, 1] either way.
        ("attacks/balls.py", "self.radius >= 1 -> self.radius > 1"),
        # Zero divided by zero is NaN without the condition, too.
        ("attacks/inverted/regions.py", "object_area > 0 -> object_area >= 0"),
        ("explain/interactions/profile.py", "level > 0 -> level >= 0"),
        # A row at fault has no finite logit at all.
        ("reproduce/error_batches.py", "logits.isfinite().all -> logits.isfinite().any"),
        # Only shares of the mass are used.
        (
            "explain/counterfactuals/metrics.py",
            "_change(x, vce).view(x.shape).abs().sum -> _change(x, vce).view(x.shape).abs().mean",
        ),
        # How many copies are computed at once.
        (
            "explain/interactions/estimators.py",
            "plan.sets * (1 + game.players + pairs.shape[1]) -> plan.sets / (1 + game.players + pairs.shape[1])",
        ),
    }
)
