"""What one worker does: plans of tasks, predictions, evidence."""
