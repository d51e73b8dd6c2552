"""Causes of errors that nobody planted, by rules chosen on photographs read by eye."""
