"""Classifiers, with their loading, access levels, query counts, layers and health checks."""
