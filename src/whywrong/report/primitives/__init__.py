"""Building blocks of sections as plain data, such as sentences, overlays, charts and folded numbers."""
