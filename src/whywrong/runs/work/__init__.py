"""Tasks of one worker: plans, predictions, evidence."""
