"""The page of ``whywrong robustness``."""
