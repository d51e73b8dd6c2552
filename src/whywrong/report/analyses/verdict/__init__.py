"""What the report shows of the verdicts of a run, read from their views."""
