"""Weights from files: which table of tensors belongs to a module, read without executing anything."""
