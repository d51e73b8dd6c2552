"""Stages of the measurements, computed in stored units."""
