"""Mistakes with known causes, and the nets that make them."""
