"""Sections of the report on the model as a whole, such as attractors, classes and confidence."""
