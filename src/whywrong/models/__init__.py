"""Classifiers: wrapping, access, query counts, loading, layers, health."""

from __future__ import annotations

from whywrong.models.classifier import Classifier

__all__ = ["Classifier"]
