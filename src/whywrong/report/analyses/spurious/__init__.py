"""The page of ``whywrong spurious``."""
