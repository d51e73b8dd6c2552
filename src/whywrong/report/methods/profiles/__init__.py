"""What the report shows of ``profiles``."""
