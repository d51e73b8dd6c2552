"""Plant errors of known causes for verdicts, train on them, and measure how often verdicts are right."""
