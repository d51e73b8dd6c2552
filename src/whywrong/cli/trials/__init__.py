"""Commands that compare models, test claims of papers, plant mistakes and measure verdicts."""
