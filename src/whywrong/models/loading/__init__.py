"""From the name of a model, a file or a library to a classifier."""
