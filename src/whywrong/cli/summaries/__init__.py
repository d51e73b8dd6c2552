"""Summaries that commands print."""
