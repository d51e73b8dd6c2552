"""Selection of the errors of a run, and of the correct images that they are compared with."""
