"""Rows, sentences and the record of an analysis."""
