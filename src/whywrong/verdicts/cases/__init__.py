"""Selection of the errors of a run, and of the correct images for comparison."""
