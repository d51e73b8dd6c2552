"""Convert models and data of any supported form to a classifier and a source."""
