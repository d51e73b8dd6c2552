"""Health checks of a classifier on its images and labels."""
