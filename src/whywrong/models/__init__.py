"""Classifiers: wrapping, access, query counts, loading, layers, health."""
