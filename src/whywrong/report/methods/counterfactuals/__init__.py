"""What the report shows of ``counterfactuals``."""
