"""Data sets given as Python objects, such as torch and Hugging Face data sets, loaders and arrays."""
