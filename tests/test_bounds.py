"""Settings at the ends of their documented ranges, and the defaults of functions."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import pytest

from whywrong.core.errors import InputError

JUST = 1e-9
OPEN_SHARE = ([JUST, 1 - JUST], [0.0, 1.0, -0.5, math.nan])  # in (0, 1)
COUNT = ([1], [0, -1])  # at least 1
PAIR = ([2], [1, 0])  # at least 2

# Class, setting, values at the ends that are allowed, values beyond that are not, settings beside it.
BOUNDS: list[tuple[str, str, tuple[Sequence[Any], Sequence[Any]], dict[str, Any]]] = [
    ("attacks.pgd:PGDConfig", "steps", COUNT, {}),
    ("attacks.pgd:PGDConfig", "restarts", COUNT, {}),
    ("attacks.pgd:PGDConfig", "step_size", ([None, JUST, 1.0], [0.0, -0.1, 1.0 + JUST]), {"eps": 0.5}),
    ("attacks.pgd:PGDConfig", "restarts", ([1], [2]), {"random_start": False}),
    ("attacks.pgd:PGDConfig", "restarts", ([2], []), {"random_start": True}),
    ("attacks.pgd:PGDConfig", "eps", ([JUST, 10.0], [0.0, -1.0, math.inf, math.nan]), {"norm": "l2"}),
    ("attacks.apgd:APGDConfig", "steps", COUNT, {}),
    ("attacks.apgd:APGDConfig", "restarts", COUNT, {}),
    ("attacks.apgd:APGDConfig", "rho", OPEN_SHARE, {}),
    ("explain.cam:CamConfig", "tolerance", ([JUST, 1.0], [0.0, 1.0 + JUST, math.nan]), {}),
    ("explain.cam:CamConfig", "layer", ([None, "layer4"], ["", 4]), {}),
    ("explain.covering:CoveringConfig", "cells", ([4, 32], [3, 33]), {}),
    ("explain.covering:CoveringConfig", "window", ([1, 7], [0, 8]), {"cells": 8}),
    ("explain.covering:CoveringConfig", "blur", ([JUST, 1.0], [0.0, 1.0 + JUST]), {}),
    ("explain.counterfactuals.trust:TrustConfig", "quantile", ([0.5 + JUST, 1 - JUST], [0.5, 1.0]), {}),
    ("explain.counterfactuals.trust:TrustConfig", "controls", ([20], [19]), {}),
    ("explain.counterfactuals.trust:TrustConfig", "stretch", ([1.0], [1 - JUST, math.nan]), {}),
    ("explain.counterfactuals.trust:TrustConfig", "control_steps", COUNT, {}),
    ("explain.counterfactuals.trust:TrustConfig", "draws", COUNT, {}),
    ("explain.counterfactuals.trust:TrustConfig", "sigma", ([JUST, 1.0], [0.0, 1.0 + JUST]), {}),
    ("explain.counterfactuals.trust:TrustConfig", "jpeg_quality", ([1, 95], [0, 96]), {}),
    ("explain.counterfactuals.trust:TrustConfig", "blur", ([JUST], [0.0, math.nan]), {}),
    ("explain.counterfactuals.trust:TrustConfig", "kept", OPEN_SHARE, {}),
    ("explain.counterfactuals.trust:TrustConfig", "incoherent", ([-1 + JUST, 0.6], [-1.0, 1.0, 0.7]), {}),
    ("explain.counterfactuals.trust:TrustConfig", "coherent", ([0.45, 1 - JUST], [0.45 - JUST, 1.0]), {}),
    ("explain.interactions.estimators:InteractionsConfig", "contexts", PAIR, {}),
    ("explain.interactions.estimators:InteractionsConfig", "units", PAIR, {}),
    ("explain.interactions.estimators:InteractionsConfig", "pilot", PAIR, {}),
    ("explain.interactions.estimators:InteractionsConfig", "permutations", ([0, 2], [-1, 1]), {}),
    ("explain.interactions.estimators:InteractionsConfig", "orders", ([None, (0,)], [()]), {}),
    ("explain.interactions.estimators:InteractionsConfig", "precision", OPEN_SHARE, {}),
    ("explain.interactions.estimators:InteractionsConfig", "precision", ([None], [0.5]), {"method": "faithful"}),
    ("explain.interactions.estimators:InteractionsConfig", "max_passes", ([None, 1], [0]), {}),
    ("explain.spurious.harmful:HarmfulConfig", "min_carriers", COUNT, {}),
    ("explain.spurious.harmful:HarmfulConfig", "level", OPEN_SHARE, {}),
    ("explain.spurious.neural_pca:NeuralPCAConfig", "components", COUNT, {}),
    ("explain.spurious.neural_pca:NeuralPCAConfig", "min_images", ([3], [2]), {}),
    ("reproduce.inverted.claims:InvertedClaimConfig", "limit", ([None, 1], [0]), {}),
    ("reproduce.inverted.claims:InvertedClaimConfig", "success", OPEN_SHARE, {}),
    ("reproduce.inverted.claims:InvertedClaimConfig", "queries", ([1.0], [1 - JUST]), {}),
    ("reproduce.inverted.claims:InvertedClaimConfig", "small", ([JUST, 255.0], [0.0, 255.1]), {}),
    ("reproduce.spurious:SpuriousClaimConfig", "limit", ([None, 1], [0]), {}),
    ("reproduce.spurious:SpuriousClaimConfig", "loss", OPEN_SHARE, {}),
    ("reproduce.spurious:SpuriousClaimConfig", "found_in", OPEN_SHARE, {}),
    ("reproduce.counterfactuals.trust:TrustClaimConfig", "limit", COUNT, {}),
    ("reproduce.counterfactuals.trust:TrustClaimConfig", "steps", COUNT, {}),
    ("reproduce.counterfactuals.trust:TrustClaimConfig", "eps", ([None, JUST], [0.0, math.inf]), {}),
    ("reproduce.counterfactuals.trust:TrustClaimConfig", "angle", ([JUST, 90.0], [0.0, 90.1]), {}),
    ("reproduce.counterfactuals.trust:TrustClaimConfig", "convinced", OPEN_SHARE, {}),
    ("reproduce.counterfactuals.trust:TrustClaimConfig", "way", (["ensemble", "cone"], ["both"]), {}),
]


def named(where: str) -> Any:
    module, name = where.split(":")
    return attrgetter(name)(importlib.import_module(f"whywrong.{module}"))


@pytest.mark.parametrize(("where", "name", "values", "beside"), BOUNDS)
def test_a_setting_is_allowed_up_to_its_bound_and_refused_beyond(where, name, values, beside):
    allowed, refused = values
    for value in allowed:
        assert getattr(named(where)(**{name: value}, **beside), name) == value
    for value in refused:
        with pytest.raises(InputError, match=name):
            named(where)(**{name: value}, **beside)


# Functions, and the defaults of their arguments: results of callers that name none would change with them.
DEFAULTS: list[tuple[str, dict[str, Any]]] = [
    ("core.statistics:resampled_mean", {"draws": 2000, "seed": 0}),
    ("core.statistics:Resampled.interval", {"level": 0.95}),
    ("core.statistics:Resampled.p", {"bound": 0.0}),
    ("core.randomness:keyed_uniform", {"draw": 0}),
    ("core.randomness:keyed_sign", {"draw": 0}),
    ("core.randomness:keyed_normal", {"draw": 0}),
    ("attacks.inverted.contribution:object_lift", {"least_shifts": 199}),
    ("explain.counterfactuals.metrics:validity", {"temperature": 1.0}),
    ("explain.counterfactuals.metrics:pix90", {"share": 0.9}),
    ("explain.counterfactuals.metrics:cout", {"steps": 50}),
    ("explain.counterfactuals.metrics:sfid", {"seed": 0}),
    ("explain.counterfactuals.metrics:diversity", {"p": 2.0}),
    ("explain.counterfactuals.judges:ask_judges", {"p": 1.5, "stretch": 2.0, "quantile": 0.95, "steps": 30}),
    ("explain.counterfactuals.judges:paired_threshold", {"quantile": 0.95}),
    ("explain.counterfactuals.trust:trust", {"guided": False, "paired": False, "p": 1.5}),
    ("explain.interactions.profile:group_profile", {"draws": 2000, "seed": 0}),
    ("explain.patch_groups.greedy:greedy_order", {"ask_start": True, "lazy": 0}),
    ("explain.patch_groups.rankings:order_of", {"deletion": False, "permutations": 20}),
    ("explain.patch_groups.shapley:shapley_values", {"permutations": 20}),
    ("explain.patch_groups.shapley:shapley_by_contexts", {"contexts": 20}),
    ("explain.spurious.change_mass:class_change", {"clusters": 4}),
    ("explain.spurious.change_mass:medoids", {"rounds": 20}),
    ("explain.spurious.refit:low_spuriosity", {"share": 0.5}),
    ("explain.spurious.refit:refit_head", {"pull": 0.001, "steps": 500}),
    ("explain.spurious.spuriosity:spuriosity", {"share": 0.25}),
    ("explain.spurious.transplant:transplant", {"level": 0.05, "seed": 0}),
    ("reproduce.null_cases:null_cases", {"most": 200, "seed": 0}),
    ("reproduce.error_batches:error_batches", {"batch_size": 64}),
]


@pytest.mark.parametrize(("where", "expected"), DEFAULTS, ids=[where for where, _ in DEFAULTS])
def test_what_callers_leave_out_has_its_default(where, expected):
    parameters = inspect.signature(named(where)).parameters
    assert {name: parameters[name].default for name in expected} == expected
