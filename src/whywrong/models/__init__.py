"""Classifiers: wrapping, access, query counts, loading, layers, health."""

from __future__ import annotations

from whywrong.models.classifier import Classifier
from whywrong.models.health import Finding, HealthReport, probe
from whywrong.models.memory import plan_batch_size
from whywrong.models.zoo import ClassifierRecipe, load_classifier

__all__ = ["Classifier", "ClassifierRecipe", "Finding", "HealthReport", "load_classifier", "plan_batch_size", "probe"]
