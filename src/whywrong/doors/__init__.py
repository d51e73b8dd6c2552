"""From models and data as people have them to a classifier and a source."""
