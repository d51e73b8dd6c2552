"""Small networks that imitate a black box: architectures, ensembles, and the files they are kept in."""
