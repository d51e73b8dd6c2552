"""Combination of evidence into calibrated probabilities of causes, with fitting, storage and evaluation."""
