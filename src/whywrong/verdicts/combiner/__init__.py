"""Combination of evidence into calibrated causes: fitting, storage, prediction and evaluation."""
