"""What sections are made of: sentences, overlays, charts, folded numbers, as plain data."""
