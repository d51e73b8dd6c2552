"""Verdicts of a run as shown in the report, read from their views."""
