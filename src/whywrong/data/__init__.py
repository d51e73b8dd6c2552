"""Labelled images: sources, safe decoding, geometry between the photograph and the model's input."""
