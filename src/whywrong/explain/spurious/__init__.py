"""Spurious features, cues that a classifier uses for a class and that are not the object.

Class-wise neural PCA splits the logit of a class into components; a person labels the spurious ones; held-out images
show which are harmful; SpuFix removes them without retraining, and ``refit_head`` refits the last layer on images that
show little of them. ``changes_into`` is the counterfactual route.
"""

from __future__ import annotations

from whywrong.explain.spurious.change_mass import ClassChange, class_change, mass_inside, mass_outside
from whywrong.explain.spurious.features import ComponentMaps, Features, component_maps, image_features
from whywrong.explain.spurious.harmful import Harm, HarmfulConfig, harmful, taken_away
from whywrong.explain.spurious.levels import Levels, find_levels
from whywrong.explain.spurious.neural_pca import ClassComponents, NeuralPCAConfig, class_components
from whywrong.explain.spurious.refit import Refit, low_spuriosity, refit_head, with_head
from whywrong.explain.spurious.route import Route, RouteConfig, changes_into
from whywrong.explain.spurious.scores import average_precision, roc_area
from whywrong.explain.spurious.spufix import Fix, fixed_logits, fixes_of, make_fix, matched_fix, repair
from whywrong.explain.spurious.spuriosity import Spuriosity, spuriosity
from whywrong.explain.spurious.transplant import Transplant, transplant

__all__ = [
    "ClassChange",
    "ClassComponents",
    "ComponentMaps",
    "Features",
    "Fix",
    "Harm",
    "HarmfulConfig",
    "Levels",
    "NeuralPCAConfig",
    "Refit",
    "Route",
    "RouteConfig",
    "Spuriosity",
    "Transplant",
    "average_precision",
    "changes_into",
    "class_change",
    "class_components",
    "component_maps",
    "find_levels",
    "fixed_logits",
    "fixes_of",
    "harmful",
    "image_features",
    "low_spuriosity",
    "make_fix",
    "mass_inside",
    "mass_outside",
    "matched_fix",
    "refit_head",
    "repair",
    "roc_area",
    "spuriosity",
    "taken_away",
    "transplant",
    "with_head",
]
