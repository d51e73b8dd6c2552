"""Plant errors of known causes, diagnose them blind, and compare the verdicts with the truth."""
