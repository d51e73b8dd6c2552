"""Commands that try whywrong or a paper: plant mistakes, test claims, measure how often verdicts are right."""
