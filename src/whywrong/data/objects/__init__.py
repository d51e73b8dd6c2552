"""Data sets that exist as Python objects: torch and Hugging Face data sets, loaders, arrays."""
