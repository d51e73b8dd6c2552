"""Sparse visual counterfactuals: what would have to change for the classifier to see another class."""
