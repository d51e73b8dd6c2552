"""What the report shows of ``inverted``."""
