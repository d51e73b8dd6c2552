"""Claims of counterfactuals: C1 to C6 and C8; C7 is in ``reproduce/spurious.py``."""
