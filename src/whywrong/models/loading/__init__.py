"""Load classifiers from names, files and libraries."""
