"""Labelled images, with their sources, safe decoding, and the geometry between photograph and model input."""
