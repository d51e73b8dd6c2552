"""Commands that try models, papers or whywrong: compare models, test claims, plant mistakes, measure verdicts."""
